"""Embedding a dataset: only what is missing, stored batch by batch, beside the dataset or where one may write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from redheart.config import EmbeddingConfig
from redheart.data.locate import bundled_sample
from redheart.embedding import EmbeddedDataset, embed_dataset, open_embedded
from redheart.embedding.encoder import Encoder
from redheart.embedding.lock import LOCK_NAME
from redheart.embedding.model_source import ModelSource
from redheart.embedding.paths import target_paths
from redheart.embedding.store import VectorStore
from redheart.errors import DataError, Interrupted, MissingRequirement, StorageError
from tests.embedding.conftest import make_items, write_items
from tests.other_user import as_another_user, let_others_reach
from tests.storage.synced import Synced

SAVED = "✅ 임베딩이 저장되었습니다"


def embed(dataset: Path, config: EmbeddingConfig, **options: Any) -> EmbeddedDataset:
    return embed_dataset(dataset, config, output_root=dataset.parent / "training", **options)


def test_every_item_has_its_title_action_windows_and_whole_text(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], encoder: Encoder
) -> None:
    items = [*make_items(4), {"id": "bare", "text": "Only a text."}]
    made = embed(write_items(tmp_path / "x.json", items), config)
    assert made.ids == [item["id"] for item in items]
    assert (made.d_embed, made.model_name, len(made)) == (384, "all-MiniLM-L6-v2", 5)
    first = made.segments(0)
    windows = len(first.kinds) - 3
    assert first.kinds.tolist() == [0, 1, *[2] * windows, 3]
    assert first.positions.tolist() == [0, 0, *range(windows), 0]
    headings_and_whole = encoder.encode(["Story 0", "telling it", items[0]["text"]])
    np.testing.assert_allclose(first.vectors[[0, 1, -1]], headings_and_whole, atol=2e-6)
    assert made.segments(4).kinds.tolist() == [2, 3]
    np.testing.assert_allclose(made.segments(4).vectors, encoder.encode(["Only a text."] * 2), atol=2e-6)
    assert embedded_texts.count("Only a text.") == 1


def test_a_single_window_leaves_room_for_title_action_and_whole_text(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    items = make_items(2)
    items[1]["text"] = "It went on and on, and nobody knew why it did. " * 40
    least = msgspec.structs.replace(config, max_segments=4)
    made = embed(write_items(tmp_path / "x.json", items), least)
    for index in range(2):
        one = made.segments(index)
        assert (one.kinds.tolist(), one.positions.tolist()) == ([0, 1, 2, 3], [0, 0, 0, 0])
        np.testing.assert_array_equal(one.vectors[2], one.vectors[3])  # the only window is the text whole


def test_gathered_batches_are_the_padded_sequences(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    items = [
        *make_items(3),
        {"id": "bare", "text": "Only a text."},
        {"id": "long", "text": "So it was, my friend. " * 60},
    ]
    made = embed(write_items(tmp_path / "x.json", items), config)
    for width in (None, 16):
        batch = made.gather([4, 3, 0, 3], width=width)
        assert batch.vectors.shape == (4, width or made.max_segments, 384)
        assert batch.vectors.dtype == np.float32
        for row, index in enumerate([4, 3, 0, 3]):
            one = made.segments(index)
            count = len(one.kinds)
            assert batch.mask[row].tolist() == [True] * count + [False] * (batch.mask.shape[1] - count)
            np.testing.assert_array_equal(batch.vectors[row, :count], one.vectors)
            np.testing.assert_array_equal(batch.kinds[row, :count], one.kinds)
            np.testing.assert_array_equal(batch.positions[row, :count], one.positions)
            assert not batch.vectors[row, count:].any()
            assert not batch.positions[row, count:].any()
    with pytest.raises(ValueError, match="width 2"):
        made.gather([4], width=2)
    assert made.gather([]).vectors.shape == (0, 0, 384)


def test_the_embedded_json_is_the_dataset_with_keys_and_nothing_lost(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    items = make_items(3)
    made = embed(write_items(tmp_path / "x.jsonl", items), config)
    written = json.loads((tmp_path / "x.embedded.json").read_text(encoding="utf-8"))
    assert [item.pop("embedding_key") for item in written] == list(made.keys)
    assert written == items
    assert (tmp_path / "x.vectors").is_dir()
    assert not (tmp_path / "training").exists()


def test_the_second_run_embeds_nothing_writes_nothing_and_says_so(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(5))
    first = embed(path, config)
    lines = log().splitlines()
    assert "note" in lines[0], "a field that is kept and not read"
    assert lines[1:5] == ["📊 임베딩 상태:", "  - 전체: 5", "  - 임베딩 있음: 0 (0.0%)", "  - 임베딩 없음: 5 (100.0%)"]
    assert SAVED in lines
    before = {one: one.stat().st_mtime_ns for one in tmp_path.rglob("*") if one.name != LOCK_NAME}
    embedded_texts.clear()
    for dataset in (path, tmp_path / "x.embedded.json"):
        again = embed(dataset, config)
        assert again.identity == first.identity
        said = log()
        assert "  - 임베딩 있음: 5 (100.0%)" in said
        assert SAVED not in said
    assert embedded_texts == []
    assert {one: one.stat().st_mtime_ns for one in tmp_path.rglob("*") if one.name != LOCK_NAME} == before
    opened = open_embedded(tmp_path / "x.embedded.json")
    assert (opened.identity, opened.model_name) == (first.identity, first.model_name)
    np.testing.assert_array_equal(opened.gather([0, 4]).vectors, first.gather([0, 4]).vectors)


def test_a_changed_item_alone_is_embedded_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    items = make_items(6)
    path = write_items(tmp_path / "x.json", items)
    first = embed(path, config)
    embedded_texts.clear()
    items[2]["text"] = "Something else happened."
    items[3]["regret_factor"] = 1.0
    items.append({"id": "new", "text": "One more."})
    second = embed(write_items(path, items), config)
    assert sorted(set(embedded_texts) - {"Story 2", "telling it"}) == ["One more.", "Something else happened."]
    assert second.identity != first.identity
    np.testing.assert_array_equal(second.segments(1).vectors, first.segments(1).vectors)
    assert open_embedded(tmp_path / "x.embedded.json").ids[-1] == "new"


@pytest.mark.parametrize(
    "field, value", [("title", "Another title"), ("action", "keeping quiet"), ("text", "Another.")]
)
def test_each_field_that_is_embedded_embeds_its_item_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], field: str, value: str
) -> None:
    items = make_items(2)
    first = embed(write_items(tmp_path / "x.json", items), config)
    embedded_texts.clear()
    items[1][field] = value
    second = embed(write_items(tmp_path / "x.json", items), config)
    assert value in embedded_texts
    assert second.keys[0] == first.keys[0] and second.keys[1] != first.keys[1]


@pytest.mark.parametrize("setting", [{"max_segments": 5}, {"window_word_pieces": 20}])
def test_each_setting_of_the_segmentation_embeds_everything_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], setting: dict[str, int]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(2))
    first = embed(path, config)
    embedded_texts.clear()
    second = embed(path, msgspec.structs.replace(config, **setting))
    assert {"Story 0", "Story 1"} <= set(embedded_texts)
    assert second.identity != first.identity


def test_vectors_are_synced_before_they_count(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = Synced(monkeypatch)
    embed(write_items(tmp_path / "data" / "x.json", make_items(3)), config)
    assert [name for name in synced.missed(tmp_path / "data") if name != "x.json" and LOCK_NAME not in name] == []


def test_identity_follows_annotations_text_and_order_but_not_notes(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    items = make_items(3)
    path = tmp_path / "x.json"
    first = embed(write_items(path, items), config).identity
    items[0]["note"] = "another"
    assert embed(write_items(path, items), config).identity == first
    assert embed(write_items(path, items[::-1]), config).identity != first
    items[0]["regret_factor"] = 0.123
    assert embed(write_items(path, items), config).identity != first


def test_another_segmentation_or_model_embeds_everything_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], source: ModelSource
) -> None:
    path = write_items(tmp_path / "x.json", make_items(3))
    first = embed(path, config)
    embedded_texts.clear()
    embed(path, msgspec.structs.replace(config, window_word_pieces=20))
    assert len(embedded_texts) > 9
    embedded_texts.clear()
    other = tmp_path / "other model"
    other.mkdir()
    for name in ("model.safetensors", "tokenizer.json", "modules.json", "1_Pooling"):
        (other / name).symlink_to(source.folder / name)
    (other / "config.json").write_text(json.dumps({**json.loads((source.folder / "config.json").read_text()), "x": 1}))
    second = embed(path, msgspec.structs.replace(config, model=str(other)))
    assert embedded_texts
    assert second.identity != first.identity
    embedded_texts.clear()
    assert embed(path, config).identity == first.identity  # the first model's vectors are still there
    assert not embedded_texts


def test_a_broken_dataset_is_refused_before_anything_is_written(tmp_path: Path, config: EmbeddingConfig) -> None:
    path = write_items(tmp_path / "x.json", [*make_items(2), {"id": "item-0", "text": ""}])
    with pytest.raises(DataError):
        embed(path, config)
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


def test_without_the_model_there_is_no_run_unless_all_vectors_are_there(
    tmp_path: Path,
    config: EmbeddingConfig,
    embedded_texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    log: Callable[[], str],
) -> None:
    path = write_items(tmp_path / "x.json", make_items(3))
    first = embed(path, config)
    monkeypatch.setattr("redheart.embedding.model_source.find_spec", lambda _: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    log()
    assert embed(path, config).identity == first.identity
    assert "all-MiniLM-L6-v2" in log()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MissingRequirement, match="pip install"):
        embed(write_items(path, make_items(4)), config)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(MissingRequirement):
        embed(path, config, force=True)


def test_a_stop_stores_what_is_embedded_and_the_next_run_goes_on(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(20))
    answers = iter([False, False, True])
    with pytest.raises(Interrupted, match="of 20 missing situations embedded and stored") as caught:
        embed(path, config, should_stop=lambda: next(answers))
    assert caught.value.exit_code == 130
    assert SAVED not in log()
    stored = stored_items(tmp_path / "x.vectors")
    assert 0 < len(stored) < 20
    done = len(embedded_texts)
    made = embed(path, config)
    assert len(made) == 20
    check_no_story_was_read_twice(embedded_texts, 20)
    assert len(embedded_texts) > done
    made.verify()


def check_no_story_was_read_twice(embedded_texts: list[str], stories: int) -> None:
    """Titles and texts of ``make_items`` are unlike each other, so nothing of them is read again but by mistake."""
    read = Counter(text for text in embedded_texts if text != "telling it")
    assert set(read.values()) == {1}
    assert {f"Story {number}" for number in range(stories)} <= set(read)
    assert sum(text.startswith("This is story number") for text in read) >= stories


def stored_items(folder: Path) -> list[str]:
    """All keys that index lines name, one per stored item, repeated if stored twice."""
    keys: list[str] = []
    for index in folder.glob("*.index.jsonl"):
        for line in index.read_text().splitlines()[1:]:
            keys.extend(key for key, _, _ in json.loads(line)["items"])
    return keys


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_kill_in_the_middle_loses_one_batch_at_most(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(90))
    program = (
        "import sys\nfrom pathlib import Path\nfrom redheart.config import EmbeddingConfig\n"
        "from redheart.embedding import embed_dataset\nfrom redheart.embedding.encoder import Encoder\n"
        "inner = Encoder.encode_segments\n"
        "def told(self, segments):\n"
        "    with open(sys.argv[2], 'a') as out: out.write(f'{sum(one.kind == 0 for one in segments)}\\n')\n"
        "    return inner(self, segments)\n"
        "Encoder.encode_segments = told\n"
        "path = Path(sys.argv[1])\n"
        "embed_dataset(path, EmbeddingConfig(batch_size=16, precision='fp32'), output_root=path.parent)\n"
    )
    begun = tmp_path / "begun"
    process = subprocess.Popen([sys.executable, "-c", program, str(path), str(begun)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not begun.exists() or len(begun.read_text().splitlines()) < 6:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    stored = stored_items(tmp_path / "x.vectors")
    batches = [int(line) for line in begun.read_text().splitlines()]
    assert 0 < len(stored) < 90
    assert sum(batches) - len(stored) in (0, batches[-1])  # embedded and not stored: the last batch, or nothing
    made = embed(path, config)
    assert sum(text.startswith("Story ") for text in embedded_texts) == 90 - len(stored)
    assert sorted(stored_items(tmp_path / "x.vectors")) == sorted(made.keys)
    made.verify()


def test_two_processes_at_once_do_not_embed_anything_twice(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(40))
    made: list[EmbeddedDataset] = []
    threads = [threading.Thread(target=lambda: made.append(embed(path, config))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0].identity == made[1].identity
    check_no_story_was_read_twice(embedded_texts, 40)
    made[0].verify()


def test_a_stop_is_heard_while_another_process_holds_the_lock(tmp_path: Path, config: EmbeddingConfig) -> None:
    from filelock import FileLock

    path = write_items(tmp_path / "x.json", make_items(1))
    (tmp_path / "x.vectors").mkdir()
    with FileLock(tmp_path / "x.vectors" / LOCK_NAME), pytest.raises(Interrupted, match="another process"):
        embed(path, config, should_stop=lambda: True)


def test_a_full_disk_is_named_and_what_was_stored_stays(
    tmp_path: Path, small_disk: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    items = make_items(60)
    path = write_items(small_disk / "x.json", items)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        embed(path, config)
    assert str(small_disk / "x.vectors") in str(caught.value)
    assert SAVED not in log()
    (name,) = {one.name.split(".")[0] for one in (small_disk / "x.vectors").glob("*.index.jsonl")}
    store = VectorStore(small_disk / "x.vectors", name)
    assert 0 < len(store.records) < 60
    assert store.damaged() == []
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    done = len(store.records)
    embedded_texts.clear()
    embed(path, config).verify()
    assert sum(text.startswith("Story ") for text in embedded_texts) == 60 - done


def test_a_read_only_folder_sends_everything_to_the_output_root(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], make_read_only: Callable[[Path], None]
) -> None:
    path = write_items(tmp_path / "shared" / "x.json", make_items(3))
    make_read_only(path.parent)
    made = embed_dataset(path, config, output_root=tmp_path / "out")
    assert [one.name for one in path.parent.iterdir()] == ["x.json"]
    assert made.path == tmp_path / "out" / "embeddings" / "x.embedded.json"
    assert open_embedded(made.path).identity == made.identity
    embedded_texts.clear()
    assert embed_dataset(path, config, output_root=tmp_path / "out").identity == made.identity
    assert not embedded_texts


def test_a_folder_made_read_only_is_respected_for_root_too(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    path = write_items(tmp_path / "given" / "x.json", make_items(3))
    path.parent.chmod(0o555)
    made = embed_dataset(path, config, output_root=tmp_path / "out")
    assert made.path.parent == tmp_path / "out" / "embeddings"
    assert [one.name for one in path.parent.iterdir()] == ["x.json"]


def test_vectors_beside_a_read_only_dataset_are_reused_and_only_the_rest_is_embedded(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], make_read_only: Callable[[Path], None]
) -> None:
    path = write_items(tmp_path / "shared" / "x.json", make_items(3))
    first = embed(path, config)
    write_items(path, make_items(4))
    make_read_only(path.parent)
    embedded_texts.clear()
    made = embed_dataset(path, config, output_root=tmp_path / "out")
    assert [text for text in embedded_texts if text.startswith("Story")] == ["Story 3"]
    np.testing.assert_array_equal(made.segments(0).vectors, first.segments(0).vectors)
    assert len(open_embedded(made.path)) == 4


def test_another_user_who_may_not_write_beside_the_dataset_writes_to_the_output_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; the mode of the folder is tested above")
    path = write_items(tmp_path / "shared" / "x.json", make_items(1))
    (tmp_path / "shared" / "x.vectors").mkdir()
    let_others_reach(tmp_path)
    let_others_reach(path.parent)
    path.chmod(0o644)
    assert target_paths(path, tmp_path / "out").json.parent == path.parent, "root may write anywhere"

    def target() -> str:
        return as_another_user(lambda: str(target_paths(path, tmp_path / "out").json))

    assert target() == str(tmp_path / "out" / "embeddings" / "x.embedded.json")
    path.parent.chmod(0o777)  # the folder may be written now, but not the vectors of another user in it
    assert target() == str(tmp_path / "out" / "embeddings" / "x.embedded.json")
    (tmp_path / "shared" / "x.vectors").chmod(0o777)
    assert target() == str(tmp_path / "shared" / "x.embedded.json")


def test_nothing_is_ever_written_beside_the_bundled_sample(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = write_items(tmp_path / "package" / "sample" / "situations.json", make_items(2))
    monkeypatch.setattr("redheart.data.locate.bundled_sample", lambda: sample)
    made = embed_dataset(sample, config, output_root=tmp_path / "out")
    assert made.path == tmp_path / "out" / "embeddings" / "situations.embedded.json"
    assert [one.name for one in sample.parent.iterdir()] == ["situations.json"]
    assert bundled_sample().parent.name == "sample"


def test_a_flipped_byte_is_found_by_verification_and_embedded_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(9))
    first = embed(path, config)
    (data,) = (tmp_path / "x.vectors").glob("*.float32")
    content = bytearray(data.read_bytes())
    content[384 * 4 * 2 + 1] ^= 64
    data.write_bytes(content)
    with pytest.raises(StorageError, match=r"vectors of 1 items are damaged \(first: item-0\)"):
        open_embedded(tmp_path / "x.embedded.json").verify()
    embedded_texts.clear()
    made = embed(path, config, verify=True)
    assert [text for text in embedded_texts if text.startswith("Story")] == ["Story 0"]
    made.verify()
    assert made.identity == first.identity
    open_embedded(tmp_path / "x.embedded.json").verify()


def test_items_with_the_same_texts_are_embedded_once(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    made = embed(write_items(tmp_path / "x.json", [{"id": name, "text": "The same."} for name in "abc"]), config)
    assert embedded_texts == ["The same."]
    assert made.counts.tolist() == [2, 2, 2]
    assert len(set(made.keys)) == 1
    np.testing.assert_array_equal(made.segments(0).vectors, made.segments(2).vectors)


def test_forcing_embeds_everything_again(tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]) -> None:
    path = write_items(tmp_path / "x.json", make_items(2))
    embed(path, config)
    embedded_texts.clear()
    embed(path, config, force=True)
    assert sum(text.startswith("Story") for text in embedded_texts) == 2


def test_a_store_of_the_first_segmentation_is_refused_on_opening_and_embedded_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the first version left it: other keys, and no vectors of whole texts."""
    path = write_items(tmp_path / "x.json", make_items(3))
    with monkeypatch.context() as then:
        then.setattr("redheart.embedding.missing.SEGMENTATION_VERSION", 1)
        cut = Encoder.segment
        then.setattr(Encoder, "segment", lambda *given: [segments[:-1] for segments in cut(*given)])
        old = embed(path, config)
    assert old.segments(0).kinds.max() == 2
    with pytest.raises(StorageError, match=r'vectors of 3 of 3 items \(first: "item-0"\).*text whole') as caught:
        open_embedded(old.path)
    assert f"redheart embed --data {old.path}" in str(caught.value)
    embedded_texts.clear()
    made = embed(path, config)
    check_no_story_was_read_twice(embedded_texts, 3)
    assert not set(made.keys) & set(old.keys)
    opened = open_embedded(old.path)
    assert opened.identity == made.identity != old.identity
    assert all(opened.segments(index).kinds[-1] == 3 for index in range(3))


def test_a_dataset_tells_which_kinds_its_sequences_hold(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    made = embed(write_items(tmp_path / "x.json", [*make_items(1), {"id": "bare", "text": "Only a text."}]), config)
    kinds, longest = made.kinds_in([0, 1])
    assert kinds.tolist() == [True] * 4 and longest == len(made.segments(0).kinds)
    kinds, longest = made.kinds_in([1])
    assert (kinds.tolist(), longest) == ([False, False, True, True], 2)
    older = write_items(tmp_path / "older.json", [{"id": "a", "text": "t", "embedding": [1.0, 2.0]}])
    assert open_embedded(older).kinds_in([0])[0].tolist() == [False, False, True, False]
