"""The vector store: what was stored is there after kills, full disks and torn ends, and what is not is known."""

from __future__ import annotations

import json
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest

from redheart.embedding.store import NewRecord, VectorStore, VectorStoreWriter
from redheart.errors import StorageError

D = 8


def record(number: int, segments: int = 3) -> NewRecord:
    vectors = np.random.default_rng(number).normal(size=(segments, D)).astype(np.float32)
    return NewRecord(f"key-{number}", "012222222"[:segments], vectors)


def writer_in(folder: Path) -> VectorStoreWriter:
    return VectorStoreWriter(folder, "model", model_name="name", d_embed=D)


def filled(folder: Path, batches: int = 3) -> VectorStoreWriter:
    writer = writer_in(folder)
    for batch in range(batches):
        writer.append([record(2 * batch), record(2 * batch + 1, 5)], precision="fp32")
    return writer


def numbers_in(folder: Path) -> list[int]:
    """Which records a reader finds, each with its right vectors."""
    store = VectorStore(folder, "model")
    found = sorted(int(key.split("-")[1]) for key in store.records)
    for number in found:
        expected = record(number, 5 if number % 2 else 3)
        np.testing.assert_array_equal(store.rows_of(expected.key), expected.vectors)
        assert store.records[expected.key].kinds == expected.kinds
    assert store.damaged() == []
    return found


def test_what_was_stored_is_read_by_another_reader(tmp_path: Path) -> None:
    filled(tmp_path)
    assert numbers_in(tmp_path) == [0, 1, 2, 3, 4, 5]
    store = VectorStore(tmp_path, "model")
    assert (store.d_embed, store.model_name) == (D, "name")
    assert isinstance(store.vectors, np.memmap)
    assert not store.vectors.flags.writeable


def test_a_store_that_does_not_exist_is_empty_and_opening_it_makes_nothing(tmp_path: Path) -> None:
    assert VectorStore(tmp_path / "none", "model").records == {}
    assert not (tmp_path / "none").exists()


