"""The search for a dataset's missing vectors, and the embedding of those."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from redheart import storage
from redheart.config import EmbeddingConfig
from redheart.data import Situation, read_dataset
from redheart.embedding import embedded_json
from redheart.embedding.embedded_json import InlineVectors
from redheart.embedding.model_source import ModelSource, find_model
from redheart.embedding.open_dataset import older_key
from redheart.embedding.paths import EmbeddingPaths, paths_in
from redheart.embedding.segments import SEGMENTATION_VERSION, Segment
from redheart.embedding.store import NewRecord, VectorStore, VectorStoreWriter, stores_in
from redheart.errors import DataError, Interrupted, MissingRequirement
from redheart.messages import text, warn
from redheart.progress import Progress
from redheart.storage.names import as_typed

if TYPE_CHECKING:
    from redheart.embedding.encoder import Encoder

#: Situations that are cut into segments at once: enough to fill batches, little enough to hold.
_CUT_AT_ONCE = 32
_IMPORTED_AT_ONCE = 1024


def key_of(situation: Situation, fingerprint: str, config: EmbeddingConfig) -> str:
    """The key of a situation's vectors: 32 hex digits. Precision is not in it: bf16 and fp32 vectors are one model's."""
    decides = [
        fingerprint,
        SEGMENTATION_VERSION,
        config.window_word_pieces,
        config.max_segments,
        situation.title,
        situation.action,
        situation.text,
    ]
    return hashlib.blake2b(json.dumps(decides).encode(), digest_size=16).hexdigest()


def settings_of(fingerprint: str, config: EmbeddingConfig) -> str:
    """What decides the vectors of every text: the model with this fingerprint, and how texts are cut; 16 hex digits."""
    decides = [fingerprint, SEGMENTATION_VERSION, config.window_word_pieces, config.max_segments]
    if config.prompt is not None:  # in the fingerprint too, unless the model is not here and a store lends its own
        decides.append(config.prompt)
    return storage.fingerprint(decides)


class Contents:
    """A dataset as it was read to be embedded.

    Attributes:
        sha256: of the bytes that were read.
        inline: the vectors that each item brings as lists; with ``force`` none counts.
        target: where the ``.embedded.json`` and the vectors go.
    """

    def __init__(self, dataset: Path, config: EmbeddingConfig, target: EmbeddingPaths, *, force: bool) -> None:
        self.dataset = dataset
        self.config = config
        self.force = force
        digest = hashlib.sha256()
        self.situations = read_dataset(dataset, on_bytes=digest.update)
        self.sha256 = digest.hexdigest()
        embedded_json.check_sizes(self.situations, dataset)
        found = [
            embedded_json.inline_vectors(one, path=dataset, max_segments=config.max_segments) for one in self.situations
        ]
        self.inline: list[InlineVectors | None] = [None] * len(found) if force else found
        self.target = target
        self.folders = list(dict.fromkeys((target.vectors, paths_in(dataset.parent, dataset).vectors)))

    @property
    def older(self) -> int:
        """Items that bring an older program's vectors."""
        return sum(found is not None and not found.is_ours for found in self.inline)

    def keys(self, fingerprint: str) -> list[str]:
        """The key of each item's vectors where the model with this fingerprint makes them."""
        return [
            older_key(found) if found is not None and not found.is_ours else key_of(one, fingerprint, self.config)
            for one, found in zip(self.situations, self.inline, strict=True)
        ]

    def find_source(self) -> ModelSource:
        """The model; where it is not on this machine but its vectors of every item are, its fingerprint will do."""
        try:
            return find_model(self.config.model, self.config.prompt)
        except MissingRequirement:
            if self.force:
                raise
            for folder in self.folders:
                for store in stores_in(folder):
                    asked = (self.config.model, self.config.prompt)
                    if (store.model_name, store.prompt) == asked and all(
                        key in store for key in self.keys(store.fingerprint)
                    ):
                        warn("embedding.model_not_here", model=self.config.model)
                        return ModelSource(self.config.model, folder, store.fingerprint, self.config.prompt)
            raise

    def importable(self, keys: Sequence[str], stores: Sequence[VectorStore]) -> dict[str, NewRecord]:
        """Vectors that are somewhere else than in the store that is written: as lists, or beside a read-only dataset."""
        found: dict[str, NewRecord] = {}
        for one, key, inline in zip(self.situations, keys, self.inline, strict=True):
            if inline is not None and (not inline.is_ours or one.embedding_key == key):
                found[key] = NewRecord(key, inline.kinds, inline.vectors)
            for store in stores:
                if key in store:
                    found[key] = NewRecord(key, store.records[key].kinds, store.rows_of(key))
        return found


@dataclass(frozen=True)
class Inventory:
    """What a dataset has and what it lacks.

    Attributes:
        keys: of each item's vectors.
        store: where all of them are to be.
        damaged: keys whose stored vectors are not what was written.
        imported: vectors that lie elsewhere and that the store lacks.
        absent: keys whose vectors have to be made.
    """

    keys: list[str]
    store: VectorStore
    damaged: set[str]
    imported: dict[str, NewRecord]
    absent: set[str]

    @property
    def missing(self) -> int:
        """Items whose vectors have to be made."""
        return sum(key in self.absent for key in self.keys)

    @property
    def first_missing(self) -> list[int]:
        """The first item with each absent key: items with the same texts share their vectors."""
        firsts: dict[str, int] = {}
        for index, key in enumerate(self.keys):
            if key in self.absent:
                firsts.setdefault(key, index)
        return list(firsts.values())


