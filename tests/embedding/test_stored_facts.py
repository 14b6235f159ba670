"""Stored facts: an embedded dataset is read once, and what was stored about it decides nothing when it does not fit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from redheart.config import EmbeddingConfig
from redheart.data import SPLITS
from redheart.data.locate import bundled_sample
from redheart.embedding import EmbeddedDataset, embed_dataset, open_embedded, stored_facts
from redheart.embedding.store import NewRecord, VectorStoreWriter
from redheart.embedding.stored_facts import FACTS_NAME
from redheart.errors import DataError, StorageError
from tests.embedding.conftest import make_items, write_items

D_EMBED = 8
MODEL = "0123456789abcdef"


def sample_items(count: int = 260) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(bundled_sample().read_text(encoding="utf-8"))[:count]
    for item in items:
        item["embedding_key"] = hashlib.blake2b(item["id"].encode(), digest_size=16).hexdigest()
    return items


def writer_in(folder: Path) -> VectorStoreWriter:
    return VectorStoreWriter(folder / "x.vectors", MODEL, model_name="synthetic", d_embed=D_EMBED)


def embedded(folder: Path, items: list[dict[str, Any]] | None = None) -> Path:
    """An ``.embedded.json`` and its vectors, of the bundled sample."""
    items = sample_items() if items is None else items
    random = np.random.default_rng(0)
    records = []
    for number, item in enumerate(items):
        kinds = f"01{'2' * (1 + number % 3)}3"
        records.append(NewRecord(item["embedding_key"], kinds, random.random((len(kinds), D_EMBED), np.float32)))
    path = write_items(folder / "x.embedded.json", items)
    writer_in(folder).append(records, precision="fp32")
    return path


def facts_of(path: Path) -> Path:
    return path.parent / "x.vectors" / FACTS_NAME


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The datasets that are read and checked from here on."""
    from redheart.data import reader

    seen: list[Path] = []
    stream = reader.stream_items

    def watched(path: Path, *rest: Any) -> Any:
        seen.append(path)
        return stream(path, *rest)

    monkeypatch.setattr(reader, "stream_items", watched)
    return seen


def assert_same(one: EmbeddedDataset, other: EmbeddedDataset) -> None:
    """Everything that training takes from them, to the bit."""
    assert (one.ids, one.keys, one.identity, one.path) == (other.ids, other.keys, other.identity, other.path)
    assert (one.model_name, one.model_fingerprint, one.d_embed) == (
        other.model_name,
        other.model_fingerprint,
        other.d_embed,
    )
    pairs = [(one.facts.splits, other.facts.splits), (one.facts.text_hashes, other.facts.text_hashes)]
    pairs += [(one.facts.has_target, other.facts.has_target)]
    targets, others_targets = one.facts.targets, other.facts.targets
    for name in targets.values:
        pairs += [(targets.values[name], others_targets.values[name]), (targets.mask[name], others_targets.mask[name])]
    everything = range(len(one))
    pairs += [(one.gather(everything).vectors, other.gather(everything).vectors)]
    pairs += [(one.gather(everything).kinds, other.gather(everything).kinds)]
    for mine, others in pairs:
        assert mine.dtype == others.dtype
        np.testing.assert_array_equal(mine, others)


def test_a_dataset_is_read_once_and_opened_again_as_it_was(tmp_path: Path, reads: list[Path]) -> None:
    path = embedded(tmp_path)
    first = open_embedded(path)
    assert reads == [path]
    assert_same(open_embedded(path), first)
    assert reads == [path]
    assert first.identity == "fd79811ca8cea9d0"  # as revision 4238d59 has it of these items and keys
    assert first.facts.counts == {"train": 160, "choose": 33, "judge": 30, "test": 37}
    first.verify()


def test_splits_and_targets_are_those_of_every_earlier_version(tmp_path: Path) -> None:
    """By hashes that revision 4238d59 gave: finished sweeps and runs are known by them."""
    path = embedded(tmp_path)
    for _ in range(2):  # read, and from the stored facts
        facts = open_embedded(path).facts
        splits = " ".join(SPLITS[number] for number in facts.splits)
        assert hashlib.blake2b(splits.encode(), digest_size=8).hexdigest() == "484880577b2acb2d"
        digest = hashlib.blake2b(digest_size=8)
        for name in sorted(facts.targets.values):
            digest.update(name.encode() + facts.targets.values[name].tobytes() + facts.targets.mask[name].tobytes())
        assert digest.hexdigest() == "1b72f1791e3b0ec6"


