"""The ``.embedded.json``: the dataset, each item with the key of its vectors, or with the vectors as lists.

It is written item by item, so that a dataset of gigabytes is never held as text, and only when it would change.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from redheart.data import Situation
from redheart.data.files.json_stream import Item, stream_items
from redheart.data.locate import WRITTEN_FROM
from redheart.embedding.dataset import EmbeddedDataset
from redheart.embedding.segments import ACTION, TITLE, WHOLE, WINDOW
from redheart.errors import DataError, StorageError
from redheart.messages import text
from redheart.progress import Progress
from redheart.storage import replace_file, write_json
from redheart.storage.structs import read_struct


@dataclass(frozen=True, slots=True)
class InlineVectors:
    """Vectors that a file holds as lists.

    Attributes:
        vectors: ``(segments, d_embed)`` float32.
        kinds: one digit per segment.
        is_ours: written by ``--inline``, with kinds and a key; an older file's are taken as text windows.
    """

    vectors: NDArray[np.float32]
    kinds: str
    is_ours: bool


def _merged(vectors: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Vectors ``(most or fewer, d_embed)``: neighbours averaged evenly where there are more."""
    if len(vectors) <= most:
        return vectors
    edges = [round(place * len(vectors) / most) for place in range(most + 1)]
    return np.stack([vectors[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)]).astype(np.float32)


def inline_vectors(situation: Situation, *, path: Path, max_segments: int) -> InlineVectors | None:
    """What an item holds as lists, None if nothing. One vector repeated, as an older program wrote it, is one vector.

    Raises:
        DataError: its ``embedding_kinds`` don't fit its vectors.
    """
    vectors = situation.embedding
    if vectors is None:
        return None
    kinds: Any = situation.raw.get("embedding_kinds")
    if kinds is None:
        if len(vectors) > 1 and (vectors == vectors[0]).all():
            vectors = vectors[:1]
        vectors = _merged(vectors, max_segments - 3)
        return InlineVectors(vectors, str(WINDOW) * len(vectors), is_ours=False)
    good = isinstance(kinds, list) and all(type(kind) is int and 0 <= kind <= WHOLE for kind in kinds)
    only_once = all(kinds.count(kind) <= 1 for kind in (TITLE, ACTION, WHOLE)) if good else False
    if not only_once or len(kinds) != len(vectors) or WINDOW not in kinds or kinds != sorted(kinds):
        raise DataError(
            f"{path}: the vectors of one item can't be used; nothing was written",
            (
                f"{path}, id {json.dumps(situation.id)}, field embedding_kinds: found {json.dumps(kinds)[:80]}; "
                f"wanted {len(vectors)} numbers, one per vector: 0 title, 1 action, 2 text window, 3 whole text, in this order, "
                "and only 2 more than once",
            ),
        )
    return InlineVectors(vectors, "".join(map(str, kinds)), is_ours=situation.embedding_key is not None)


