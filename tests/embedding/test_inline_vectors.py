"""Files that hold their vectors as lists: ours, and those of an older program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from redheart.config import EmbeddingConfig
from redheart.embedding import embed_dataset, open_embedded
from redheart.errors import DataError, StorageError
from tests.embedding.conftest import make_items, write_items


def older_items(form: str) -> tuple[list[dict[str, Any]], np.ndarray[Any, Any]]:
    """Two items as an older program wrote them, and their vectors ``(2, 384)``."""
    vectors = np.random.default_rng(0).normal(size=(2, 384)).astype(np.float32)
    items = make_items(2)
    for item, vector in zip(items, vectors.tolist(), strict=True):
        item["embedding"] = {"flat": vector, "repeated": [vector] * 100, "one in a list": [vector]}[form]
    return items, vectors


def test_inline_vectors_are_written_as_lists_and_read_back_exactly_without_the_store(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(3))
    made = embed_dataset(path, config, output_root=tmp_path, inline=True)
    alone = tmp_path / "elsewhere" / "y.embedded.json"
    alone.parent.mkdir()
    alone.write_bytes((tmp_path / "x.embedded.json").read_bytes())
    item = json.loads(alone.read_text())[0]
    assert item["embedding_kinds"] == made.segments(0).kinds.tolist()
    assert len(item["embedding"]) == len(item["embedding_kinds"])
    opened = open_embedded(alone)
    assert opened.identity == made.identity
    for index in range(3):
        np.testing.assert_array_equal(opened.segments(index).vectors, made.segments(index).vectors)
        np.testing.assert_array_equal(opened.segments(index).kinds, made.segments(index).kinds)
        np.testing.assert_array_equal(opened.segments(index).positions, made.segments(index).positions)
    embedded_texts.clear()
    again = embed_dataset(alone, config, output_root=tmp_path, inline=True)  # its vectors are reused
    assert not embedded_texts
    assert again.identity == made.identity


def test_an_inline_item_whose_text_was_changed_is_embedded_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    embed_dataset(write_items(tmp_path / "x.json", make_items(2)), config, output_root=tmp_path, inline=True)
    items = json.loads((tmp_path / "x.embedded.json").read_text())
    items[1]["text"] = "Changed by hand."
    path = write_items(tmp_path / "z" / "x.embedded.json", items)
    embedded_texts.clear()
    embed_dataset(path, config, output_root=tmp_path)
    assert "Changed by hand." in embedded_texts
    assert "Story 0" not in embedded_texts


@pytest.mark.parametrize("form", ["flat", "repeated", "one in a list"])
def test_one_vector_of_an_older_file_is_one_window_with_a_warning(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str], form: str
) -> None:
    items, vectors = older_items(form)
    path = write_items(tmp_path / "x.embedded.json", items)
    before = path.read_bytes()
    made = embed_dataset(path, config, output_root=tmp_path)
    said = log()
    assert "이전 형식" in said
    assert "저장" not in said
    assert [one.kinds.tolist() for one in map(made.segments, range(2))] == [[2], [2]]
    np.testing.assert_array_equal(made.gather([0, 1]).vectors[:, 0], vectors)
    assert not embedded_texts
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["x.embedded.json"]
    assert open_embedded(path).identity == made.identity


def test_many_different_vectors_of_an_older_file_are_merged_to_at_most_thirteen_windows(
    tmp_path: Path, config: EmbeddingConfig
) -> None:
    item = {"id": "a", "text": "t", "embedding": np.eye(30, 384).tolist()}
    made = embed_dataset(write_items(tmp_path / "x.embedded.json", [item]), config, output_root=tmp_path)
    assert made.counts.tolist() == [13]  # with a title, an action and the text whole there would be 16
    assert made.segments(0).kinds.tolist() == [2] * 13
    assert made.segments(0).vectors.sum() == pytest.approx(13)


def test_who_embedded_an_older_file_has_the_dataset_that_others_open(tmp_path: Path, config: EmbeddingConfig) -> None:
    """However short the user wants sequences: the file's vectors are no texts that could be cut anew."""
    item = {"id": "a", "text": "t", "embedding": np.eye(30, 384).tolist()}
    path = write_items(tmp_path / "x.embedded.json", [item])
    made = embed_dataset(path, msgspec.structs.replace(config, max_segments=8), output_root=tmp_path)
    opened = open_embedded(path)
    assert made.identity == opened.identity and made.counts.tolist() == opened.counts.tolist() == [13]


