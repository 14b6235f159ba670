"""Embeds a dataset: reuses the vectors that are there, embeds what is missing, stores it batch by batch.

An item is known by a hash of its title, action and text, of the model, and of how it is cut. So a changed item alone is
embedded again, and a run that was killed goes on where it was: it loses one batch at most.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from redheart.config import EmbeddingConfig
from redheart.data import Situation, read_dataset
from redheart.embedding import embedded_json
from redheart.embedding.dataset import EmbeddedDataset
from redheart.embedding.embedded_json import InlineVectors
from redheart.embedding.lock import locked
from redheart.embedding.model_source import ModelSource, find_model
from redheart.embedding.open_dataset import from_store, in_memory, older_key
from redheart.embedding.paths import EmbeddingPaths, paths_in, target_paths
from redheart.embedding.segments import SEGMENTATION_VERSION, Segment
from redheart.embedding.store import NewRecord, VectorStore, VectorStoreWriter, stores_in
from redheart.errors import DataError, Interrupted, MissingRequirement, StorageError
from redheart.messages import debug, info, warn

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


class _Run:
    """One call of ``embed_dataset``: what it was given, and what it has found out."""

    def __init__(self, dataset: Path, config: EmbeddingConfig, output_root: Path, *, force: bool) -> None:
        self.dataset = dataset
        self.config = config
        self.force = force
        self.situations = read_dataset(dataset)
        embedded_json.check_sizes(self.situations, dataset)
        found = [
            embedded_json.inline_vectors(one, path=dataset, max_segments=config.max_segments) for one in self.situations
        ]
        self.inline: list[InlineVectors | None] = [None] * len(found) if force else found
        self.target = target_paths(dataset, output_root)
        self.beside = paths_in(dataset.parent, dataset)
        self.folders = list(dict.fromkeys((self.target.vectors, self.beside.vectors)))

    def only_older_vectors(self) -> bool:
        return all(found is not None and not found.is_ours for found in self.inline)

    def keys(self, fingerprint: str) -> list[str]:
        return [
            older_key(found) if found is not None and not found.is_ours else key_of(one, fingerprint, self.config)
            for one, found in zip(self.situations, self.inline, strict=True)
        ]

    def find_source(self) -> ModelSource:
        """The model; where it is not on this machine but its vectors of every item are, its fingerprint will do."""
        try:
            return find_model(self.config.model)
        except MissingRequirement:
            if self.force:
                raise
            for folder in self.folders:
                for store in stores_in(folder):
                    if store.model_name == self.config.model and all(
                        key in store for key in self.keys(store.fingerprint)
                    ):
                        warn("embedding.model_not_here", model=self.config.model)
                        return ModelSource(self.config.model, folder, store.fingerprint)
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


def embed_dataset(
    dataset: Path,
    config: EmbeddingConfig,
    *,
    output_root: Path,
    inline: bool = False,
    force: bool = False,
    verify: bool = False,
    should_stop: Callable[[], bool] | None = None,
) -> EmbeddedDataset:
    """Reads a dataset, sees that every item has its vectors, and writes its ``.embedded.json`` if that changed.

    Args:
        dataset: a JSON array or JSON Lines, or an ``.embedded.json``, whose vectors are then reused.
        output_root: where ``embeddings/`` is made if the dataset's own folder can't be written, and for the sample.
        inline: write the vectors into the JSON as lists too (also if ``config.inline`` says so).
        force: embed everything again, vectors written as lists by an older program included.
        verify: compare the stored vectors with their checksums first, and embed the damaged ones again.
        should_stop: looked at after every batch; True ends the run with what was embedded stored.

    Raises:
        DataError: the dataset is broken; nothing was written.
        MissingRequirement: something is to be embedded and the model is not to be had.
        StorageError: the disk is full or a file is damaged; what was stored before is intact.
        Interrupted: ``should_stop`` said so; the same call goes on from there.
    """
    inline = inline or config.inline
    run = _Run(dataset, config, output_root, force=force)
    if run.only_older_vectors():
        return _older_dataset(run)
    source = run.find_source()
    keys = run.keys(source.fingerprint)
    store = VectorStore(run.target.vectors, source.fingerprint)
    others = [VectorStore(folder, source.fingerprint) for folder in run.folders if folder != run.target.vectors]
    damaged = set(store.damaged(key for key in set(keys) if key in store)) if verify else set()
    elsewhere = {} if force else run.importable(keys, others)
    absent = {key for key in keys if force or (key not in elsewhere and (key not in store or key in damaged))}
    missing = _first_of_each(keys, absent)
    _say_status(total=len(keys), missing=sum(key in absent for key in keys))

    imported = {key: record for key, record in elsewhere.items() if key not in store or key in damaged}
    older = sum(found is not None and not found.is_ours for found in run.inline)
    if older:
        warn("embedding.older_vectors", path=dataset, count=older)
    wrote = False
    if missing or imported:
        redo = damaged | (absent if force else set())
        encoder = _encoder_for(run, source) if missing else None  # first: where it can't be had, nothing is written
        d_embed = _one_size(run, imported, encoder)
        with locked(run.target.vectors, should_stop):
            writer = VectorStoreWriter(run.target.vectors, source.fingerprint, model_name=config.model, d_embed=d_embed)
            _import(writer, imported, redo)
            todo = [index for index in missing if keys[index] not in writer or keys[index] in redo]
            if encoder is not None and todo:  # another process may have embedded them meanwhile
                _embed(run, encoder, writer, keys, todo, should_stop)
            store = writer
        wrote = True
    made = from_store(run.target.json, run.situations, keys, store, source.name)
    if _needs_writing(run, made, inline=inline):
        with locked(run.target.vectors, should_stop):
            _write(run, made, inline=inline)
        wrote = True
    if wrote:
        info("embedding.saved")
        info("embedding.saved_where", path=run.target.json)
    return made


def _older_dataset(run: _Run) -> EmbeddedDataset:
    """A dataset whose every item brings an older program's vectors: used as they are, nothing is written."""
    found = [one for one in run.inline if one is not None]
    _say_status(total=len(found), missing=0)
    warn("embedding.older_vectors", path=run.dataset, count=len(found))
    return in_memory(run.dataset, run.situations, found, [None] * len(found))


