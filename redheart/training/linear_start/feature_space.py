"""Views and RBF activations of the training situations side by side, decomposed once for each set of them that some task annotates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redheart.batches.out_of_memory import MemoryFailure, give_back_memory, is_out_of_memory
from redheart.messages import warn
from redheart.model.modules.views import VIEWS
from redheart.regression.decomposition import Decomposition
from redheart.training.linear_start.radial_space import RadialSpace
from redheart.training.linear_start.result import PathStart

#: Situations or axes, whichever are fewer: the decomposition costs the cube of it. More situations are sampled. Views and
#: RBF activations of vectors of 1,024 numbers have 4,672 axes.
MAX_DECOMPOSITION = 4672
#: Situations that a task is fitted to; of more, so many are sampled, or it would take longer than an epoch.
MAX_FITTED = 16384
#: Of a sample that is made smaller because memory ran out, the least that is worth fitting to.
MIN_SAMPLE = 128


def smaller_start(failure: MemoryFailure, before: int) -> int:
    """Half as many situations at once, or in a sample, once memory was given back; says so. Not inside an exception's handler."""
    give_back_memory()
    after = before // 2
    warn("training.smaller_start", before=before, after=after, reason=failure.message)
    return after


@dataclass(frozen=True)
class Decomposed:
    """Some of the training situations, by their positions ``rows``, and their features' ``parts``."""

    rows: Tensor
    parts: Decomposition


class FeatureSpace:
    """What the regressions of all tasks see.

    Args:
        views: (situations, views) float32.
        radial_weight: what RBF activations count beside the views, whose vectors have about unit length.

    Attributes:
        width: of the features, the views first.
    """

    def __init__(self, views: Tensor, radial: RadialSpace, radial_weight: float) -> None:
        self._radial, self._weight = radial, radial_weight
        # A view has as many units as dimensions, an RBF activation is at most 1.
        self._scale = radial_weight * math.sqrt(views.shape[1] / VIEWS)
        self._views = views
        self.width = views.shape[1] + radial.back.shape[1]
        self._known: dict[bytes, Decomposed] = {}

    def start(self, weight: Tensor, bias: Tensor, penalties: tuple[float, ...]) -> PathStart:
        """Weights (dims, width) as those of the two paths."""
        views = self._views.shape[1]
        radial = self._scale * weight[:, views:] @ self._radial.back.T
        return PathStart(weight[:, :views].float(), radial.float(), bias.float(), penalties, self._weight)

    def of(self, rows: NDArray[np.int64]) -> Decomposed:
        """Of ``rows``, or of an even sample of them where that would take too long, or more memory than there is."""
        most = MAX_FITTED if self.width <= MAX_DECOMPOSITION else MAX_DECOMPOSITION
        while True:
            failure: MemoryFailure | None = None
            try:
                return self._of(rows, most)
            except (RuntimeError, MemoryError) as error:
                if min(most, len(rows)) <= MIN_SAMPLE or not is_out_of_memory(error):
                    raise
                failure = MemoryFailure.of(error, "start")
            self._known.clear()
            most = smaller_start(failure, min(most, len(rows)))

    def _of(self, rows: NDArray[np.int64], most: int) -> Decomposed:
        if len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
        key = rows.tobytes()
        if key not in self._known:
            positions = torch.from_numpy(rows)
            features = self._radial.features(positions) * self._scale
            both = torch.cat((self._views[positions].double(), features), dim=1)
            self._known[key] = Decomposed(positions, Decomposition.of(both))
        return self._known[key]