def test_what_an_older_file_lacks_is_embedded_and_the_file_is_kept(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    items, vectors = older_items("repeated")
    path = write_items(tmp_path / "x.embedded.json", [*items, *make_items(1, first=7)])
    before = path.read_bytes()
    made = embed_dataset(path, config, output_root=tmp_path)
    assert "  - 임베딩 없음: 1 (33.3%)" in log()
    assert [text for text in embedded_texts if text.startswith("Story")] == ["Story 7"]
    assert made.segments(1).kinds.tolist() == [2]
    np.testing.assert_array_equal(made.segments(1).vectors, vectors[1:2])
    assert made.segments(2).kinds[[0, -1]].tolist() == [0, 3]
    assert (tmp_path / "x.embedded.json.older").read_bytes() == before
    opened = open_embedded(path)
    assert opened.identity == made.identity
    np.testing.assert_array_equal(opened.segments(1).vectors, vectors[1:2])


def test_an_older_file_is_embedded_whole_when_forced(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    items, _ = older_items("flat")
    path = write_items(tmp_path / "x.embedded.json", items)
    made = embed_dataset(path, config, output_root=tmp_path, force=True)
    assert made.segments(0).kinds[:2].tolist() == [0, 1]
    assert (tmp_path / "x.embedded.json.older").exists()


def test_embedding_a_dataset_does_not_destroy_an_older_file_beside_it(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    items, _ = older_items("flat")
    older = write_items(tmp_path / "x.embedded.json", items)
    before = older.read_bytes()
    embed_dataset(write_items(tmp_path / "x.json", make_items(2)), config, output_root=tmp_path)
    assert (tmp_path / "x.embedded.json.older").read_bytes() == before
    assert "embedding_key" in older.read_text()


def test_vectors_of_different_sizes_are_refused(tmp_path: Path, config: EmbeddingConfig) -> None:
    items, _ = older_items("flat")
    items[1]["embedding"] = [0.5] * 383
    path = write_items(tmp_path / "x.embedded.json", items)
    for read in (lambda: embed_dataset(path, config, output_root=tmp_path), lambda: open_embedded(path)):
        with pytest.raises(DataError, match="found vectors of 383 numbers; wanted 384") as caught:
            read()
        assert 'item 1 (counting from 0), id "item-1", field embedding' in str(caught.value)


def test_older_vectors_of_another_size_than_the_models_are_not_mixed_with_its_own(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    items = make_items(2)
    items[0]["embedding"] = [0.5] * 768
    path = write_items(tmp_path / "x.embedded.json", items)
    with pytest.raises(DataError, match="found vectors of 768 numbers; wanted 384"):
        embed_dataset(path, config, output_root=tmp_path)


@pytest.mark.parametrize(
    "kinds", [[2], [2, 0, 2], [0, 1, 3], [0, 1], "012", [0, 1, True], [2, 3, 3], [0, 0, 2], [3, 2, 2], [2, 2, 4]]
)
def test_kinds_that_do_not_fit_the_vectors_are_refused(tmp_path: Path, config: EmbeddingConfig, kinds: Any) -> None:
    item = {"id": "a", "text": "t", "embedding": [[1.0, 2.0]] * 3, "embedding_kinds": kinds, "embedding_key": "k"}
    path = write_items(tmp_path / "x.embedded.json", [item])
    with pytest.raises(DataError, match='id "a", field embedding_kinds'):
        embed_dataset(path, config, output_root=tmp_path)


def as_version_1_wrote_it(path: Path) -> None:
    """Takes the whole texts from an inline file and gives it the keys that it had then."""
    items = json.loads(path.read_text())
    for number, item in enumerate(items):
        assert item["embedding_kinds"].pop() == 3 and item["embedding"].pop()
        item["embedding_key"] = f"{number:032x}"
    write_items(path, items)


def test_an_inline_file_of_the_first_segmentation_is_refused_on_opening_and_embedded_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    written = embed_dataset(write_items(tmp_path / "x.json", make_items(3)), config, output_root=tmp_path, inline=True)
    path = tmp_path / "old" / "x.embedded.json"
    path.parent.mkdir()
    path.write_bytes(written.path.read_bytes())
    as_version_1_wrote_it(path)
    with pytest.raises(StorageError, match=r'3 of 3 items \(first: "item-0"\).*found none of the text whole') as caught:
        open_embedded(path)
    assert f"redheart embed --data {path}" in str(caught.value)
    embedded_texts.clear()
    made = embed_dataset(path, config, output_root=tmp_path, inline=True)
    assert sum(text.startswith("Story ") for text in embedded_texts) == 3
    assert made.identity == open_embedded(path).identity == written.identity
    np.testing.assert_array_equal(made.gather([0, 1, 2]).kinds, written.gather([0, 1, 2]).kinds)


def test_lists_with_kinds_but_without_a_key_are_taken_as_they_are_and_said_to_be_older(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    items = [{"id": name, "text": name, "embedding": np.eye(4).tolist()} for name in "ab"]
    items[0]["embedding_kinds"], items[1]["embedding_kinds"] = [0, 1, 2, 3], [0, 1, 2, 2]
    path = write_items(tmp_path / "x.embedded.json", items)
    for made in (open_embedded(path), embed_dataset(path, config, output_root=tmp_path)):
        assert [made.segments(index).kinds.tolist() for index in range(2)] == [[0, 1, 2, 3], [0, 1, 2, 2]]
        assert made.segments(0).positions.tolist() == [0, 0, 0, 0]
    assert "이전 형식" in log()
    assert not embedded_texts


def test_a_file_without_vectors_or_with_lost_ones_is_refused_on_opening(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    plain = write_items(tmp_path / "plain.json", make_items(2))
    with pytest.raises(StorageError, match="2 of 2 items have neither"):
        open_embedded(plain)
    embed_dataset(plain, config, output_root=tmp_path)
    (tmp_path / "plain.vectors").rename(tmp_path / "gone")
    with pytest.raises(StorageError, match="2 of 2 items have no vectors in"):
        open_embedded(tmp_path / "plain.embedded.json")
    embedded_texts.clear()
    embed_dataset(tmp_path / "plain.embedded.json", config, output_root=tmp_path)  # the texts are there
    assert embedded_texts
    assert len(open_embedded(tmp_path / "plain.embedded.json")) == 2


def test_an_older_file_that_was_embedded_anew_as_the_warning_says_is_taken_so_from_then_on(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    """Its own vectors still stand in the file that the next command names."""
    path = write_items(tmp_path / "my stories.json", older_items("flat")[0])
    embed_dataset(path, config, output_root=tmp_path)
    assert f"redheart embed --data '{path}' --anew" in log()
    made = embed_dataset(path, config, output_root=tmp_path, force=True)
    assert embed_dataset(path, config, output_root=tmp_path).identity == made.identity
    assert "이전 형식" not in log()
