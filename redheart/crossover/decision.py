"""The decision which model is delivered: the lowest loss on ``judge``, and whether that is more than noise.

Pure functions of numbers. The test split is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from redheart.crossover.result import Candidate, CrossoverResult, Outcome, candidate_label
from redheart.evaluation.bootstrap import Side, side_of_zero
from redheart.facts.candidate import Difference
from redheart.messages import text

#: What is said of a difference to the last epoch, by its interval.
Standing = Literal["lower", "higher", "noise"]


@dataclass(frozen=True)
class Decision:
    """How the comparison ended; ``winner`` is None where there was nothing to choose from."""

    outcome: Outcome
    winner: str | None


def contenders(candidates: Sequence[Candidate]) -> list[Candidate]:
    """What could be delivered instead of the last epoch: no controls, and nothing twice."""
    return [c for c in candidates if c.name != "last" and not c.is_control and c.identical_to is None]


def decide(candidates: Sequence[Candidate], *, dry_run: bool, weights_changed: bool, epochs: int) -> Decision:
    """Decides on ``judge`` alone.

    An advantage over the last epoch is clear where its interval, widened for the number of contenders (Bonferroni), leaves
    out 0; the last epoch's is, where every contender's does on the other side. Of equal losses the earlier candidate's
    counts, so the last epoch stays unless something is better.

    Args:
        candidates: the last epoch first.
        epochs: how many epochs there were to choose from.
    """
    if dry_run:
        return Decision("dry_run", None)
    if not weights_changed:
        return Decision("unchanged", None)
    last, others = candidates[0], contenders(candidates)
    if not others:
        return Decision("one_epoch" if epochs == 1 else "identical", None)
    losses = _finite_losses([last, *others])
    if not losses:
        return Decision("not_finite", None)
    winner = min(losses, key=lambda name: losses[name])
    standings = {c.name: _standing(c.scores["judge"].difference) for c in others if c.name in losses}
    if winner != last.name:
        return Decision("clear" if standings[winner] == "lower" else "unclear", winner)
    beyond = set(standings.values()) == {"higher"}
    return Decision("last_clear" if beyond else "last_unclear", winner)


def _finite_losses(candidates: Sequence[Candidate]) -> dict[str, float]:
    """Losses on ``judge`` by name, of those that have one."""
    losses = {c.name: c.scores["judge"].loss for c in candidates}
    return {name: loss for name, loss in losses.items() if loss is not None}


def _standing(difference: Difference | None) -> Standing:
    """By the interval that decides, which is widened for the contenders; noise where there is none."""
    return "noise" if difference is None else side(difference.guarded_low, difference.guarded_high)


def explain(result: CrossoverResult) -> list[str]:
    """The result in sentences, in the language of this process; the first says what won, or why nothing did."""
    name = result.winner
    if name is None:
        return [text(f"crossover.outcome_{result.outcome}"), *_left_out(result)]
    values: dict[str, str | int] = {
        "name": candidate_label(name),
        "count": result[name].scores["judge"].count,
        "contenders": result.comparisons,
    }
    subject = name if name != "last" else _runner_up(result)
    difference = _difference(result, subject)
    other = None
    if subject is None or difference is None:
        sentences = [text("crossover.outcome_bare", **values)]
    else:
        values |= {
            "gap": f"{abs(difference.mean):.4f}",
            "low": _signed(difference.guarded_low),
            "high": _signed(difference.guarded_high),
            "confidence": f"{100 * difference.confidence:.3g}",
            "probability": share_of_resamples(difference.probability_better, result.bootstrap_samples),
            "runner": candidate_label(subject),
        }
        own = _standing(difference)
        if result.is_clear or own == "noise":
            sentences = [text(f"crossover.outcome_{result.outcome}", **values)]
        else:  # its own interval is no reason for doubt: another contender's is, or resamples that disagree with the mean
            other = _not_told_apart(result) if result.outcome == "last_unclear" and own == "higher" else None
            sentences = [_beside(result, other, values)]
    if subject is not None:
        sentences += _about(result, subject, "test", "crossover.test")
    if name == "start":
        sentences.append(text("crossover.start_delivered"))
    sentences += _about(result, "start", "judge", "crossover.training")
    if "crossover" not in (subject, other):
        sentences += _about(result, "crossover", "judge", "crossover.itself")
    better, controls = result.better_controls()
    if controls:
        sentences.append(text("crossover.controls", better=better, controls=controls))
    sentences += _left_out(result)
    return [sentence[:1].upper() + sentence[1:] for sentence in sentences]


def _left_out(result: CrossoverResult) -> list[str]:
    if not result.left_out:
        return []
    counts = ", ".join(f"{split} {count}" for split, count in result.left_out.items())
    return [text("crossover.left_out", counts=counts)]


def side(low: float, high: float) -> Standing:
    """Where the interval ``low`` to ``high`` lies; one that touches 0 is not beyond noise."""
    standings: dict[Side, Standing] = {"below": "lower", "above": "higher", "around": "noise"}
    return standings[side_of_zero(low, high)]


def _beside(result: CrossoverResult, other: str | None, values: dict[str, str | int]) -> str:
    """The sentence for a runner-up that is clearly worse beside a contender that can't be told from the last epoch."""
    difference = _difference(result, other)
    if other is None or difference is None:
        return text("crossover.outcome_at_odds", **values)
    return text(
        "crossover.outcome_last_other",
        other=candidate_label(other),
        other_gap=f"{abs(difference.mean):.4f}",
        other_low=_signed(difference.guarded_low),
        other_high=_signed(difference.guarded_high),
        **values,
    )


def share_of_resamples(share: float, samples: int) -> str:
    """A share in percent; never 0 or 100, which a finite number of resamples can't show."""
    if share * samples > samples - 1:
        return f"> {100 * (1 - 1 / samples):.4g}"
    if share * samples < 1:
        return f"< {100 / samples:.4g}"
    return f"{100 * share:.1f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _by_loss(result: CrossoverResult) -> list[str]:
    """Contenders with a finite loss on ``judge``, the lowest first."""
    losses = _finite_losses(contenders(result.candidates))
    return sorted(losses, key=lambda name: losses[name])


def _runner_up(result: CrossoverResult) -> str | None:
    return next(iter(_by_loss(result)), None)


def _not_told_apart(result: CrossoverResult) -> str | None:
    """The contender with the lowest loss whose interval holds 0."""
    for name in _by_loss(result):
        difference = _difference(result, name)
        if difference is not None and _standing(difference) == "noise":
            return name
    return None


def _difference(result: CrossoverResult, name: str | None) -> Difference | None:
    score = result.score(name, "judge") if name else None
    return score.difference if score else None


def _about(result: CrossoverResult, name: str, split: str, key: str) -> list[str]:
    """A sentence on a candidate's difference to the last epoch: lower, higher or within noise.

    On ``judge`` by the interval that decides, which is widened for the contenders; on ``test``, where one model is looked
    at, by the plain one.
    """
    score = result.score(name, split)
    if score is None or score.difference is None:
        return []
    difference = score.difference
    low, high = difference.low, difference.high
    values: dict[str, str | int] = {"name": candidate_label(name), "count": score.count}
    if split == "judge":
        low, high = difference.guarded_low, difference.guarded_high
        values = {"contenders": result.comparisons}
    return [
        text(
            f"{key}_{side(low, high)}",
            mean=_signed(difference.mean),
            low=_signed(low),
            high=_signed(high),
            confidence=f"{100 * difference.confidence:.3g}",
            **values,
        )
    ]
