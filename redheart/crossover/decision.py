"""Which model is delivered: the one with the lowest loss on ``judge``, and whether that is more than noise.

Pure functions of numbers. The test split is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redheart.crossover.result import Candidate, CrossoverResult, Outcome, candidate_label
from redheart.messages import text


@dataclass(frozen=True)
class Decision:
    """How the comparison ended; ``winner`` is None where there was nothing to choose from."""

    outcome: Outcome
    winner: str | None


def rivals(candidates: Sequence[Candidate]) -> list[Candidate]:
    """What could be delivered instead of the last epoch: no controls, and nothing twice."""
    return [c for c in candidates if c.name != "last" and not c.is_control and c.identical_to is None]


def decide(candidates: Sequence[Candidate], *, dry_run: bool, weights_changed: bool, epochs: int) -> Decision:
    """Decides on ``judge`` alone.

    An advantage over the last epoch is clear where its interval, widened for the number of rivals (Bonferroni), leaves
    out 0; the last epoch's is, where every rival's does on the other side. Of equal losses the earlier candidate's
    counts, so the last epoch stays unless something is better.

    Args:
        candidates: the last epoch first.
        epochs: how many epochs there were to choose from.
    """
    if dry_run:
        return Decision("dry_run", None)
    if not weights_changed:
        return Decision("unchanged", None)
    if epochs == 1:
        return Decision("one_epoch", None)
    last, others = candidates[0], rivals(candidates)
    if not others:
        return Decision("identical", None)
    scored = {c.name: c.scores["judge"].loss for c in (last, *others)}
    finite = {name: loss for name, loss in scored.items() if loss is not None}
    if not finite:
        return Decision("not_finite", None)
    winner = min(finite, key=lambda name: finite[name])
    if winner == last.name:
        differences = [c.scores["judge"].difference for c in others if c.name in finite]
        beyond = all(difference is not None and difference.guarded_low > 0 for difference in differences)
        return Decision("last_clear" if beyond else "last_unclear", winner)
    difference = next(c for c in others if c.name == winner).scores["judge"].difference
    return Decision("clear" if difference is not None and difference.guarded_high < 0 else "unclear", winner)


def explain(result: CrossoverResult) -> list[str]:
    """The result in sentences, in the language of this process; the first says what won, or why nothing did."""
    name = result.winner
    if name is None:
        return [text(f"crossover_outcome_{result.outcome}")]
    values = {"name": candidate_label(name), "count": result[name].scores["judge"].count}
    subject = name if name != "last" else _runner_up(result)
    score = result[subject].scores["judge"] if subject else None
    if score is not None and score.difference is not None:
        difference = score.difference
        values |= {
            "gap": f"{abs(difference.mean):.4f}",
            "low": _signed(difference.guarded_low),
            "high": _signed(difference.guarded_high),
            "rivals": result.comparisons,
            "confidence": f"{100 * difference.confidence:.3g}",
            "probability": share_of_resamples(difference.probability_better, result.bootstrap_samples),
            "runner": candidate_label(subject or name),
        }
        sentences = [text(f"crossover_outcome_{result.outcome}", **values)]
    else:
        sentences = [text("crossover_outcome_bare", **values)]
    if subject is not None:
        sentences += _about(result, subject, "test", "crossover_test")
    if subject != "crossover":
        sentences += _about(result, "crossover", "judge", "crossover_itself")
    better, controls = result.better_controls()
    if controls:
        sentences.append(text("crossover_controls", better=better, controls=controls))
    return [sentence[:1].upper() + sentence[1:] for sentence in sentences]


def share_of_resamples(share: float, samples: int) -> str:
    """A share in percent; never 0 or 100, which a finite number of resamples can't show."""
    if share * samples > samples - 1:
        return f"> {100 * (1 - 1 / samples):.4g}"
    if share * samples < 1:
        return f"< {100 / samples:.4g}"
    return f"{100 * share:.1f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _runner_up(result: CrossoverResult) -> str | None:
    losses = {c.name: c.scores["judge"].loss for c in rivals(result.candidates)}
    finite = {name: loss for name, loss in losses.items() if loss is not None}
    return min(finite, key=lambda name: finite[name]) if finite else None


def _about(result: CrossoverResult, name: str, split: str, key: str) -> list[str]:
    """A sentence on a candidate's difference to the last epoch: lower, higher or within noise."""
    score = result.score(name, split)
    if score is None or score.difference is None:
        return []
    difference = score.difference
    side = "lower" if difference.high < 0 else "higher" if difference.low > 0 else "noise"
    return [
        text(
            f"{key}_{side}",
            name=candidate_label(name),
            mean=_signed(difference.mean),
            low=_signed(difference.low),
            high=_signed(difference.high),
            confidence=f"{100 * difference.confidence:.3g}",
            count=score.count,
        )
    ]
