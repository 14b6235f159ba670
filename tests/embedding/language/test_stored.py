"""What the encoder can't read is said at each embedding, and stored beside the vectors for exactly this dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from redheart.config import EmbeddingConfig
from redheart.embedding.language import stored
from redheart.embedding.language.reading import Reading
from redheart.embedding.language.stored import read_reading, unread_of
from redheart.embedding.model_source import MULTILINGUAL_MODELS
from redheart.errors import MissingRequirement, StorageError
from tests.embedding.conftest import embed, make_items, write_items

KOREAN = "나는 거스름돈을 돌려주지 않았다. 아무에게도 말하지 않았다."


def write(path: Path, korean: int) -> Path:
    items = make_items(6)
    for item in items[:korean]:
        item["text"] = f"{KOREAN} {item['id']}"
    return write_items(path, items)


def test_unread_stories_are_said_with_their_share_and_with_encoders_that_read_them(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    path = write(tmp_path / "d.json", korean=2)
    dataset = embed(path, config)
    said = log()
    assert "상황 6개 중 2개(33.3%)" in said and "첫 항목: item-0" in said
    assert all(name in said for name in MULTILINGUAL_MODELS)
    assert unread_of(dataset) == pytest.approx(1 / 3)
    embed(path, config)
    assert "상황 6개 중 2개(33.3%)" in log(), "it is said again where nothing is embedded, nor read"


def test_it_counts_for_exactly_the_dataset_that_was_embedded(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    path = write(tmp_path / "d.json", korean=2)
    korean = embed(path, config)
    english = embed(write(path, korean=0), config)
    log()
    assert unread_of(english) is None
    vectors = tmp_path / "d.vectors"
    assert read_reading(vectors, korean.identity) == Reading("all-MiniLM-L6-v2", 6, 2, "item-0")
    embed(path, config)
    assert "읽지 못합니다" not in log()


def test_it_is_said_where_the_encoder_is_not_here_any_more(
    tmp_path: Path,
    config: EmbeddingConfig,
    embedded_texts: list[str],
    log: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(*_: object) -> None:
        raise MissingRequirement("not here")

    path = write(tmp_path / "d.json", korean=2)
    embed(path, config)
    log()
    for module in ("embed", "missing"):
        monkeypatch.setattr(f"redheart.embedding.{module}.find_model", absent)
    for _ in range(2):
        embed(path, config)
        assert log().count("상황 6개 중 2개(33.3%)") == 1
        (tmp_path / "d.vectors" / "facts.safetensors").unlink()  # the dataset is read anew


def test_nothing_is_stored_where_all_is_read(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    embed(write(tmp_path / "d.json", korean=0), config)
    assert "읽지 못합니다" not in log()
    assert not (tmp_path / "d.vectors" / "language.json").exists()


def test_a_damaged_file_says_nothing_and_is_written_again(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    path = write(tmp_path / "d.json", korean=6)
    dataset = embed(path, config)
    file = tmp_path / "d.vectors" / "language.json"
    file.write_text("{")
    assert unread_of(dataset) is None
    write_items(path, [*json.loads(path.read_text()), *make_items(1, first=9)])
    assert unread_of(embed(path, config)) == pytest.approx(6 / 7)


def test_where_it_can_not_be_stored_the_embedding_goes_on(
    tmp_path: Path,
    config: EmbeddingConfig,
    embedded_texts: list[str],
    log: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(stored, "write_json", full)
    assert len(embed(write(tmp_path / "d.json", korean=6), config)) == 6
    assert "no space left" in log()
