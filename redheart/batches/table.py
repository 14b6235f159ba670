"""The table of situations: an embedded dataset as training sees it, with splits, targets, and batches of its vectors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from redheart.batches.order import Indices
from redheart.config import MAX_SEGMENTS
from redheart.data.splits import SPLITS, Split
from redheart.data.sufficiency import check_sufficient
from redheart.data.targets import Targets
from redheart.embedding import EmbeddedDataset, open_embedded
from redheart.errors import DataError
from redheart.model.batch import Batch
from redheart.model.statistics import TargetStatistics
from redheart.storage.names import as_typed


def _check_lengths(dataset: EmbeddedDataset, path: Path) -> None:
    """No sequence may be longer than what the model is built for.

    Raises:
        DataError: naming the situations whose are.
    """
    longer = np.flatnonzero(dataset.counts > MAX_SEGMENTS)
    if len(longer):
        raise DataError(
            f"{path}: {len(longer)} of {len(dataset)} situations have more segments than the model takes; wanted at most "
            f"{MAX_SEGMENTS}: embed the dataset again "
            f"(redheart embed --data {as_typed(path)} --anew embedding.max_segments={MAX_SEGMENTS})",
            tuple(f"id {dataset.ids[index]}: found {dataset.counts[index]} segments" for index in longer[:5]),
        )


def _to_tensor(array: NDArray[Any]) -> torch.Tensor:
    """A copy, for its place: NumPy begins an array at any 16 bytes, and torch at 64, for which alone a matrix product
    promises the same last bits each time (see ``redheart.model.exported``)."""
    return torch.from_numpy(array).clone()


class SituationTable:
    """Situations, their targets and where each belongs.

    Attributes:
        ids: one per situation, in the dataset's order.
        split_indices: positions of the situations of ``train``, ``choose``, ``judge`` and ``test``; disjoint by text.
        targets: values and masks per task.
    """

    def __init__(self, dataset: EmbeddedDataset, path: Path) -> None:
        self.dataset = dataset
        self.path = path
        self.ids = dataset.ids
        self.split_indices: dict[Split, Indices] = {split: dataset.facts.indices(split) for split in SPLITS}
        self.targets: Targets = dataset.facts.targets

    @classmethod
    def open(cls, embedded: Path | EmbeddedDataset, *, needs: Collection[Split] = SPLITS) -> SituationTable:
        """The table of a dataset that was opened, or of an ``.embedded.json``, which is opened.

        Args:
            needs: the splits that are going to be used.

        Raises:
            StorageError: vectors are missing, damaged, or of an earlier version.
            DataError: one of them has too few situations or no target at all, or a situation has more segments than the
                model takes.
        """
        dataset = open_embedded(embedded) if isinstance(embedded, Path) else embedded
        dataset.check_whole_texts()
        _check_lengths(dataset, dataset.path)
        check_sufficient(dataset.facts, dataset.path, needs=needs)
        return cls(dataset, dataset.path)

    def restricted(self, split_indices: Mapping[Split, Indices]) -> SituationTable:
        """The same with other situations in its splits."""
        made = SituationTable(self.dataset, self.path)
        made.split_indices = dict(split_indices)
        return made

    @property
    def counts(self) -> dict[str, int]:
        """Situations per split."""
        return {split: len(indices) for split, indices in self.split_indices.items()}

    @property
    def name(self) -> str:
        """The dataset's name, without a path: no folder of this machine goes with a model."""
        return self.path.name.removesuffix(".json").removesuffix(".embedded")

    @property
    def d_embed(self) -> int:
        return self.dataset.d_embed

    @property
    def identity(self) -> str:
        return self.dataset.identity

    def batch(self, indices: Indices) -> Batch:
        """Situations as padded tensors on the CPU; without any index, one situation whose targets are masked out."""
        real = indices if len(indices) else np.zeros(1, dtype=np.int64)
        padded = self.dataset.gather(real)
        keep = bool(len(indices))
        return Batch(
            ids=[self.ids[index] for index in indices],
            segments=_to_tensor(padded.vectors),
            segment_mask=_to_tensor(padded.mask),
            kinds=_to_tensor(padded.kinds),
            positions=_to_tensor(padded.positions),
            targets={name: _to_tensor(values[real]) for name, values in self.targets.values.items()},
            target_mask={name: _to_tensor(known[real] & keep) for name, known in self.targets.mask.items()},
        )

    def statistics(self, indices: Indices) -> TargetStatistics:
        """What the constant predictor knows, from ``indices`` – the training split – alone."""
        return TargetStatistics.fit(
            {name: values[indices] for name, values in self.targets.values.items()},
            {name: known[indices] for name, known in self.targets.mask.items()},
        )

    def target_counts(self, indices: Indices) -> dict[str, list[int]]:
        """How many of ``indices`` are annotated, by task and dimension."""
        return {name: known[indices].sum(axis=0).tolist() for name, known in self.targets.mask.items()}

    def target_masks(self, indices: Indices) -> dict[str, torch.Tensor]:
        """The masks of ``indices`` alone: what the valid counts of a global batch are taken from."""
        return {name: torch.from_numpy(known[indices]) for name, known in self.targets.mask.items()}