def _first_of_each(keys: Sequence[str], absent: set[str]) -> list[int]:
    """The first item with each absent key: items with the same texts share their vectors."""
    firsts: dict[str, int] = {}
    for index, key in enumerate(keys):
        if key in absent:
            firsts.setdefault(key, index)
    return list(firsts.values())


def _say_status(*, total: int, missing: int) -> None:
    there = total - missing
    info("embedding.status")
    info("embedding.total", count=total)
    info("embedding.there", count=there, percent=f"{100 * there / total:.1f}")
    info("embedding.missing", count=missing, percent=f"{100 * missing / total:.1f}")


def _encoder_for(run: _Run, source: ModelSource) -> Encoder:
    from redheart.embedding.encoder import Encoder  # torch is imported only where something is to be embedded

    return Encoder(source, batch_size=run.config.batch_size, precision=run.config.precision)


def _one_size(run: _Run, imported: dict[str, NewRecord], encoder: Encoder | None) -> int:
    """The size of all vectors that are to be stored.

    Raises:
        DataError: vectors that the file brought are not as long as the model's.
    """
    sizes = {record.vectors.shape[1] for record in imported.values()}
    wanted = encoder.d_embed if encoder is not None else int(next(iter(sizes)))
    for size in sizes - {wanted}:
        raise DataError(
            f"{run.dataset}: vectors of different sizes; nothing was written",
            (
                f"{run.dataset}, field embedding: found vectors of {size} numbers; wanted {wanted}, the size of "
                f"{run.config.model!r}: name the model they were made with, or embed everything again (--force)",
            ),
        )
    return wanted


def _import(writer: VectorStoreWriter, imported: dict[str, NewRecord], redo: set[str]) -> None:
    new = [record for key, record in imported.items() if key not in writer or key in redo]
    for start in range(0, len(new), _IMPORTED_AT_ONCE):
        writer.append(new[start : start + _IMPORTED_AT_ONCE], precision="as given")


def _embed(
    run: _Run,
    encoder: Encoder,
    writer: VectorStoreWriter,
    keys: Sequence[str],
    todo: Sequence[int],
    should_stop: Callable[[], bool] | None,
) -> None:
    """Embeds the items ``todo``, whole items a batch, each batch stored before the next is begun."""
    done = 0
    with tqdm(total=len(todo), unit="situation", desc="embedding", disable=None) as progress:
        for batch in _batches(run, encoder, todo):
            if should_stop is not None and should_stop():
                raise Interrupted(
                    f"{run.dataset}: stopped with {done} of {len(todo)} missing situations embedded and stored; "
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


def _batches(run: _Run, encoder: Encoder, todo: Sequence[int]) -> Iterator[list[tuple[int, list[Segment]]]]:
    """Whole situations with at most ``batch_size`` parts to read together (one with more is a batch of its own)."""
    batch: list[tuple[int, list[Segment]]] = []
    size = 0
    for start in range(0, len(todo), _CUT_AT_ONCE):
        chosen = todo[start : start + _CUT_AT_ONCE]
        cuts = encoder.segment(
            [run.situations[index] for index in chosen], run.config.window_word_pieces, run.config.max_segments
        )
        for index, cut in zip(chosen, cuts, strict=True):
            parts = len({part.text for segment in cut for part in segment.parts})
            if batch and size + parts > run.config.batch_size:
                yield batch
                batch, size = [], 0
            batch.append((index, cut))
            size += parts
    if batch:
        yield batch


def _needs_writing(run: _Run, made: EmbeddedDataset, *, inline: bool) -> bool:
    target: EmbeddingPaths = run.target
    if run.dataset.resolve() == target.json.resolve():
        keys_as_written = all(one.embedding_key == key for one, key in zip(run.situations, made.keys, strict=True))
        return not keys_as_written or inline != all(one.embedding is not None for one in run.situations)
    return not embedded_json.is_current(target.vectors, run.dataset, target.json, made.identity, inline=inline)


def _write(run: _Run, made: EmbeddedDataset, *, inline: bool) -> None:
    target = run.target
    if embedded_json.is_foreign(target.json):
        kept = target.json.with_name(f"{target.json.name}.older")
        try:
            target.json.replace(kept)
        except OSError as error:
            raise StorageError(f"{target.json}: could not move to {kept.name}: {error.strerror or error}") from error
        warn("embedding.older_file_kept", path=target.json, kept=kept.name)
    embedded_json.write_embedded_json(target.json, made, inline=inline)
    embedded_json.leave_receipt(target.vectors, run.dataset, target.json, made.identity, inline=inline)
    debug(f"{target.json} written, {len(made)} items, {made.d_embed} numbers a vector")
