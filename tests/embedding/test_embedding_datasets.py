"""Embedding a dataset: only what is missing, beside the dataset; what is written, read and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from redheart.config import EmbeddingConfig
from redheart.embedding import open_embedded
from redheart.embedding.encoder import Encoder
from redheart.embedding.lock import LOCK_NAME
from redheart.errors import DataError, MissingRequirement
from tests.embedding.conftest import SAVED, embed, make_items, write_items


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


def test_items_with_the_same_texts_are_embedded_once(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    made = embed(write_items(tmp_path / "x.json", [{"id": name, "text": "The same."} for name in "abc"]), config)
    assert embedded_texts == ["The same."]
    assert made.counts.tolist() == [2, 2, 2]
    assert len(set(made.keys)) == 1
    np.testing.assert_array_equal(made.segments(0).vectors, made.segments(2).vectors)


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
