"""Opens what was embedded, from the store or from lists in the file, without the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from redheart.config import MAX_SEGMENTS
from redheart.data import Situation, read_dataset
from redheart.embedding.dataset import OLDER_KEY, EmbeddedDataset
from redheart.embedding.embedded_json import InlineVectors, check_sizes, inline_vectors
from redheart.embedding.paths import paths_in
from redheart.embedding.segments import WHOLE
from redheart.embedding.store import VectorStore, stores_in
from redheart.errors import StorageError


def older_key(found: InlineVectors) -> str:
    """The key of vectors that an older program made: their own hash."""
    return OLDER_KEY + hashlib.blake2b(np.ascontiguousarray(found.vectors).tobytes(), digest_size=13).hexdigest()


def in_memory(
    path: Path, situations: list[Situation], found: Sequence[InlineVectors], keys: Sequence[str | None]
) -> EmbeddedDataset:
    rows = np.concatenate([one.vectors for one in found])
    counts = np.array([len(one.kinds) for one in found], np.int64)
    first_rows = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    named = [key or older_key(one) for key, one in zip(keys, found, strict=True)]
    return EmbeddedDataset(path, situations, named, rows, first_rows, [one.kinds for one in found], model_name="")


def from_store(
    path: Path, situations: list[Situation], keys: Sequence[str], store: VectorStore, model_name: str
) -> EmbeddedDataset:
    records = [store.records[key] for key in keys]
    first_rows: NDArray[np.int64] = np.array([record.row for record in records], np.int64)
    kinds = [record.kinds for record in records]
    return EmbeddedDataset(path, situations, keys, store, first_rows, kinds, model_name=model_name)


def _check_whole_texts(
    path: Path, situations: Sequence[Situation], keys: Sequence[str | None], kinds: Iterable[str]
) -> None:
    """Whether vectors of ours have one of the text whole, which an earlier version did not embed.

    Without it the heads' linear path would read zeros in its place, and numbers would come out all the same. Vectors that
    have no key of ours are taken as they are; embedding said so.

    Raises:
        StorageError: with how many have none, and what to do.
    """
    lacking = [
        one.id
        for one, key, of_one in zip(situations, keys, kinds, strict=True)
        if key is not None and not key.startswith(OLDER_KEY) and not of_one.endswith(str(WHOLE))
    ]
    if lacking:
        raise StorageError(
            f"{path}: the vectors of {len(lacking)} of {len(situations)} items (first: {json.dumps(lacking[0])}) are an "
            "earlier version's: found none of the text whole, wanted one behind those of title, action and windows; "
            f"embed the dataset again (redheart embed --data {path})"
        )


def open_embedded(path: Path) -> EmbeddedDataset:
    """Opens an ``.embedded.json`` with the vectors beside it, or in it; the model is not needed.

    Raises:
        DataError: the file is broken or holds no vectors.
        StorageError: vectors are missing, damaged, or of an earlier version.
    """
    situations = read_dataset(path)
    check_sizes(situations, path)
    folder = paths_in(path.parent, path).vectors
    keys = [one.embedding_key for one in situations]
    named = [key for key in keys if key is not None]
    if len(named) == len(situations):
        stores = stores_in(folder)
        for store in stores:
            if all(key in store for key in named):
                _check_whole_texts(path, situations, keys, (store.records[key].kinds for key in named))
                return from_store(path, situations, named, store, store.model_name)
        if not all(one.embedding is not None for one in situations):
            best = max((sum(key in store for key in named) for store in stores), default=0)
            raise StorageError(
                f"{path}: {len(named) - best} of {len(named)} items have no vectors in {folder}; wanted all of them: "
                "embed the dataset again (what is there is reused)"
            )
    found = [inline_vectors(one, path=path, max_segments=MAX_SEGMENTS) for one in situations]
    whole = [one for one in found if one is not None]
    if len(whole) < len(found):
        raise StorageError(
            f"{path}: {len(found) - len(whole)} of {len(found)} items have neither an embedding_key nor an embedding; "
            "wanted vectors for all: embed the dataset first"
        )
    _check_whole_texts(path, situations, keys, (one.kinds for one in whole))
    return in_memory(path, situations, whole, keys)
