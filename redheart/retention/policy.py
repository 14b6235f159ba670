"""The rule of what stays: the last epochs and the best ones whole, and of each module the files of its own best epochs.

A module's best are meant as the analysis may come to mean it: by loss, by its task's skill, by the sum of the decision analysis,
and by loss smoothed over its neighbours; and those that its techniques would vote for, were the run at its end. An epoch's rank by
loss or skill only falls as others come, so what is among the best at the end has never been given up before. The others may change
their mind – each epoch's sum hangs on the range of all, a plateau grows –, and the analysis says where its free choice was gone.

The last epochs and the best by the served loss stay whole because models are made of them as they are: ``last``, ``best_epoch``,
the average and the soup. A rule that left them to chance would make them weak beside the crossover that they judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from redheart.config import Config
from redheart.config.schema import SweetSpotConfig
from redheart.sweet_spot.curves import History, ModuleCurve, Numbers, neighbourhoods
from redheart.sweet_spot.techniques import TECHNIQUES
from redheart.sweet_spot.techniques.mcda import weighted_scores
from redheart.sweet_spot.voting import cast_votes, combine
from redheart.tasks import MODULES


@dataclass(frozen=True)
class Counts:
    """How many stay.

    Attributes:
        last: of the last epochs, whole.
        whole: of the best epochs by the served loss on ``choose``, whole.
        best: of each module's best epochs by each of the four measures; beside those that are voted for.
    """

    last: int
    whole: int
    best: int

    @classmethod
    def of(cls, config: Config) -> Counts:
        """As many as were asked for, and as the crossover's averages are made of."""
        averaged = config.crossover.average_last
        return cls(max(config.training.keep_last, averaged), averaged, config.training.keep_best)

    def most(self, epochs: int) -> int:
        """How many whole epochs' room the files that stay of ``epochs`` take at the most, while the next is written."""
        return min(epochs, self.last + self.whole + 4 * self.best + len(TECHNIQUES) + 1)


def modules_to_keep(
    history: History, served_loss: Mapping[int, float], counts: Counts, config: SweetSpotConfig
) -> dict[int, frozenset[str]]:
    """For each epoch of the history the modules whose files stay.

    Args:
        history: of the epochs so far.
        served_loss: on ``choose``, by epoch; of an epoch that is missing nothing is known.
        config: weights of the decision analysis.
    """
    epochs = [int(epoch) for epoch in history.epochs]
    by_loss = sorted(served_loss, key=lambda epoch: (served_loss[epoch], epoch))
    whole = {*epochs[-counts.last :], *by_loss[: counts.whole]}
    best = {module: _best_of(curve, counts.best, config) for module, curve in history.curves.items()}
    for module, voted in _voted_for(history, config).items():
        best[module] |= voted
    return {
        epoch: frozenset(module for module in MODULES if epoch in whole or epoch in best.get(module, ()))
        for epoch in epochs
    }


def _best_of(curve: ModuleCurve, count: int, config: SweetSpotConfig) -> set[int]:
    measures = (-curve.loss, curve.skill, _decided(curve, config), -smoothed(curve.loss))
    return {epoch for measure in measures for epoch in _highest(curve, measure, count)}


def _voted_for(history: History, config: SweetSpotConfig) -> dict[str, set[int]]:
    """By module the epochs that techniques would vote for now, and the winner of their votes."""
    return {
        module: {
            one.epoch for one in (*votes.values(), combine(history.curves[module], votes)) if one.epoch is not None
        }
        for module, votes in cast_votes(history.curves, config).items()
    }


def _decided(curve: ModuleCurve, config: SweetSpotConfig) -> Numbers:
    """The decision analysis's sum; NaN where it abstains, since nothing that it weighs says how well the module predicts."""
    scores = weighted_scores(curve, config)
    return scores.total if scores.are_about_prediction else np.full(len(curve.epochs), np.nan)


def _highest(curve: ModuleCurve, values: Numbers, count: int) -> Iterable[int]:
    """The epochs with the ``count`` highest of ``values``; of equals the earliest; none where nothing was measured."""
    there = np.flatnonzero(np.isfinite(values))
    ordered = there[np.argsort(-values[there], kind="stable")]
    return (int(curve.epochs[position]) for position in ordered[:count])


def smoothed(values: Numbers) -> Numbers:
    """The mean over the up to five epochs around each one; shape ``(epochs,)``, NaN where the epoch itself was not measured."""
    result = np.full(len(values), np.nan)
    for position, around in neighbourhoods(values):
        result[position] = around.mean()
    return result
