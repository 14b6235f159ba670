"""The ``.embedded.json``: the dataset, each item with the key of its vectors, or with the vectors as lists.

It is written item by item, so that a dataset of gigabytes is never held as text, and only when it would change.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from redheart.data import Situation
from redheart.data.json_stream import Item, stream_items
from redheart.embedding.dataset import EmbeddedDataset
from redheart.embedding.segments import ACTION, TITLE, WHOLE, WINDOW
from redheart.errors import DataError, StorageError
from redheart.storage import read_struct, replace_file, write_json

#: In the vectors folder: from which state of which files the ``.embedded.json`` was written.
_RECEIPT = "written.json"


@dataclass(frozen=True, slots=True)
class InlineVectors:
    """Vectors that a file holds as lists.

    Attributes:
        vectors: ``(segments, d_embed)`` float32.
        kinds: a digit a segment.
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
                f"wanted {len(vectors)} numbers, one a vector: 0 title, 1 action, 2 text window, 3 whole text, in this order, "
                "and only 2 more than once",
            ),
        )
    return InlineVectors(vectors, "".join(map(str, kinds)), is_ours=situation.embedding_key is not None)


def check_sizes(situations: Sequence[Situation], path: Path) -> None:
    """Vectors written as lists must all have one size.

    Raises:
        DataError: naming two items that differ.
    """
    first: Situation | None = None
    for index, one in enumerate(situations):
        if one.embedding is None:
            continue
        if first is None or first.embedding is None:
            first = one
        elif one.embedding.shape[1] != first.embedding.shape[1]:
            raise DataError(
                f"{path}: vectors of different sizes; nothing was written",
                (
                    f"{path}, item {index} (counting from 0), id {json.dumps(one.id)}, field embedding: found vectors of "
                    f"{one.embedding.shape[1]} numbers; wanted {first.embedding.shape[1]}, as in item "
                    f"id {json.dumps(first.id)}",
                ),
            )


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


def write_embedded_json(path: Path, dataset: EmbeddedDataset, *, inline: bool) -> None:
    """Replaces ``path`` by the dataset's items, whole or not at all.

    Raises:
        StorageError: it can't be written; what was there is intact.
    """

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8") as out:
            for index, (one, key) in enumerate(zip(dataset.situations, dataset.keys, strict=True)):
                found = dataset.segments(index) if inline else None
                out.write("[\n" if index == 0 else ",\n")
                out.write(_encoded(one, key, None if found is None else (found.vectors, found.kinds)))
            out.write("\n]\n")

    replace_file(path, write)


def _state_of(path: Path) -> list[int] | None:
    if not path.exists():
        return None
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


class _Receipt(msgspec.Struct, frozen=True):
    """What an embedded file was written from; states are size and time of change, None for a file that is not there."""

    source: str
    source_state: list[int] | None
    embedded_state: list[int] | None
    identity: str
    inline: bool


def _receipt(source: Path, target: Path, identity: str, inline: bool) -> _Receipt:
    return _Receipt(source.name, _state_of(source), _state_of(target), identity, inline)


def is_current(vectors: Path, source: Path, target: Path, identity: str, *, inline: bool) -> bool:
    """Whether ``target`` is what would be written now, going by sizes and times and not by gigabytes of content."""
    receipt = vectors / _RECEIPT
    if not target.exists() or not receipt.exists():
        return False
    try:
        return read_struct(receipt, _Receipt) == _receipt(source, target, identity, inline)
    except StorageError:
        return False  # a damaged receipt only means that the file is written again


def leave_receipt(vectors: Path, source: Path, target: Path, identity: str, *, inline: bool) -> None:
    """Remembers that ``target`` was written from ``source`` as it is now."""
    write_json(vectors / _RECEIPT, _receipt(source, target, identity, inline))


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
