"""What an encoder can't read of an embedded dataset: stored beside its vectors, and said wherever it is met."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from redheart.embedding.dataset import EmbeddedDataset
from redheart.embedding.language.reading import Reading
from redheart.embedding.model_source import multilingual_models
from redheart.errors import StorageError
from redheart.messages import text, warn
from redheart.storage import write_json
from redheart.storage.structs import read_struct
from redheart.storage.writable import is_writable

_NAME = "language.json"
T = TypeVar("T")


class StoredReading(msgspec.Struct, frozen=True):
    """``language.json``; it counts for the dataset with this identity only."""

    identity: str
    reading: Reading


def _told(tell: Callable[..., T], reading: Reading) -> T:
    return tell(
        "embedding.language_unread",
        model=reading.model,
        count=reading.unread,
        looked=reading.looked,
        percent=f"{100 * reading.share:.3g}",
        id=reading.first,
        names=multilingual_models(),
    )


def sentence(reading: Reading) -> str:
    """In words, how much an encoder can't read, and which encoders can."""
    return _told(text, reading)


def say(reading: Reading | None) -> None:
    """Warns where something can't be read."""
    if reading is not None and reading.unread:
        _told(warn, reading)


def read_reading(vectors: Path, identity: str) -> Reading | None:
    """What is stored in a vectors folder of the dataset with this identity; None: nothing, all of it is read, as far as known."""
    try:
        stored = read_struct(vectors / _NAME, StoredReading) if (vectors / _NAME).is_file() else None
    except StorageError:
        return None  # written again at the next embedding; it decides nothing
    return stored.reading if stored is not None and stored.identity == identity else None


def unread_of(dataset: EmbeddedDataset) -> float | None:
    """The share of an embedded dataset's stories that its encoder can't read; None where all are read, as far as known."""
    reading = read_reading(dataset.mapped.path.parent, dataset.identity) if dataset.mapped is not None else None
    return reading.share if reading is not None else None


def store_reading(vectors: Path, identity: str, reading: Reading | None) -> None:
    """Stores what can't be read, if anything, unless it is there; where it can't be, the embedding goes on."""
    if reading is None or not reading.unread or read_reading(vectors, identity) == reading:
        return
    try:
        if is_writable(vectors):
            write_json(vectors / _NAME, msgspec.to_builtins(StoredReading(identity, reading)))
    except StorageError as error:
        warn("embedding.facts_not_stored", path=vectors / _NAME, error=error)
