"""A dataset with its vectors, as training reads it: whole sequences by index, batches padded in one step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from redheart.data import Situation
from redheart.data.facts import DatasetFacts
from redheart.data.identity import identity_of
from redheart.embedding.segments import WHOLE, WINDOW
from redheart.embedding.store import MappedRows, VectorStore
from redheart.errors import StorageError
from redheart.storage.names import as_typed

#: How the keys of vectors begin that an older program made: nothing but themselves tells what they are.
OLDER_KEY = "older-"


@dataclass(frozen=True, slots=True)
class Segments:
    """One situation's sequence.

    Attributes:
        vectors: ``(segments, d_embed)`` float32.
        kinds: ``(segments,)`` int64 – 0 title, 1 action, 2 text window, 3 whole text.
        positions: ``(segments,)`` int64 – a running number for windows, 0 for the others.
    """

    vectors: NDArray[np.float32]
    kinds: NDArray[np.int64]
    positions: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PaddedSegments:
    """Several sequences, padded with zeros to the longest of them (or to the width that was asked for).

    Attributes:
        vectors: ``(batch, segments, d_embed)`` float32.
        mask: ``(batch, segments)`` bool, True = real.
        kinds, positions: ``(batch, segments)`` int64.
    """

    vectors: NDArray[np.float32]
    mask: NDArray[np.bool_]
    kinds: NDArray[np.int64]
    positions: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sequences:
    """Where the vectors of each situation lie and what they are of, in the dataset's order.

    Attributes:
        keys: of each situation's vectors.
        first_rows: ``(situations,)`` int64, where each sequence starts.
        counts: ``(situations,)`` int64, segments of each.
        kinds: ``(situations, segments)`` int8, the kind of each segment, 0 behind a sequence's end.
    """

    keys: tuple[str, ...]
    first_rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    kinds: NDArray[np.int8]

    @classmethod
    def of(cls, keys: Sequence[str], first_rows: NDArray[np.int64], kinds: Sequence[str]) -> Sequences:
        """``kinds``: of each situation, one digit per segment."""
        counts = np.array([len(one) for one in kinds], np.int64)
        table = np.zeros((len(kinds), int(counts.max(initial=0))), np.int8)
        digits = np.frombuffer("".join(kinds).encode(), np.uint8) - ord("0")
        table[np.arange(table.shape[1])[None, :] < counts[:, None]] = digits
        return cls(tuple(keys), first_rows, counts, table)

    @property
    def rows(self) -> int:
        """Rows that a file of the vectors must have."""
        return int((self.first_rows + self.counts).max(initial=0))

    @property
    def has_older(self) -> bool:
        """Whether vectors of an older program are among them."""
        return any(key.startswith(OLDER_KEY) for key in self.keys)

    def without_whole_text(self) -> list[int]:
        """Positions of the sequences of ours that don't end in a vector of the text whole."""
        last = self.kinds[np.arange(len(self.counts)), self.counts - 1]
        lacking = np.flatnonzero((last != WHOLE) | (self.counts == 0))
        return [int(index) for index in lacking if not self.keys[index].startswith(OLDER_KEY)]


