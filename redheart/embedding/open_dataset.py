"""The opening of an embedded dataset, from stored facts, the vector store or inline lists, without the encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from redheart.config import MAX_SEGMENTS
from redheart.data import Situation, iter_situations, read_dataset
from redheart.data.facts import FactsGathering
from redheart.data.identity import Identity
from redheart.embedding.dataset import OLDER_KEY, EmbeddedDataset, Sequences
from redheart.embedding.embedded_json import InlineVectors, Receipt, SizeCheck, check_sizes, inline_vectors
from redheart.embedding.paths import paths_in
from redheart.embedding.store import VectorStore, stores_in
from redheart.embedding.stored_facts import header_of, load_facts, read_header, store_facts
from redheart.errors import StorageError
from redheart.storage import sha256_of
from redheart.storage.names import as_typed


@dataclass(frozen=True, slots=True)
class ReadDataset:
    """A dataset that was read and checked as a whole.

    Attributes:
        sha256: of the bytes that were read.
        index_sha256: of the index of the store that holds its vectors; "" where the file does.
    """

    dataset: EmbeddedDataset
    sha256: str
    index_sha256: str


def older_key(found: InlineVectors) -> str:
    """The key of vectors that an older program made: their own hash."""
    return OLDER_KEY + hashlib.blake2b(np.ascontiguousarray(found.vectors).tobytes(), digest_size=13).hexdigest()


def in_memory(
    path: Path, situations: Sequence[Situation], found: Sequence[InlineVectors], keys: Sequence[str | None]
) -> EmbeddedDataset:
    """A dataset whose vectors the file brought; ``keys``: None where they are an older program's."""
    rows = np.concatenate([one.vectors for one in found])
    counts = np.array([len(one.kinds) for one in found], np.int64)
    first_rows = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    named = [key or older_key(one) for key, one in zip(keys, found, strict=True)]
    kinds = [one.kinds for one in found]
    return EmbeddedDataset.of_situations(path, situations, named, rows, first_rows, kinds, model_name="")


def sequences_in(store: VectorStore, keys: Sequence[str]) -> Sequences:
    """Where the vectors of ``keys`` lie in ``store``."""
    records = [store.records[key] for key in keys]
    first_rows: NDArray[np.int64] = np.array([record.row for record in records], np.int64)
    return Sequences.of(keys, first_rows, [record.kinds for record in records])


def open_embedded(path: Path) -> EmbeddedDataset:
    """Opens an ``.embedded.json`` with the vectors beside it, or in it; the model is not needed.

    What follows from it is stored beside its vectors, so that the next process neither reads nor checks it again.

    Raises:
        DataError: the file is broken or holds no vectors.
        StorageError: vectors are missing, damaged, or of an earlier version.
    """
    place = paths_in(path.parent, path)
    keeps_facts = path.name == place.json.name
    stored = load_facts(path, place.vectors) if keeps_facts else None
    if stored is not None:
        return stored.dataset
    read = read_embedded(path)
    if keeps_facts and read.dataset.mapped is not None:
        header = header_of(read.dataset, read.sha256, read.index_sha256, None)
        store_facts(place.vectors, read.dataset, header)
    return read.dataset


def changed_source(path: Path) -> Path | None:
    """The dataset that the ``.embedded.json`` at ``path`` was written from, if it lies beside it and holds something else by now."""
    vectors = paths_in(path.parent, path).vectors
    receipt, header = Receipt.read(vectors), read_header(vectors)
    if receipt is None or receipt.source_state is None or path.name == receipt.source:
        return None
    source = path.with_name(receipt.source)
    try:
        if header is not None and header.source is not None:
            is_same = sha256_of(source) == header.source.sha256
        else:  # facts that were made anew of the file alone; times change where nothing else does
            is_same = source.stat().st_size == receipt.source_state[0]
    except OSError:
        return None  # whoever embeds it says what is wrong with it
    return None if is_same else source


def read_embedded(path: Path) -> ReadDataset:
    """Opens an ``.embedded.json`` by reading and checking all of it.

    Raises:
        DataError: the file is broken or holds no vectors.
        StorageError: vectors are missing, damaged, or of an earlier version.
    """
    stores = stores_in(paths_in(path.parent, path).vectors)
    read = (_from_store(path, stores) if stores else None) or _from_lists(path, stores)
    read.dataset.check_whole_texts()
    return read


def _from_store(path: Path, stores: Sequence[VectorStore]) -> ReadDataset | None:
    """The dataset if one store has the vectors of every item; situations are let go as they are read."""
    digest = hashlib.sha256()
    facts, identity, sizes = FactsGathering(), Identity(), SizeCheck(path)
    keys: list[str] = []
    having = list(stores)
    for one in iter_situations(path, on_bytes=digest.update):
        key = one.embedding_key
        having = [store for store in having if key in store]
        if key is None or not having:
            return None
        keys.append(key)
        facts.add(one)
        identity.add(one, key)
        sizes.add(one)
    sizes.check()
    store = having[0]
    dataset = EmbeddedDataset(
        path,
        facts.facts(),
        sequences_in(store, keys),
        store.mapped,
        identity=identity.hex(),
        model_name=store.model_name,
    )
    return ReadDataset(dataset, digest.hexdigest(), store.index_sha256)


def _from_lists(path: Path, stores: Sequence[VectorStore]) -> ReadDataset:
    """The dataset with the vectors that it holds as lists."""
    digest = hashlib.sha256()
    situations = read_dataset(path, on_bytes=digest.update)
    check_sizes(situations, path)
    keys = [one.embedding_key for one in situations]
    named = [key for key in keys if key is not None]
    if len(named) == len(situations) and not all(one.embedding is not None for one in situations):
        best = max((sum(key in store for key in named) for store in stores), default=0)
        raise StorageError(
            f"{path}: {len(named) - best} of {len(named)} items have no vectors in "
            f"{paths_in(path.parent, path).vectors}; wanted all of them: embed the dataset again "
            f"(redheart embed --data {as_typed(path)}; what is there is reused)"
        )
    found = [inline_vectors(one, path=path, max_segments=MAX_SEGMENTS) for one in situations]
    whole = [one for one in found if one is not None]
    if len(whole) < len(found):
        raise StorageError(
            f"{path}: {len(found) - len(whole)} of {len(found)} items have neither an embedding_key nor an embedding; "
            f"wanted vectors for all: embed the dataset first (redheart embed --data {as_typed(path)})"
        )
    return ReadDataset(in_memory(path, situations, whole, keys), digest.hexdigest(), "")
