"""Embeds a dataset: reuses the vectors that are there, embeds what is missing, stores it batch by batch.

An item is known by a hash of its title, action and text, of the model, and of how it is cut. So a changed item alone is
embedded again, and a run that was killed goes on where it was: it loses one batch at most.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from tqdm import tqdm

from redheart.config import EmbeddingConfig
from redheart.data import Situation, read_dataset
from redheart.embedding import embedded_json
from redheart.embedding.dataset import EmbeddedDataset
from redheart.embedding.embedded_json import InlineVectors
from redheart.embedding.model_source import ModelSource, find_model
from redheart.embedding.paths import EmbeddingPaths, paths_in, target_paths
from redheart.embedding.segments import SEGMENTATION_VERSION, Segment
from redheart.embedding.store import LOCK_NAME, NewRecord, VectorStore, VectorStoreWriter, stores_in
from redheart.errors import Interrupted, MissingRequirement, StorageError
from redheart.messages import note, say, warn

if TYPE_CHECKING:
    from redheart.embedding.encoder import Encoder

#: Situations that are cut into segments at once: enough to fill batches, little enough to hold.
_CUT_AT_ONCE = 32
_LOCK_POLL_SECONDS = 0.5


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


def _older_key(found: InlineVectors) -> str:
    return "older-" + hashlib.blake2b(np.ascontiguousarray(found.vectors).tobytes(), digest_size=13).hexdigest()


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
            _older_key(found) if found is not None and not found.is_ours else key_of(one, fingerprint, self.config)
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
                        warn("embedding_model_not_here", model=self.config.model)
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
    absent = {key for key in keys if force or key in damaged or (key not in store and key not in elsewhere)}
    missing = _first_of_each(keys, absent)
    _say_status(total=len(keys), missing=sum(key in absent for key in keys))

    imported = {key: record for key, record in elsewhere.items() if key not in store or key in damaged}
    older = sum(found is not None and not found.is_ours for found in run.inline)
    if older:
        warn("embedding_older_vectors", path=dataset, count=older)
    wrote = False
    if missing or imported:
        with _locked(run.target.vectors, should_stop):
            store = _fill(
                run, source, keys, missing, imported, should_stop, redo=damaged | (absent if force else set())
            )
        wrote = True
    made = _assembled(run.target.json, run.situations, keys, store, source.name)
    if _needs_writing(run, made, inline=inline):
        with _locked(run.target.vectors, should_stop):
            _write(run, made, inline=inline)
        wrote = True
    if wrote:
        say("embedding_saved")
        say("embedding_saved_where", path=run.target.json)
    return made


def open_embedded(path: Path) -> EmbeddedDataset:
    """Opens an ``.embedded.json`` with the vectors beside it, or in it; the model is not needed.

    Raises:
        DataError: the file is broken or holds no vectors.
        StorageError: vectors are missing or damaged.
    """
    situations = read_dataset(path)
    embedded_json.check_sizes(situations, path)
    folder = paths_in(path.parent, path).vectors
    keys = [one.embedding_key for one in situations]
    named = [key for key in keys if key is not None]
    if len(named) == len(situations):
        stores = stores_in(folder)
        for store in stores:
            if all(key in store for key in named):
                return _assembled(path, situations, named, store, store.model_name)
        if not all(one.embedding is not None for one in situations):
            best = max((sum(key in store for key in named) for store in stores), default=0)
            raise StorageError(
                f"{path}: {len(named) - best} of {len(named)} items have no vectors in {folder}; wanted all of them: "
                "embed the dataset again (what is there is reused)"
            )
    found = [embedded_json.inline_vectors(one, path=path, max_segments=16) for one in situations]
    whole = [one for one in found if one is not None]
    if len(whole) < len(found):
        raise StorageError(
            f"{path}: {len(found) - len(whole)} of {len(found)} items have neither an embedding_key nor an embedding; "
            "wanted vectors for all: embed the dataset first"
        )
    return _in_memory(path, situations, whole, keys)


def _in_memory(
    path: Path, situations: list[Situation], found: Sequence[InlineVectors], keys: Sequence[str | None]
) -> EmbeddedDataset:
    rows = np.concatenate([one.vectors for one in found])
    counts = np.array([len(one.kinds) for one in found], np.int64)
    first_rows = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    named = [key or _older_key(one) for key, one in zip(keys, found, strict=True)]
    return EmbeddedDataset(path, situations, named, rows, first_rows, [one.kinds for one in found], model_name="")


def _older_dataset(run: _Run) -> EmbeddedDataset:
    """A dataset whose every item brings an older program's vectors: used as they are, nothing is written."""
    found = [one for one in run.inline if one is not None]
    _say_status(total=len(found), missing=0)
    warn("embedding_older_vectors", path=run.dataset, count=len(found))
    return _in_memory(run.dataset, run.situations, found, [None] * len(found))