class EmbeddedDataset:
    """A dataset opened once: the facts of its situations, and their vectors, mapped from a file or held in memory.

    It is what the stages hand to each other: none of them reads the file again.

    Attributes:
        path: the ``.embedded.json`` (where nothing had to be written: the file that was read).
        facts: ids, splits and targets, in the dataset's order; every index below means this order.
        sequences: where the vectors of each situation lie.
        d_embed: numbers of a vector.
        model_name: the encoder's name, "" where an older file does not tell.
        model_fingerprint: of the encoder that made all the vectors; "" where an older file's do not tell.
        identity: hash of content and model; equal data give equal identities.
    """

    def __init__(
        self,
        path: Path,
        facts: DatasetFacts,
        sequences: Sequences,
        source: MappedRows | NDArray[np.float32],
        *,
        identity: str,
        model_name: str,
    ) -> None:
        """Puts a dataset together; ``source`` holds all rows ``(rows, d_embed)``."""
        self.path = path
        self.facts = facts
        self.sequences = sequences
        self.model_name = model_name
        self.identity = identity
        self._source = source
        self._counts, self._kinds, self._first_rows = sequences.counts, sequences.kinds, sequences.first_rows
        self.d_embed = source.d_embed if isinstance(source, MappedRows) else int(source.shape[1])
        self.model_fingerprint = ""
        if isinstance(source, MappedRows) and not sequences.has_older:
            self.model_fingerprint = source.fingerprint

    @classmethod
    def of_situations(
        cls,
        path: Path,
        situations: Sequence[Situation],
        keys: Sequence[str],
        source: MappedRows | NDArray[np.float32],
        first_rows: NDArray[np.int64],
        kinds: Sequence[str],
        *,
        model_name: str,
    ) -> EmbeddedDataset:
        """A dataset of situations at hand.

        Args:
            keys: the key of each situation's vectors.
            source: the mapped rows, or all rows ``(rows, d_embed)`` in memory.
            first_rows: ``(situations,)`` where each sequence starts.
            kinds: of each situation, one digit per segment.
        """
        return cls(
            path,
            DatasetFacts.of(situations),
            Sequences.of(keys, first_rows, kinds),
            source,
            identity=identity_of(situations, keys),
            model_name=model_name,
        )

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def ids(self) -> list[str]:
        """The id of each situation."""
        return self.facts.ids

    @property
    def texts_identity(self) -> str:
        """Hash of all texts, in order. ``identity`` tells of them only by the keys, which of vectors that a file brought don't."""
        return hashlib.blake2b(self.facts.text_hashes.tobytes(), digest_size=8).hexdigest()

    @property
    def keys(self) -> tuple[str, ...]:
        """The key of each situation's vectors."""
        return self.sequences.keys

    @property
    def max_segments(self) -> int:
        """Segments of the longest sequence."""
        return int(self._kinds.shape[1])

    @property
    def counts(self) -> NDArray[np.int64]:
        """Segments of each situation ``(situations,)``."""
        return self._counts

    def kinds_in(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.bool_], int]:
        """Which kinds – title, action, text window, whole text – the sequences of ``indices`` hold, and the longest one's length."""
        chosen = np.asarray(indices, np.int64)
        counts = self._counts[chosen]
        real = np.arange(self._kinds.shape[1])[None, :] < counts[:, None]
        return np.bincount(self._kinds[chosen][real], minlength=WHOLE + 1) > 0, int(counts.max(initial=0))

    @property
    def mapped(self) -> MappedRows | None:
        """The file that the vectors are mapped from; None where they are held in memory."""
        return self._source if isinstance(self._source, MappedRows) else None

    @property
    def _rows(self) -> NDArray[np.float32]:
        return self._source.vectors if isinstance(self._source, MappedRows) else self._source

    def segments(self, index: int) -> Segments:
        """The sequence of one situation. The vectors are a read-only view of the mapped file."""
        first, count = int(self._first_rows[index]), int(self._counts[index])
        kinds = self._kinds[index, :count].astype(np.int64)
        return Segments(self._rows[first : first + count], kinds, _positions(kinds))

    def gather(self, indices: Sequence[int] | NDArray[np.int64], *, width: int | None = None) -> PaddedSegments:
        """The sequences of ``indices``, padded: what a training batch is made of.

        Args:
            width: segments to pad to; None: the longest of these. It must be at least that.
        """
        chosen = np.asarray(indices, np.int64)
        counts = self._counts[chosen]
        longest = int(counts.max(initial=0))
        if width is not None and width < longest:
            raise ValueError(f"width {width} is less than the {longest} segments of the longest sequence")
        columns = np.arange(longest if width is None else width)
        mask = columns[None, :] < counts[:, None]
        vectors = np.zeros((*mask.shape, self.d_embed), np.float32)
        vectors[mask] = self._rows[(self._first_rows[chosen][:, None] + columns[None, :])[mask]]
        kinds = np.zeros(mask.shape, np.int64)
        kinds[:, :longest] = self._kinds[chosen, :longest]
        return PaddedSegments(vectors, mask, kinds, _positions(kinds))

    def verify(self) -> None:
        """Reads all vectors and compares them with their checksums (vectors held in memory have none).

        Raises:
            StorageError: naming the ids whose vectors are damaged.
        """
        if not isinstance(self._source, MappedRows):
            return
        store = VectorStore(self._source.path.parent, self._source.fingerprint)
        bad = set(store.damaged(sorted(set(self.keys))))
        if bad:
            ids = [name for name, key in zip(self.ids, self.keys, strict=True) if key in bad]
            raise StorageError(
                f"{store.data_path}: the vectors of {len(ids)} items are damaged (first: {', '.join(ids[:5])}); "
                f"redheart embed --data {as_typed(self.path)} --verify embeds them again"
            )

    def check_whole_texts(self) -> None:
        """Whether vectors of ours have one of the text whole, which an earlier version did not embed.

        Without it the heads' linear path would read zeros in its place, and numbers would come out all the same. Vectors
        that have no key of ours are taken as they are; embedding said so.

        Raises:
            StorageError: with how many have none, and what to do.
        """
        lacking = self.sequences.without_whole_text()
        if lacking:
            raise StorageError(
                f"{self.path}: the vectors of {len(lacking)} of {len(self)} items (first: "
                f"{json.dumps(self.ids[lacking[0]])}) are an earlier version's: found none of the text whole, wanted one "
                f"behind those of title, action and windows; embed the dataset again (redheart embed --data {as_typed(self.path)})"
            )


def _positions(kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """A running number from 0 for windows along the last axis, 0 for everything else."""
    windows = kinds == WINDOW
    return np.where(windows, np.cumsum(windows, axis=-1) - 1, 0).astype(np.int64)
