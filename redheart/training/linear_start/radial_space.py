"""Centres among the training stories, and the stories' RBF activations to them as features of a kernel machine."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from redheart.model.modules.radial_basis import rbf_activations

#: Axes of the RBF activations with less than this share of the longest one's square are noise of fp32, and left out.
_MIN_AXIS = 1e-5
_AT_ONCE = 512


class RadialSpace:
    """Centres, and the stories' RBF activations in the coordinates in which a kernel machine's penalty is the plain sum of squares.

    Nearness is computed where it is asked for: of a hundred thousand stories it would take gigabytes.

    Args:
        views: (stories, views).
        count: of the centres.
        targets: how many tasks each story has a target for.

    Attributes:
        centres: (centres, views) float64; mean: (centres,), of the RBF activations of all stories.
        back: (centres, axes), brings weights of ``features`` to weights of the RBF activations less its mean.
    """

    def __init__(self, views: Tensor, count: int, targets: NDArray[np.int64]) -> None:
        stories = len(views)
        self.count, self._stories = count, views
        self._known: dict[bytes, Tensor] = {}
        chosen = torch.from_numpy(with_most_targets(targets, count))
        pairs = torch.from_numpy(np.random.default_rng(0).integers(0, max(stories, 1), (2, max(count - stories, 0))))
        # Divided by the root of two, so that they are about as long as stories; half their sum would be nearer to all.
        between = (views[pairs[0]].double() + views[pairs[1]].double()) / math.sqrt(2)
        self.centres = torch.cat((views[chosen].double(), between))
        self.mean, self.back = self.centres.new_zeros(count), self.centres.new_zeros(count, 0)
        if not count:
            return
        for part in torch.split(views, _AT_ONCE):
            self.mean += rbf_activations(part.double(), self.centres).sum(dim=0) / stories
        real = len(chosen)  # what lies between stories tells nothing more
        squares, axes = torch.linalg.eigh(rbf_activations(self.centres[:real], self.centres[:real]))
        keep = squares > _MIN_AXIS * squares.max()
        self.back = nn.functional.pad(axes[:, keep] / squares[keep].sqrt(), (0, 0, 0, count - real))

    def features(self, rows: Tensor) -> Tensor:
        """Of the stories at ``rows``: (rows, axes) float64. Kept for the next that asks for the same."""
        key = rows.numpy().tobytes()
        if key not in self._known:
            parts = (
                rbf_activations(self._stories[part].double(), self.centres) for part in torch.split(rows, _AT_ONCE)
            )
            found = [(part - self.mean) @ self.back for part in parts] if self.count else []
            self._known[key] = torch.cat(found) if found else self.back.new_zeros(len(rows), 0)
        return self._known[key]


def with_most_targets(targets: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Positions of ``count`` stories: those with most targets, evenly chosen where not all with as many are wanted.

    Among 6,600 stories of which one in eleven has emotions, an even choice would leave the emotions a tenth of the centres.
    """
    chosen: list[NDArray[np.int64]] = []
    for number in np.unique(targets)[::-1]:
        alike = np.flatnonzero(targets == number)
        wanted = min(count - sum(map(len, chosen)), len(alike))
        chosen.append(alike[np.linspace(0, len(alike) - 1, wanted).round().astype(np.int64)])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
