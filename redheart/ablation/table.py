"""The ablation's table, as text for the terminal."""

from __future__ import annotations

from redheart.ablation.result import AblationResult, Row, deviation, mean
from redheart.ablation.scores import METRICS
from redheart.ablation.variants import LABELS, SUMS

_NAME, _COUNT, _CELL = 26, 12, 20


def as_table(result: AblationResult) -> str:
    """The whole model's scores, then a row for each group: what the whole model gains by it."""
    settings = result.settings
    counts, seeds = settings.counts, settings.seeds
    whole, *others = result.rows
    lines = [
        f"{settings.preset}, {settings.epochs} epochs at learning rate {settings.learning_rate:g}, "
        f"seeds {seeds[0]} to {seeds[-1]}; {counts['train']} situations train, {counts['choose']} choose the epoch, "
        f"{counts['judge']} judge",
        "",
        _line("", "parameters", [f"{metric.label} {'↑' if metric.sign > 0 else '↓'}" for metric in METRICS], ""),
        _line("whole model", f"{whole.parameters:,}", _scores(whole), "mean ± deviation over seeds"),
        "",
        f"What the whole model gains by each part, in the direction of better, ± {result.confidence:.0%} interval:",
    ]
    for place, row in enumerate(others):
        if row.variant in SUMS and place and others[place - 1].variant not in SUMS:
            lines.append("")
        name = LABELS.get(row.variant, row.variant)
        lines.append(_line(name, f"{whole.parameters - row.parameters:,}", _worths(row), row.verdict))
    lines += [
        "",
        f"* beyond noise: false discovery rate of {1 - result.confidence:.0%} over all rows and metrics. "
        "Intervals hold the spread of seeds and of situations.",
    ]
    return "\n".join(lines)


def _line(name: str, count: str, cells: list[str], end: str) -> str:
    return (f"{name:<{_NAME}}{count:>{_COUNT}}" + "".join(f"{cell:>{_CELL}}" for cell in cells) + f"  {end}").rstrip()


def _scores(row: Row) -> list[str]:
    return [
        f"{mean(row.scores[metric.name]):.4f} ± {deviation(row.scores[metric.name]):.4f} "
        if metric.name in row.scores
        else "– "
        for metric in METRICS
    ]


def _worths(row: Row) -> list[str]:
    return [
        f"{worth.mean:+.4f} ± {worth.margin:.4f}{'*' if worth.is_beyond_noise else ' '}"
        if (worth := row.worth.get(metric.name)) is not None
        else "– "
        for metric in METRICS
    ]
