"""Sentences that say how the model compares, in the language of this process."""

from __future__ import annotations

from redheart.facts.comparison import BaselineDescription, Comparison, Estimate, Metric, Standing
from redheart.messages import text
from redheart.messages.figures import signed

_ORDER: tuple[Standing, ...] = ("above", "below", "level")


def _entry(name: str, difference: Estimate) -> str:
    assert difference.low is not None and difference.high is not None
    return text(
        "baseline.entry",
        name=name,
        value=signed(difference.value),
        low=signed(difference.low),
        high=signed(difference.high),
    )


def standings(comparison: Comparison, split: str) -> list[str]:
    """One sentence a standing that occurs: which tasks, and by how much skill, with the paired interval."""
    placed: dict[Standing, list[str]] = {standing: [] for standing in _ORDER}

    def place(name: str, metric: Metric | None, standing: Standing | None) -> None:
        if standing is not None and metric is not None and metric.difference is not None:
            placed[standing].append(_entry(name, metric.difference))

    for name, task in comparison.tasks.items():
        place(name, task.metrics.get("skill"), task.standing)
    if sum(map(len, placed.values())) > 1:
        place(text("baseline.mean"), comparison.mean_skill, comparison.standing)
    found = [
        text(f"baseline.{standing}", split=split, tasks=", ".join(placed[standing]))
        for standing in _ORDER
        if placed[standing]
    ]
    if comparison.in_sample and any(
        task.metrics["skill"].baseline for task in comparison.tasks.values() if "skill" in task.metrics
    ):
        found.append(text("baseline.in_sample"))
    return found


def about_baseline(baseline: BaselineDescription) -> list[str]:
    """What the baseline is, or why there is none, as a whole or for a task."""
    if baseline.absent is not None:
        return [text("baseline.none", reason=baseline.absent)]
    features = ", ".join(text(f"baseline.feature_{block}") for block in baseline.features)
    lines = [text("baseline.is", features=features, count=baseline.trained_on)]
    lines += [
        text("baseline.none_for", task=task, reason=fitted.absent)
        for task, fitted in baseline.tasks.items()
        if fitted.absent is not None
    ]
    return lines