def test_a_torn_index_line_is_dropped_and_its_rows_are_cut_off(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    content = writer.index_path.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    writer.index_path.write_bytes(content[: last + 40])
    assert numbers_in(tmp_path) == [0, 1, 2, 3]
    again = writer_in(tmp_path)
    assert again.data_path.stat().st_size == 16 * D * 4
    again.append([record(4)], precision="fp32")
    assert numbers_in(tmp_path) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("extra", [1, 4 * D, 4 * D * 7 + 5])
def test_a_torn_data_tail_is_cut_off_before_more_is_written(tmp_path: Path, extra: int) -> None:
    writer = filled(tmp_path)
    with open(writer.data_path, "ab") as data:
        data.write(b"\xff" * extra)
    assert numbers_in(tmp_path) == [0, 1, 2, 3, 4, 5]
    writer_in(tmp_path).append([record(6)], precision="fp32")
    assert numbers_in(tmp_path) == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("lost", [1, 4 * D * 3, 4 * D * 9])
def test_index_lines_ahead_of_the_data_do_not_count(tmp_path: Path, lost: int) -> None:
    writer = filled(tmp_path)
    content = writer.data_path.read_bytes()
    writer.data_path.write_bytes(content[:-lost])
    kept = numbers_in(tmp_path)
    assert kept == ([0, 1, 2, 3] if lost < 4 * D * 8 else [0, 1])
    writer_in(tmp_path).append([record(9, 5)], precision="fp32")
    assert numbers_in(tmp_path) == [*kept, 9]


def test_a_missing_data_file_leaves_an_empty_store(tmp_path: Path) -> None:
    filled(tmp_path).data_path.unlink()
    assert numbers_in(tmp_path) == []
    writer_in(tmp_path).append([record(1, 5)], precision="fp32")
    assert numbers_in(tmp_path) == [1]


def test_a_flipped_byte_is_found_by_its_checksum(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    content = bytearray(writer.data_path.read_bytes())
    content[4 * D * 4] ^= 1  # in the rows of record 1
    writer.data_path.write_bytes(content)
    assert VectorStore(tmp_path, "model").damaged() == ["key-1"]


def test_a_flipped_byte_in_the_last_batch_is_found_on_opening_to_write(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    content = bytearray(writer.data_path.read_bytes())
    content[-3] ^= 1
    writer.data_path.write_bytes(content)
    writer_in(tmp_path)
    assert numbers_in(tmp_path) == [0, 1, 2, 3]


def test_a_newer_record_of_the_same_key_counts(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    newer = NewRecord("key-1", "2", np.ones((1, D), np.float32))
    writer.append([newer], precision="fp32")
    np.testing.assert_array_equal(VectorStore(tmp_path, "model").rows_of("key-1"), newer.vectors)


def test_a_damaged_index_is_refused_with_the_fix(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    lines = writer.index_path.read_text().splitlines()
    for damaged in ("{oops", json.dumps({"rows": 1}), json.dumps([1]), json.dumps({"row": 0, "items": [["k"]]})):
        writer.index_path.write_text("\n".join([lines[0], damaged, *lines[2:]]) + "\n")
        with pytest.raises(StorageError, match="delete the folder") as caught:
            VectorStore(tmp_path, "model")
        assert str(writer.index_path) in str(caught.value)


def test_vectors_of_another_size_are_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(StorageError, match="found vectors of 8 numbers; wanted 9"):
        VectorStoreWriter(tmp_path, "model", model_name="name", d_embed=9)


def test_a_full_disk_is_named_and_what_was_there_stays_valid(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (writer.data_path.stat().st_size + 50, before[1]))
    try:
        with pytest.raises(StorageError, match="could not store vectors") as caught:
            writer.append([record(6), record(7, 5)], precision="fp32")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(writer.data_path) in str(caught.value)
    assert numbers_in(tmp_path) == [0, 1, 2, 3, 4, 5]
    writer.append([record(6)], precision="fp32")
    assert numbers_in(tmp_path) == [0, 1, 2, 3, 4, 5, 6]


def test_an_index_that_can_not_grow_takes_the_rows_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = filled(tmp_path)

    def full(*_: object) -> None:
        raise StorageError("no space")

    with monkeypatch.context() as patched, pytest.raises(StorageError, match="no space"):
        patched.setattr("redheart.embedding.index.append_line", full)
        writer.append([record(6)], precision="fp32")
    assert writer.data_path.stat().st_size == 24 * D * 4
    writer.append([record(8)], precision="fp32")
    assert numbers_in(tmp_path) == [0, 1, 2, 3, 4, 5, 8]


def test_a_store_sent_to_a_data_worker_maps_the_file_again(tmp_path: Path) -> None:
    filled(tmp_path)
    store = VectorStore(tmp_path, "model")
    assert store.vectors.shape == (24, D)
    sent = pickle.dumps(store)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent).vectors, store.vectors)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (0, ("embedding.lost_vectors", {"count": 6})),
        (4 * D * 23, ("embedding.lost_vectors", {"count": 2})),
        (4 * D * 24 + 7, ("embedding.torn_tail", {"bytes": 7})),
        (4 * D * 24, None),
    ],
    ids=["all of it", "the end", "less than nothing", "nothing"],
)
def test_what_is_missing_is_counted_in_items_and_what_is_too_much_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int, said: tuple[str, dict[str, int]] | None
) -> None:
    """A data file that was deleted has no end to cut off."""
    heard: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr("redheart.embedding.store.warn", lambda key, **values: heard.append((key, values)))
    path = filled(tmp_path).data_path
    path.write_bytes((path.read_bytes() + bytes(100))[:left])
    if not left:
        path.unlink()
    writer_in(tmp_path)
    assert heard == ([] if said is None else [(said[0], {"path": path, **said[1]})])


def test_damaged_vectors_of_the_last_batch_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr("redheart.embedding.store.warn", lambda key, **values: heard.append((key, values)))
    path = filled(tmp_path).data_path
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    writer_in(tmp_path)
    assert heard == [("embedding.lost_vectors", {"path": path, "count": 2})]