def _first_of_each(keys: Sequence[str], absent: set[str]) -> list[int]:
    """The first item with each absent key: items with the same texts share their vectors."""
    firsts: dict[str, int] = {}
    for index, key in enumerate(keys):
        if key in absent:
            firsts.setdefault(key, index)
    return list(firsts.values())


def _say_status(*, total: int, missing: int) -> None:
    there = total - missing
    say("embedding_status")
    say("embedding_total", count=total)
    say("embedding_there", count=there, percent=f"{100 * there / total:.1f}")
    say("embedding_missing", count=missing, percent=f"{100 * missing / total:.1f}")


@contextlib.contextmanager
def _locked(folder: Path, should_stop: Callable[[], bool] | None) -> Iterator[None]:
    """Holds the folder's lock: two processes that embed the same dataset do it one after the other."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME)
        waited = False
        while True:
            try:
                lock.acquire(timeout=_LOCK_POLL_SECONDS)
                break
            except Timeout:
                if should_stop is not None and should_stop():
                    raise Interrupted(
                        f"{folder}: stopped while another process was embedding; nothing was lost"
                    ) from None
                if not waited:
                    say("embedding_waiting", path=folder)
                    waited = True
    except (OSError, NotImplementedError) as error:
        raise StorageError(f"{folder}: could not lock: {getattr(error, 'strerror', None) or error}") from error
    try:
        yield
    finally:
        lock.release()


def _fill(
    run: _Run,
    source: ModelSource,
    keys: Sequence[str],
    missing: Sequence[int],
    imported: dict[str, NewRecord],
    should_stop: Callable[[], bool] | None,
    *,
    redo: set[str],
) -> VectorStore:
    """Imports and embeds, under the lock. What another process has stored meanwhile is not done again."""
    encoder: Encoder | None = None
    if missing:
        from redheart.embedding.encoder import Encoder

        encoder = Encoder(source, batch_size=run.config.batch_size, precision=run.config.precision)
    d_embed = encoder.d_embed if encoder is not None else next(iter(imported.values())).vectors.shape[1]
    for record in imported.values():
        if record.vectors.shape[1] != d_embed:
            raise StorageError(
                f"{run.dataset}: found vectors of {record.vectors.shape[1]} numbers; wanted {d_embed}, the size of "
                f"{source.name!r}: give the model they were made with, or embed everything again"
            )
    writer = VectorStoreWriter(
        run.target.vectors, source.fingerprint, model_name=run.config.model, d_embed=int(d_embed)
    )
    new = [record for key, record in imported.items() if key not in writer or key in redo]
    for start in range(0, len(new), 1024):
        writer.append(new[start : start + 1024], precision="as given")
    todo = [index for index in missing if keys[index] not in writer or keys[index] in redo]
    if encoder is not None and todo:
        _embed(run, encoder, writer, keys, todo, should_stop)
    return writer


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
    """Whole situations with at most ``batch_size`` parts together (one with more is a batch of its own)."""
    batch: list[tuple[int, list[Segment]]] = []
    size = 0
    for start in range(0, len(todo), _CUT_AT_ONCE):
        chosen = todo[start : start + _CUT_AT_ONCE]
        cuts = encoder.segment(
            [run.situations[index] for index in chosen], run.config.window_word_pieces, run.config.max_segments
        )
        for index, cut in zip(chosen, cuts, strict=True):
            parts = sum(len(segment.parts) for segment in cut)
            if batch and size + parts > run.config.batch_size:
                yield batch
                batch, size = [], 0
            batch.append((index, cut))
            size += parts
    if batch:
        yield batch


def _assembled(
    path: Path, situations: list[Situation], keys: Sequence[str], store: VectorStore, model_name: str
) -> EmbeddedDataset:
    records = [store.records[key] for key in keys]
    first_rows: NDArray[np.int64] = np.array([record.row for record in records], np.int64)
    kinds = [record.kinds for record in records]
    return EmbeddedDataset(path, situations, keys, store, first_rows, kinds, model_name=model_name)


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
        warn("embedding_older_file_kept", path=target.json, kept=kept.name)
    embedded_json.write_embedded_json(target.json, made, inline=inline)
    embedded_json.leave_receipt(target.vectors, run.dataset, target.json, made.identity, inline=inline)
    note(f"{target.json} written, {len(made)} items, {made.d_embed} numbers a vector")
