"""The plot of an ablation: one panel per metric, one row per group, a dot with its interval; above 0 the part helps.

One part may be worth ten times the others: what lies far out is drawn at the edge with its number, so that the rest is seen.

Labels are in English, as the font that matplotlib brings has no Korean.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

from redheart.ablation.result import AblationResult, Row
from redheart.ablation.scores import METRICS, Metric
from redheart.ablation.variants import LABELS, SUMS
from redheart.ablation.worth import Worth
from redheart.pictures import Axes, Figure, own_settings
from redheart.storage import replace_file

_WORTH, _HARMFUL, _NOISE, _FAINT = "#0072b2", "#c0143c", "#8c8c8c", "#dddddd"
#: A panel reaches at most so many times as far from zero as the interval in the middle of its rows.
_FARTHEST = 4.0


@own_settings()
def draw(path: Path, result: AblationResult) -> None:
    """Writes the picture as PNG."""
    rows = result.rows[1:]
    figure = Figure(figsize=(13, 2.4 + 0.42 * len(rows)), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(METRICS), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, METRICS, strict=True):
        _panel(axes, metric, rows)
    names = [LABELS.get(row.variant, row.variant) for row in rows]
    panels[0].set_yticks(range(len(rows)), names)
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    settings = result.settings
    figure.suptitle(
        "What each part is worth: the score of the whole model less that without it",
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    figure.supxlabel(
        f"Right of zero: the part helps. Bars: {result.confidence:.0%} intervals over seeds and situations; coloured: beyond "
        f"noise (false discovery rate over the whole picture).\n{settings.preset}, {len(settings.seeds)} seeds, "
        f"{settings.epochs} epochs at learning rate {settings.learning_rate:g}, scored on "
        f"{settings.counts['judge']} situations (judge).",
        fontsize=9,
        x=0.01,
        ha="left",
        color="#555555",
    )
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png"))


def _panel(axes: Axes, metric: Metric, rows: tuple[Row, ...]) -> None:
    axes.set_title(metric.label, fontsize=11)
    axes.axvline(0, color="#333333", linewidth=0.9)
    left, right = _span([row.worth[metric.name] for row in rows if metric.name in row.worth])
    for position, row in enumerate(rows):
        worth = row.worth.get(metric.name)
        if worth is not None:
            _draw_worth(axes, worth, position, left, right)
    padding = 0.06 * (right - left)
    axes.set_xlim(left - padding, right + padding)
    parts = sum(row.variant not in SUMS for row in rows)
    if 0 < parts < len(rows):
        axes.axhline(parts - 0.5, color=_FAINT, linewidth=0.9)
    axes.grid(True, axis="x", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_worth(axes: Axes, worth: Worth, position: int, left: float, right: float) -> None:
    """A dot with its interval; one that lies beyond ``left`` or ``right``, at that edge with its number."""
    colour = _NOISE if not worth.is_beyond_noise else _WORTH if worth.mean > 0 else _HARMFUL
    axes.plot([worth.low, worth.high], [position] * 2, color=colour, linewidth=2.4, solid_capstyle="round")
    if left <= worth.mean <= right:
        axes.plot(worth.mean, position, marker="o", markersize=7, color=colour, markeredgecolor="white")
        return
    is_right = worth.mean > right
    axes.plot(right if is_right else left, position, marker=">" if is_right else "<", markersize=8, color=colour)
    axes.annotate(
        f"{worth.mean:+.3g} ± {worth.margin:.2g}",
        (right if is_right else left, position),
        (-4 if is_right else 4, 7),
        textcoords="offset points",
        ha="right" if is_right else "left",
        fontsize=8,
        color=colour,
    )


def _span(worths: list[Worth]) -> tuple[float, float]:
    """From where to where a panel reaches; zero is in it."""
    reaches = [max(abs(worth.low), abs(worth.high)) for worth in worths]
    limit = max(min(max(reaches), _FARTHEST * median(reaches)), 1e-9) if reaches else 1.0
    return (
        max(min((worth.low for worth in worths), default=-limit), -limit),
        min(max((worth.high for worth in worths), default=limit), limit),
    )
