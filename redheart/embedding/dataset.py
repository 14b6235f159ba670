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
from redheart.embedding.segments import WHOLE, WINDOW
from redheart.embedding.store import VectorStore
from redheart.errors import StorageError

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


def identity_of(situations: Sequence[Situation], keys: Sequence[str]) -> str:
    """16 hex digits from ids, annotations and vector keys (text, model and segmentation are in those), in order."""
    digest = hashlib.blake2b(digest_size=8)
    for one, key in zip(situations, keys, strict=True):
        annotations = (
            one.id,
            key,
            one.label,
            sorted(one.label_scores.items()) if one.label_scores is not None else None,
            one.emotions,
            one.regret_factor,
            sorted(one.bentham_scores.items()) if one.bentham_scores is not None else None,
            sorted(one.surd_metrics.items()) if one.surd_metrics is not None else None,
        )
        digest.update(json.dumps(annotations).encode() + b"\n")
    return digest.hexdigest()


class EmbeddedDataset:
    """Situations and their vectors, which may lie in a memory-mapped file: a sequence costs no more than its rows.

    Attributes:
        path: the ``.embedded.json`` (where nothing had to be written: the file that was read).
        situations: in the dataset's order; every index below means this order.
        d_embed: numbers of a vector.
        model_name: the encoder's name, "" where an older file does not tell.
        identity: hash of content and model; equal data give equal identities.
    """

    def __init__(
        self,
        path: Path,
        situations: list[Situation],
        keys: Sequence[str],
        source: VectorStore | NDArray[np.float32],
        first_rows: NDArray[np.int64],
        kinds: Sequence[str],
        *,
        model_name: str,
    ) -> None:
        """Puts a dataset together.

        Args:
            keys: the key of each situation's vectors.
            source: the store, or all rows ``(rows, d_embed)`` in memory.
            first_rows: ``(situations,)`` where each sequence starts.
            kinds: of each situation, a digit a segment.
        """
        self.path = path
        self.situations = situations
        self.keys = tuple(keys)
        self.model_name = model_name
        self.identity = identity_of(situations, keys)
        self._source = source
        self._first_rows = first_rows
        self._counts = np.array([len(one) for one in kinds], np.int64)
        self._kinds = np.zeros((len(kinds), int(self._counts.max(initial=0))), np.int8)
        for row, one in enumerate(kinds):
            self._kinds[row, : len(one)] = np.frombuffer(one.encode(), np.uint8) - ord("0")
        self.d_embed = source.d_embed if isinstance(source, VectorStore) else int(source.shape[1])

    def __len__(self) -> int:
        return len(self.situations)

    @property
    def model_fingerprint(self) -> str:
        """Fingerprint of the encoder that made all the vectors; "" where an older file's do not tell."""
        if not isinstance(self._source, VectorStore) or any(key.startswith(OLDER_KEY) for key in self.keys):
            return ""
        return self._source.fingerprint

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
    def _rows(self) -> NDArray[np.float32]:
        return self._source.vectors if isinstance(self._source, VectorStore) else self._source

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
        if not isinstance(self._source, VectorStore):
            return
        bad = set(self._source.damaged(sorted(set(self.keys))))
        if bad:
            ids = [one.id for one, key in zip(self.situations, self.keys, strict=True) if key in bad]
            raise StorageError(
                f"{self._source.data_path}: the vectors of {len(ids)} items are damaged (first: {', '.join(ids[:5])}); "
                f"embed with verification to have them embedded again, or delete {self._source.folder}"
            )


def _positions(kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """A running number from 0 for windows along the last axis, 0 for everything else."""
    windows = kinds == WINDOW
    return np.where(windows, np.cumsum(windows, axis=-1) - 1, 0).astype(np.int64)