class SizeCheck:
    """The check that vectors written as lists all have one size; items are added one by one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index = -1
        self._first: tuple[str, int] | None = None
        self._problem: str | None = None

    def add(self, one: Situation) -> None:
        """Takes the next situation of the dataset."""
        self._index += 1
        if one.embedding is None or self._problem is not None:
            return
        size = int(one.embedding.shape[1])
        if self._first is None:
            self._first = (one.id, size)
        elif size != self._first[1]:
            self._problem = (
                f"{self._path}, item {self._index} (counting from 0), id {json.dumps(one.id)}, field embedding: found "
                f"vectors of {size} numbers; wanted {self._first[1]}, as in item id {json.dumps(self._first[0])}"
            )

    def check(self) -> None:
        """Whether all that were added agree.

        Raises:
            DataError: naming two items that differ.
        """
        if self._problem is not None:
            raise DataError(f"{self._path}: vectors of different sizes; nothing was written", (self._problem,))


def check_sizes(situations: Iterable[Situation], path: Path) -> None:
    """Vectors written as lists must all have one size.

    Raises:
        DataError: naming two items that differ.
    """
    sizes = SizeCheck(path)
    for one in situations:
        sizes.add(one)
    sizes.check()


def _encoded(situation: Situation, key: str, inline: tuple[NDArray[np.float32], NDArray[np.int64]] | None) -> str:
    item = {name: value for name, value in situation.raw.items() if name not in ("embedding_key", "embedding_kinds")}
    item["embedding_key"] = key
    if inline is None:
        return json.dumps(item, ensure_ascii=False, allow_nan=False)
    vectors, kinds = inline
    item["embedding_kinds"] = kinds.tolist()
    # 9 significant digits give every float32 back exactly; the shortest form of the same number as a double has 17.
    rows = ",".join("[" + ",".join(f"{number:.9g}" for number in row) + "]" for row in vectors.tolist())
    return f'{json.dumps(item, ensure_ascii=False, allow_nan=False)[:-1]}, "embedding": [{rows}]}}'


def write_embedded_json(path: Path, situations: Sequence[Situation], dataset: EmbeddedDataset, *, inline: bool) -> str:
    """Replaces ``path`` by the situations, whose vectors ``dataset`` holds, whole or not at all; its SHA-256.

    Raises:
        StorageError: it can't be written; what was there is intact.
    """
    digest = hashlib.sha256()

    def write(temporary: Path) -> None:
        what = text("progress.writing", name=path.name)
        with open(temporary, "wb") as out, Progress(what, len(situations), is_brief=True) as progress:
            for index, (one, key) in enumerate(zip(situations, dataset.keys, strict=True)):
                found = dataset.segments(index) if inline else None
                item = _encoded(one, key, None if found is None else (found.vectors, found.kinds))
                put(out, ("[\n" if index == 0 else ",\n") + item)
                progress.update()
            put(out, "\n]\n")

    def put(out: BinaryIO, text: str) -> None:
        content = text.encode()
        digest.update(content)
        out.write(content)

    replace_file(path, write)
    return digest.hexdigest()


class Receipt(msgspec.Struct, frozen=True):
    """From which state – size and time of change – of which file an ``.embedded.json`` was written."""

    source: str
    source_state: list[int] | None
    embedded_state: list[int] | None
    identity: str
    inline: bool

    @classmethod
    def of(cls, source: Path, target: Path, identity: str, *, inline: bool) -> Receipt:
        """The receipt of ``target`` if it were written from ``source`` as both are now."""
        return cls(source.name, _state_of(source), _state_of(target), identity, inline)

    @classmethod
    def read(cls, vectors: Path) -> Receipt | None:
        """The receipt in a vectors folder; None if there is none. A damaged one only means that the file is written again."""
        if not (vectors / WRITTEN_FROM).exists():
            return None
        try:
            return read_struct(vectors / WRITTEN_FROM, cls)
        except StorageError:
            return None

    def write(self, vectors: Path) -> None:
        """Leaves the receipt in a vectors folder."""
        write_json(vectors / WRITTEN_FROM, msgspec.to_builtins(self))


def _state_of(path: Path) -> list[int] | None:
    if not path.exists():
        return None
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def is_current(vectors: Path, source: Path, target: Path, identity: str, *, inline: bool) -> bool:
    """Whether ``target`` seems to be what would be written now, going by sizes and times and not by its content."""
    return target.exists() and Receipt.read(vectors) == Receipt.of(source, target, identity, inline=inline)


def is_foreign(path: Path) -> bool:
    """Whether the file at ``path`` holds vectors that it would lose by being replaced: an older program's.

    Every item of a file of ours has a key, so the first item with either settles it.
    """
    if not path.exists():
        return False
    for found in stream_items(path):
        if isinstance(found, Item) and isinstance(found.value, dict):
            if "embedding_key" in found.value:
                return False
            if "embedding" in found.value:
                return True
    return False