def edit_in_place(path: Path, before: bytes, after: bytes) -> None:
    """Another content of the same size and the same time of change."""
    assert len(before) == len(after)
    times = path.stat()
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after, 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_an_edit_of_the_same_size_and_time_is_seen(tmp_path: Path, reads: list[Path], log: Callable[[], str]) -> None:
    path = embedded(tmp_path)
    before = open_embedded(path)
    log()
    edit_in_place(path, b'"label": "OTHER"', b'"label": "NOBOD"'.replace(b"NOBOD", b"OTHE?"))
    with pytest.raises(DataError, match="OTHE"):
        open_embedded(path)
    edit_in_place(path, b'"label": "OTHE?"', b'"label": "OTHER"')
    assert open_embedded(path).identity == before.identity
    reads.clear()
    edit_in_place(path, b'"regret_factor": 0.72', b'"regret_factor": 0.27')
    changed = open_embedded(path)
    assert reads == [path]
    assert f"{facts_of(path)}: " in log()
    assert changed.identity != before.identity
    assert changed.facts.targets.values["regret"][0, 0] == np.float32(0.27)
    assert_same(open_embedded(path), changed)
    assert reads == [path]


def test_a_dataset_torn_after_it_was_opened_is_refused_and_not_opened_from_what_was_stored(tmp_path: Path) -> None:
    path = embedded(tmp_path)
    open_embedded(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match="truncated"):
        open_embedded(path)


def test_a_copy_of_dataset_and_vectors_is_not_read_again(tmp_path: Path, reads: list[Path]) -> None:
    import shutil

    path = embedded(tmp_path / "here")
    first = open_embedded(path)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    reads.clear()
    copied = open_embedded(tmp_path / "there" / path.name)
    assert reads == []
    assert copied.identity == first.identity
    np.testing.assert_array_equal(copied.segments(3).vectors, first.segments(3).vectors)


def test_vectors_stored_anew_in_another_order_are_found_where_they_are(tmp_path: Path, reads: list[Path]) -> None:
    path = embedded(tmp_path)
    first = open_embedded(path)
    vectors = {key: first.segments(index).vectors.copy() for index, key in enumerate(first.keys)}
    facts = facts_of(path).read_bytes()
    for file in (tmp_path / "x.vectors").iterdir():
        file.unlink()
    kinds = {key: "".join(map(str, first.segments(index).kinds)) for index, key in enumerate(first.keys)}
    records = [NewRecord(key, kinds[key], vectors[key]) for key in reversed(first.keys)]
    writer_in(tmp_path).append(records, precision="fp32")
    facts_of(path).write_bytes(facts)
    reads.clear()
    again = open_embedded(path)
    assert reads == [path]
    for index, key in enumerate(again.keys):
        np.testing.assert_array_equal(again.segments(index).vectors, vectors[key])


def test_vectors_that_were_lost_are_missed_whatever_was_stored(tmp_path: Path) -> None:
    path = embedded(tmp_path)
    open_embedded(path)
    data = tmp_path / "x.vectors" / f"{MODEL}.float32"
    os.truncate(data, data.stat().st_size - 1)
    with pytest.raises(StorageError, match="have no vectors"):
        open_embedded(path)


@pytest.mark.parametrize("place", [2, 40, 700, -4000, -900, -1])
def test_damaged_facts_are_made_again(tmp_path: Path, reads: list[Path], log: Callable[[], str], place: int) -> None:
    path = embedded(tmp_path)
    first = open_embedded(path)
    content = bytearray(facts_of(path).read_bytes())
    content[place] ^= 1
    facts_of(path).write_bytes(content)
    log()
    again = open_embedded(path)
    assert_same(again, first)
    assert reads == [path, path]
    assert str(facts_of(path)) in log()
    assert_same(open_embedded(path), first)
    assert len(reads) == 2


def test_facts_that_were_cut_short_are_made_again(tmp_path: Path, reads: list[Path]) -> None:
    path = embedded(tmp_path)
    first = open_embedded(path)
    for size in (0, 5, 300, facts_of(path).stat().st_size - 1):
        reads.clear()
        os.truncate(facts_of(path), size)
        assert_same(open_embedded(path), first)
        assert reads == [path]