def take_inventory(contents: Contents, source: ModelSource, *, verify: bool) -> Inventory:
    """Looks up every item's vectors; with ``verify`` the stored ones are compared with their checksums."""
    keys = contents.keys(source.fingerprint)
    store = VectorStore(contents.target.vectors, source.fingerprint)
    others = [
        VectorStore(folder, source.fingerprint) for folder in contents.folders if folder != contents.target.vectors
    ]
    stored = {key for key in keys if key in store}
    damaged = set(store.damaged(stored)) if verify else set()
    if contents.force:
        return Inventory(keys, store, damaged, {}, absent=set(keys))
    elsewhere = contents.importable(keys, others)
    imported = {key: record for key, record in elsewhere.items() if key not in stored - damaged}
    return Inventory(keys, store, damaged, imported, absent=set(keys) - elsewhere.keys() - (stored - damaged))


def fill(
    contents: Contents,
    inventory: Inventory,
    source: ModelSource,
    locked: Callable[[], AbstractContextManager[None]],
    should_stop: Callable[[], bool] | None,
) -> None:
    """Puts what is missing into the store.

    Args:
        locked: holds the vectors folder while something is written.

    Raises:
        DataError: the file brought vectors of another size than the model's.
        MissingRequirement: the model can't be loaded; nothing was written.
        StorageError: what was stored before is intact.
        Interrupted: ``should_stop`` said so; what was embedded is stored.
    """
    missing = inventory.first_missing
    redo = inventory.damaged | (inventory.absent if contents.force else set())
    encoder = _encoder_for(contents, source) if missing else None  # first: where it can't be had, nothing is written
    d_embed = _one_size(contents, inventory.imported, encoder)
    with locked():
        writer = VectorStoreWriter(
            inventory.store.folder,
            source.fingerprint,
            model_name=contents.config.model,
            d_embed=d_embed,
            prompt=contents.config.prompt,
        )
        _import(writer, inventory.imported, redo)
        todo = [index for index in missing if inventory.keys[index] not in writer or inventory.keys[index] in redo]
        if encoder is not None and todo:  # another process may have embedded them meanwhile
            _embed(contents, encoder, writer, inventory.keys, todo, should_stop)
    inventory.store.reload()


def _encoder_for(contents: Contents, source: ModelSource) -> Encoder:
    from redheart.embedding.encoder import Encoder  # torch is imported only where something is to be embedded

    with Progress(text("progress.loading_encoder", model=source.name)):
        return Encoder(source, batch_size=contents.config.batch_size, precision=contents.config.precision)


def _one_size(contents: Contents, imported: dict[str, NewRecord], encoder: Encoder | None) -> int:
    """The size of all vectors that are to be stored.

    Raises:
        DataError: vectors that the file brought are not as long as the model's.
    """
    sizes = {record.vectors.shape[1] for record in imported.values()}
    wanted = encoder.d_embed if encoder is not None else int(next(iter(sizes)))
    for size in sizes - {wanted}:
        raise DataError(
            f"{contents.dataset}: vectors of different sizes; nothing was written",
            (
                f"{contents.dataset}, field embedding: found vectors of {size} numbers; wanted {wanted}, the size of "
                f"{contents.config.model!r}: name the model they were made with, or embed everything again "
                f"(redheart embed --data {as_typed(contents.dataset)} --anew)",
            ),
        )
    return wanted


def _import(writer: VectorStoreWriter, imported: dict[str, NewRecord], redo: set[str]) -> None:
    new = [record for key, record in imported.items() if key not in writer or key in redo]
    for start in range(0, len(new), _IMPORTED_AT_ONCE):
        writer.append(new[start : start + _IMPORTED_AT_ONCE], precision="as given")


def _embed(
    contents: Contents,
    encoder: Encoder,
    writer: VectorStoreWriter,
    keys: Sequence[str],
    todo: Sequence[int],
    should_stop: Callable[[], bool] | None,
) -> None:
    """Embeds the items ``todo``, in batches of whole items, each batch stored before the next is begun."""
    done = 0
    with Progress(text("progress.embedding"), len(todo), unit="situation") as progress:
        for batch in _batches(contents, encoder, todo):
            if should_stop is not None and should_stop():
                raise Interrupted(
                    f"{contents.dataset}: stopped with {done} of {len(todo)} missing situations embedded and stored; "
                    "the same command goes on from there"
                )
            segments = [segment for _, cut in batch for segment in cut]
            vectors = encoder.encode_segments(segments)
            records = []
            first = 0
            for index, cut in batch:
                kinds = "".join(str(segment.kind) for segment in cut)
                records.append(NewRecord(keys[index], kinds, vectors[first : first + len(cut)]))
                first += len(cut)
            writer.append(records, precision=encoder.precision)
            done += len(batch)
            progress.update(len(batch))


def _batches(contents: Contents, encoder: Encoder, todo: Sequence[int]) -> Iterator[list[tuple[int, list[Segment]]]]:
    """Whole situations with at most ``batch_size`` parts to read together (one with more is a batch of its own)."""
    batch: list[tuple[int, list[Segment]]] = []
    size = 0
    for start in range(0, len(todo), _CUT_AT_ONCE):
        chosen = todo[start : start + _CUT_AT_ONCE]
        cuts = encoder.segment(
            [contents.situations[index] for index in chosen],
            contents.config.window_word_pieces,
            contents.config.max_segments,
        )
        for index, cut in zip(chosen, cuts, strict=True):
            parts = len({part.text for segment in cut for part in segment.parts})
            if batch and size + parts > contents.config.batch_size:
                yield batch
                batch, size = [], 0
            batch.append((index, cut))
            size += parts
    if batch:
        yield batch
