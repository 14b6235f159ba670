"""The vote over the other techniques, weighted by their confidence, and the choice that follows.

A vote is smeared over neighbouring epochs by a Gaussian kernel, because 17 and 18 are one opinion and not two; its
width is a thirtieth of the run (2 epochs at 60), so that in a run of three epochs neighbours stay different.

Independence. Plateau, task metrics and decision analysis read the same predictions on the same ``choose`` sample:
their agreement is nearly one opinion said three times. They form one family, gradient health (training's gradients)
another. A family counts as sure as its surest member, never surer, and only families add up:

    confidence = agreement × (1 − (1 − surest of family 1 near the winner) · (1 − surest of family 2 near the winner))

with agreement = (kernel-weighted confidence at the winner) / (sum of the confidences), and a cap, because one run with
one seed says little about the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Container, Mapping

import numpy as np
from numpy.typing import NDArray

from redheart.config.schema import SweetSpotConfig
from redheart.storage import Scalar
from redheart.sweet_spot.choice import Choice, Evidence, Reason, Vote, abstain
from redheart.sweet_spot.curves import Epochs, ModuleCurve, Numbers
from redheart.sweet_spot.techniques import VOTERS, VOTING
from redheart.sweet_spot.techniques.technique import PREDICTIONS

FAMILIES = tuple(
    tuple(one.name for one in VOTERS if one.family == family) for family in dict.fromkeys(one.family for one in VOTERS)
)
#: Votes of these say how well a module predicts. Health alone does not: without one of them nothing is chosen.
_ABOUT_PREDICTION = tuple(one.name for one in VOTERS if one.family == PREDICTIONS)
HIGHEST_CONFIDENCE = 0.9
_KERNEL_SHARE = 1 / 30
_NARROWEST_KERNEL, _WIDEST_KERNEL = 0.25, 2.0
#: A vote with less confidence than this still has an opinion; zero would make an only voter's opinion vanish.
_LEAST_WEIGHT = 1e-6


def kernel_width(count: int) -> float:
    """Standard deviation of the kernel in epochs, for a run of ``count`` epochs."""
    return min(_WIDEST_KERNEL, max(_NARROWEST_KERNEL, _KERNEL_SHARE * count))


def _kernel(distance: Numbers, count: int) -> Numbers:
    return np.asarray(np.exp(-0.5 * (distance / kernel_width(count)) ** 2), dtype=np.float64)


def scores(epochs: Epochs, votes: Mapping[str, Vote]) -> Numbers:
    """Sum of the smeared votes at each epoch; shape ``(epochs,)``; zeros where all abstain."""
    total = np.zeros(len(epochs))
    for vote in votes.values():
        if vote.epoch is not None:
            total += max(vote.confidence, _LEAST_WEIGHT) * _kernel((epochs - vote.epoch).astype(float), len(epochs))
    return total


def cast_votes(
    curves: Mapping[str, ModuleCurve],
    config: SweetSpotConfig,
    *,
    before_each: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, Vote]]:
    """The votes of all techniques, by module and then by technique.

    Args:
        before_each: called before each technique.
    """
    by_technique = {}
    for one in VOTERS:
        before_each()
        by_technique[one.name] = one.votes(curves, config)
    return {module: {name: of[module] for name, of in by_technique.items()} for module in curves}


def combine(curve: ModuleCurve, votes: Mapping[str, Vote], *, among: Container[int] | None = None) -> Vote:
    """The ensemble's vote for one module; abstains where no technique that looks at predictions has voted.

    Equal scores go to the epoch with the lower loss, then to the earlier one.

    Args:
        among: the epochs that can be voted for; None: all.
    """
    total = scores(curve.epochs, votes)
    evidence: Evidence = {
        "scores": [round(float(score), 6) for score in total],
        "kernel_width": kernel_width(len(curve.epochs)),
    }
    if all(votes[name].abstains for name in _ABOUT_PREDICTION):
        return abstain("sweet_spot.voting.nobody", evidence=evidence)
    winner = _winner(curve, votes, total, among)
    epoch = int(curve.epochs[winner])
    cast = {name: vote for name, vote in votes.items() if vote.epoch is not None}
    weights = sum(max(vote.confidence, _LEAST_WEIGHT) for vote in cast.values())
    agreement = min(1.0, float(total[winner]) / weights)
    confidence = min(HIGHEST_CONFIDENCE, agreement * (1.0 - _doubt(cast, epoch, len(curve.epochs))))
    supporters = [name for name, vote in cast.items() if vote.epoch == epoch]
    values: dict[str, Scalar] = {
        "epoch": epoch,
        "agreement": agreement,
        "votes": ", ".join(f"{name} {vote.epoch} ({vote.confidence:.2f})" for name, vote in cast.items()),
        "abstained": ", ".join(name for name, vote in votes.items() if vote.abstains) or "–",
    }
    evidence |= {"agreement": agreement, "supporters": supporters}
    return Vote(epoch, confidence, Reason("sweet_spot.voting.winner", values), evidence)


def _winner(curve: ModuleCurve, votes: Mapping[str, Vote], total: Numbers, among: Container[int] | None) -> int:
    """The position with the highest score, or where that is not ``among`` those to be had, of these by votes on predictions."""
    free = _leader(curve, total, np.full(len(total), True))
    if among is None or int(curve.epochs[free]) in among:
        return free
    # Far from all votes what is left of them is next to nothing: health's own epoch would win by itself.
    about_prediction = scores(curve.epochs, {name: votes[name] for name in _ABOUT_PREDICTION})
    return _leader(curve, about_prediction, np.array([int(epoch) in among for epoch in curve.epochs]))


def _leader(curve: ModuleCurve, total: Numbers, allowed: NDArray[np.bool_]) -> int:
    """The position with the highest score of those allowed; of equal ones that with the lower loss, then the earlier."""
    leaders = np.flatnonzero(allowed & (total >= total[allowed].max() * (1 - 1e-9)))
    loss = np.where(np.isfinite(curve.loss), curve.loss, math.inf)
    return int(min(leaders, key=lambda position: (loss[position], curve.epochs[position])))


def _doubt(cast: Mapping[str, Vote], epoch: int, count: int) -> float:
    """What the families leave of doubt about ``epoch``, each by its surest member near it: the product of the rests."""
    doubt = 1.0
    for family in FAMILIES:
        near = [
            vote.confidence * float(_kernel(np.array([vote.epoch - epoch], dtype=float), count)[0])
            for name, vote in cast.items()
            if name in family and vote.epoch is not None
        ]
        doubt *= 1.0 - max(near, default=0.0)
    return doubt


def choose(
    curves: Mapping[str, ModuleCurve],
    votes: Mapping[str, Mapping[str, Vote]],
    *,
    kept: Mapping[str, Collection[int]] | None = None,
) -> dict[str, Choice]:
    """A choice for every module.

    A module about which nobody has an opinion goes with the backbone, at confidence 0: modules trained together fit
    together, so without a reason to take another epoch the one of the model's core is the least risk. Where there is
    none for the backbone either, it is the last epoch.

    Args:
        curves: by module.
        votes: by module, then by technique (those of ``VOTERS``).
        kept: by module the epochs, at least one of the curves', whose weights are there to be chosen; None: all. A free
            choice that is none of them is said in ``Choice.not_kept``.
    """
    combined = {module: combine(curve, votes[module], among=_of(kept, module)) for module, curve in curves.items()}
    backbone = combined["backbone"].epoch
    choices = {}
    for module, curve in curves.items():
        vote, among = combined[module], _of(kept, module)
        last = int(curve.epochs[-1])
        free = combine(curve, votes[module])  # the vote where all epochs can be had
        if free.epoch is not None:
            wanted, because = free.epoch, free.reason
        elif len(curve.epochs) == 1:
            wanted, because = last, Reason("sweet_spot.choice.only_epoch", {"epoch": last})
        elif backbone is not None:
            wanted, because = backbone, Reason("sweet_spot.choice.with_backbone", {"epoch": backbone})
        else:
            wanted, because = last, Reason("sweet_spot.choice.last", {"epoch": last})
        epoch = _nearest(curve, wanted, among) if vote.epoch is None else vote.epoch
        is_kept = epoch == wanted
        choices[module] = Choice(
            epoch,
            vote.confidence,
            {**votes[module], VOTING: vote},
            because if is_kept else Reason("sweet_spot.choice.not_kept", {"epoch": epoch, "wanted": wanted}),
            still_improving=vote.epoch == last and _improving(curve),
            not_kept=None if is_kept else wanted,
        )
    return choices


def _of(kept: Mapping[str, Collection[int]] | None, module: str) -> Collection[int] | None:
    return None if kept is None else kept[module]


def _nearest(curve: ModuleCurve, wanted: int, among: Collection[int] | None) -> int:
    """The epoch among those that are kept which is nearest to the one that is wanted; of equally near ones the later."""
    there = [int(epoch) for epoch in curve.epochs if among is None or int(epoch) in among]
    return min(there, key=lambda epoch: (abs(epoch - wanted), -epoch))


def _improving(curve: ModuleCurve) -> bool:
    """The last epoch has the module's lowest loss or highest skill, and not for want of change."""
    for values in (curve.loss, -curve.skill):
        there = values[np.isfinite(values)]
        if len(there) >= 2 and there[-1] < there[:-1].min():
            return True
    return False