def test_facts_of_another_version_of_the_program_are_made_again(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = embedded(tmp_path)
    open_embedded(path)
    monkeypatch.setattr(stored_facts, "made_by", lambda: "another")
    open_embedded(path)
    open_embedded(path)
    assert reads == [path, path]


def test_all_code_that_decides_the_facts_is_named(tmp_path: Path) -> None:
    """A file that is renamed must not drop out of the hash in silence."""
    from importlib.resources import files

    for package, names in stored_facts._DECIDING.items():
        for name in names:
            assert (files(package) / name).is_file(), f"{package}/{name}"


def test_in_a_folder_that_may_not_be_written_nothing_is_stored_and_the_dataset_opens(
    tmp_path: Path, make_read_only: Callable[[Path], None]
) -> None:
    path = embedded(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    make_read_only(tmp_path / "data")
    assert len(open_embedded(path)) == 260
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_told_and_the_dataset_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Callable[[], str]
) -> None:
    path = embedded(tmp_path)

    def full(*_: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(stored_facts, "replace_file", full)
    assert len(open_embedded(path)) == 260
    assert "no space left" in log()
    assert not facts_of(path).exists()


def test_a_label_that_was_outvoted_is_told_at_each_opening(tmp_path: Path, log: Callable[[], str]) -> None:
    items = sample_items(40)
    items[7] |= {"label": "INFO", "label_scores": {"AUTHOR": 3, "INFO": 1}}
    path = embedded(tmp_path, items)
    log()
    for _ in range(2):
        open_embedded(path)
        assert items[7]["id"] in log()


def test_an_unchanged_dataset_is_not_read_again_to_be_embedded(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], reads: list[Path], log: Callable[[], str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(5))
    first = embed_dataset(path, config, output_root=tmp_path)
    assert reads == [path]
    target = tmp_path / "x.embedded.json"
    for dataset in (path, target):
        log()
        again = embed_dataset(dataset, config, output_root=tmp_path)
        assert "  - 임베딩 있음: 5 (100.0%)" in log()
        assert_same(again, first)
    assert_same(open_embedded(target), first)
    assert reads == [path]
    embed_dataset(path, config, output_root=tmp_path, verify=True)  # what is asked to be looked at is
    assert reads == [path, path]
    embed_dataset(path, msgspec.structs.replace(config, window_word_pieces=20), output_root=tmp_path)
    assert reads == [path, path, path]


def test_a_dataset_that_changed_by_a_label_keeps_its_vectors_and_has_other_targets(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], reads: list[Path]
) -> None:
    items = make_items(4)
    path = write_items(tmp_path / "x.json", items)
    first = embed_dataset(path, config, output_root=tmp_path)
    embedded_texts.clear()
    items[2]["regret_factor"] = 1.0
    changed = embed_dataset(write_items(path, items), config, output_root=tmp_path)
    assert not embedded_texts
    assert changed.identity != first.identity
    assert changed.facts.targets.values["regret"][:, 0].tolist() == [0.0, np.float32(0.1), 1.0, np.float32(0.3)]
    np.testing.assert_array_equal(changed.gather(range(4)).vectors, first.gather(range(4)).vectors)
    reads.clear()
    assert_same(open_embedded(changed.path), changed)
    assert reads == []


@pytest.mark.parametrize("opened_between", [False, True])
def test_an_embedded_file_that_was_edited_in_place_does_not_stand_for_the_dataset(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], opened_between: bool
) -> None:
    path = write_items(tmp_path / "x.json", make_items(4))
    first = embed_dataset(path, config, output_root=tmp_path)
    written = first.path.read_bytes()
    edit_in_place(first.path, b'"regret_factor": 0.3', b'"regret_factor": 0.9')
    if opened_between:
        assert open_embedded(first.path).identity != first.identity
    again = embed_dataset(path, config, output_root=tmp_path)
    assert again.identity == first.identity
    assert first.path.read_bytes() == written
    assert open_embedded(first.path).identity == first.identity


def test_without_its_facts_a_dataset_is_embedded_as_before_and_has_them_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], reads: list[Path]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(4))
    first = embed_dataset(path, config, output_root=tmp_path)
    written = first.path.stat().st_mtime_ns
    facts_of(path).unlink()
    embedded_texts.clear()
    assert_same(embed_dataset(path, config, output_root=tmp_path), first)
    assert first.path.stat().st_mtime_ns == written and not embedded_texts
    reads.clear()
    assert_same(embed_dataset(path, config, output_root=tmp_path), first)
    assert reads == []


def test_lists_that_are_asked_for_later_are_written(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], reads: list[Path]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(3))
    first = embed_dataset(path, config, output_root=tmp_path)
    inline = embed_dataset(path, config, output_root=tmp_path, inline=True)
    assert '"embedding": [[' in inline.path.read_text()
    reads.clear()
    assert_same(open_embedded(inline.path), first)
    assert_same(embed_dataset(path, config, output_root=tmp_path, inline=True), first)
    assert reads == []
    embed_dataset(path, config, output_root=tmp_path)
    assert '"embedding": [[' not in inline.path.read_text()
