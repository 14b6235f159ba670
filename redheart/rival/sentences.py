"""Where the model stands, in plain words, in the language of this process."""

from __future__ import annotations

from redheart.messages import text
from redheart.messages.figures import signed
from redheart.rival.comparison import Comparison, Metric, Standing
from redheart.rival.run import RivalDescription
from redheart.training.intervals import Estimate

_ORDER: tuple[Standing, ...] = ("above", "below", "level")


def _entry(name: str, difference: Estimate) -> str:
    assert difference.low is not None and difference.high is not None
    return text(
        "rival_entry",
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
        place(text("rival_mean"), comparison.mean_skill, comparison.standing)
    found = [
        text(f"rival_{standing}", split=split, tasks=", ".join(placed[standing]))
        for standing in _ORDER
        if placed[standing]
    ]
    if comparison.in_sample and any(task.metrics["skill"].rival for task in comparison.tasks.values() if task.metrics):
        found.append(text("rival_in_sample"))
    return found


def about_rival(rival: RivalDescription | None, without: str | None = None) -> list[str]:
    """What the rival is, or why there is none, as a whole or for a task."""
    if rival is None:
        return [text("rival_none", reason=without)]
    features = ", ".join(text(f"rival_feature_{block}") for block in rival.features)
    lines = [text("rival_is", features=features, count=rival.trained_on)]
    absent = {name: about["absent"] for name, about in rival.tasks.items() if "absent" in about}
    return [*lines, *(text("rival_none_for", task=task, reason=reason) for task, reason in absent.items())]
