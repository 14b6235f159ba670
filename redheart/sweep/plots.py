"""Plots of the sweep: one per stage as it ends, and a summary of the stages closing in with the fit and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from redheart.pictures import (
    Artist,
    Axes,
    Figure,
    FigureCanvasAgg,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    own_settings,
)
from redheart.storage import write_bytes
from redheart.sweep.evidence import Evidence
from redheart.sweep.learning_rate_keys import key_of
from redheart.sweep.planner import StagePlan
from redheart.sweep.seed_effects import mean_losses
from redheart.sweep.trials import Trial

#: Stages from early (pale, cool) to late (dark, warm); told apart in grey and by colour-blind readers too.
_COLOURS = ("#9ecae1", "#4292c6", "#2c6e8f", "#e08214", "#b2182b")
_MARKERS = ("o", "s", "D", "^", "v")
_INK, _FAINT = "#222222", "#8c8c8c"
_FONT: Any = {"font.family": "DejaVu Sans", "font.size": 10, "axes.edgecolor": "#666666", "axes.linewidth": 0.8}


def _colour(stage: int) -> str:
    return _COLOURS[min(stage, len(_COLOURS) - 1)]


def _figure(width: float, height: float, rows: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # no window system, and no global state shared with whoever called
    grid = figure.subplots(rows, 1, squeeze=False, sharex=rows > 1, height_ratios=[3, 1.25][:rows])
    return figure, [row[0] for row in grid]


def _save(figure: Figure, path: Path) -> None:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def _log_axis(axes: Axes, rates: Sequence[float]) -> None:
    axes.set_xscale("log")
    low, high = min(rates), max(rates)
    margin = max(1.12, (high / low) ** 0.05)
    axes.set_xlim(low / margin, high * margin)
    wide = high / low > 15
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1.0,) if wide else (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0))
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _loss_limits(losses: Sequence[float]) -> tuple[float, float]:
    """Limits that show the valley: losses far above the middle of the field are left to the upper edge."""
    ordered = sorted(losses)
    low, middle = ordered[0], ordered[len(ordered) // 2]
    high = min(ordered[-1], max(low + 4 * (middle - low), low + 1e-6 + abs(low) * 0.02))
    room = max(high - low, abs(low) * 0.01, 1e-6)
    return low - 0.12 * room, high + 0.22 * room


def _subtitle(trials: Sequence[Trial]) -> str:
    """How much was measured, and over how many epochs: what a loss is worth."""
    for trial in trials:
        if trial.choose_count:
            return (
                f"validated on {trial.choose_count:,} situations (choose), "
                f"trained on {trial.train_count:,}, {trial.epochs} epochs per trial"
            )
    return "validation count unknown"


def _draw_trials(axes: Axes, trials: Sequence[Trial], *, stage: int, faded: bool, label: str | None = None) -> None:
    """Validation losses of one stage's trials; diverged ones as crosses at the top edge, clipped ones as carets."""
    bottom, top = axes.get_ylim()
    edge = top - 0.035 * (top - bottom)
    alpha = 0.6 if faded else 1.0
    points = [(trial.learning_rate, trial.observation.val_loss) for trial in trials]
    shown = [(rate, loss) for rate, loss in points if loss is not None and loss <= top]
    axes.scatter(
        [rate for rate, _ in shown],
        [loss for _, loss in shown],
        s=34 if faded else 58,
        color=_colour(stage),
        marker=_MARKERS[min(stage, len(_MARKERS) - 1)],
        edgecolor="white" if faded else _INK,
        linewidth=0.6,
        alpha=alpha,
        zorder=3 if faded else 4,
        label=label,
    )
    for rate, loss in points:
        if loss is None:
            axes.plot(rate, edge, marker="X", markersize=9, color="#b2182b", markeredgecolor="white", zorder=5)
            axes.annotate("diverged", (rate, edge), (0, -9), textcoords="offset points", ha="center", va="top",
                          fontsize=8, color="#b2182b")  # fmt: skip
        elif loss > top:
            axes.plot(rate, edge, marker=6, markersize=9, color=_colour(stage), alpha=alpha, zorder=4)
            axes.annotate(f"{loss:.3g}", (rate, edge), (0, -7), textcoords="offset points", ha="center", va="top",
                          fontsize=8, color=_FAINT)  # fmt: skip


def _mean_line(axes: Axes, means: dict[float, float], **style: Any) -> None:
    rates = sorted(means)
    axes.plot(rates, [means[rate] for rate in rates], **style)


def _train_losses(trials: Sequence[Trial]) -> dict[float, float]:
    losses: dict[float, list[float]] = {}
    for trial in trials:
        if trial.train_loss is not None and trial.observation.val_loss is not None:
            losses.setdefault(trial.learning_rate, []).append(trial.train_loss)
    return {rate: sum(values) / len(values) for rate, values in losses.items()}


def _mark_best(axes: Axes, best: float, loss: float) -> None:
    axes.plot(
        best,
        loss,
        marker="*",
        markersize=19,
        color="#ffd92f",
        markeredgecolor=_INK,
        zorder=7,
        linestyle="none",
        label=f"best {best:.3g} (seed-adjusted mean validation loss {loss:.4g})",
    )


def _titles(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=_INK, pad=24)
    axes.text(0, 1.0, subtitle, transform=axes.transAxes, fontsize=9.5, color="#555555", va="bottom",
              ha="left", in_layout=True).set_y(1.015)  # fmt: skip


def _val_losses(trials: Sequence[Trial]) -> list[float]:
    return [loss for trial in trials if (loss := trial.observation.val_loss) is not None]


def _means(trials: Sequence[Trial]) -> dict[float, float]:
    return mean_losses([trial.observation for trial in trials])


def _of_stage(trials: Sequence[Trial], stage: int) -> list[Trial]:
    return [trial for trial in trials if trial.stage == stage]


def plot_stage(path: Path, plan: StagePlan, trials: Sequence[Trial]) -> None:
    """One stage: its trials over the fainter ones before, the bracket shaded, the best so far marked.

    Args:
        trials: of this stage and all before it.
    """
    with own_settings(_FONT):
        figure, (axes,) = _figure(8.6, 5.4, 1)
        own = _of_stage(trials, plan.stage)
        means = _means(trials)
        best = min(means, key=lambda rate: means[rate]) if means else None
        # From stage 1 on the picture follows the bracket in; the neighbours that made it stay in view.
        _log_axis(
            axes, [plan.low, plan.high, *(trial.learning_rate for trial in own), *([] if best is None else [best])]
        )
        left, right = axes.get_xlim()
        near = [trial for trial in trials if left <= trial.learning_rate <= right]
        if losses := _val_losses(near):
            axes.set_ylim(*_loss_limits(losses))
        axes.axvspan(plan.low, plan.high, color=_colour(plan.stage), alpha=0.10, linewidth=0, label="bracket")
        visible = {rate: loss for rate, loss in means.items() if left <= rate <= right}
        _mean_line(axes, visible, color=_FAINT, linewidth=1.2, zorder=2, label="seed-adjusted mean validation loss")
        _draw_train(axes, _train_losses(near))
        for stage in range(plan.stage):
            if earlier := _of_stage(near, stage):
                _draw_trials(axes, earlier, stage=stage, faded=True)
        _draw_trials(axes, own, stage=plan.stage, faded=False, label=f"stage {plan.stage} trials")
        if best is not None:
            _mark_best(axes, best, means[best])
        _titles(axes, f"Learning-rate sweep, stage {plan.stage}", _subtitle(trials) + _repeats(plan))
        axes.set_xlabel("learning rate (log scale)")
        axes.set_ylabel("validation loss")
        _legend(figure, 3)
        _save(figure, path)


def _repeats(plan: StagePlan) -> str:
    repeats = sum(trial.placement == "repeat" for trial in plan.trials)
    return f", {repeats} of {len(plan.trials)} are repeats under new seeds" if repeats else ""


def _draw_train(axes: Axes, losses: dict[float, float]) -> None:
    """Training losses, faint and on a scale of their own: they lie elsewhere and only their shape tells something."""
    if not losses:
        return
    right = axes.twinx()
    right.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)
    _mean_line(right, losses, color="#9a9a9a", linewidth=1.1, linestyle=":", label="training loss (right)")
    right.margins(y=0.15)
    right.tick_params(axis="y", colors="#9a9a9a", labelsize=8, length=2)
    right.set_ylabel("training loss", color="#9a9a9a", fontsize=9)
    for side in right.spines.values():
        side.set_visible(False)


def _legend(figure: Figure, columns: int) -> None:
    """Below the picture, where it hides no point."""
    labelled: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            labelled.setdefault(label, handle)
    figure.legend(
        list(labelled.values()), list(labelled), loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False
    )


def plot_summary(path: Path, plans: Sequence[StagePlan | None], trials: Sequence[Trial], evidence: Evidence) -> None:
    """All stages in one picture: above, every trial by stage with the fit and its interval; below, brackets closing in."""
    known = [plan for plan in plans if plan is not None]
    with own_settings(_FONT):
        figure, (axes, lower) = _figure(9.8, 8.0, 2)
        _log_axis(
            axes, [trial.learning_rate for trial in trials] + [end for plan in known for end in (plan.low, plan.high)]
        )
        axes.set_ylim(*_loss_limits(_val_losses(trials)))
        _draw_interval(axes, evidence)
        _draw_train(axes, _train_losses(trials))
        for plan in known:
            own = _of_stage(trials, plan.stage)
            _mean_line(axes, _means(own), color=_colour(plan.stage), linewidth=1.1, alpha=0.45, zorder=2)
            _draw_trials(axes, own, stage=plan.stage, faded=False, label=f"stage {plan.stage}")
        _draw_fit(axes, evidence)
        _mark_best(axes, evidence.best, _means(trials)[evidence.best])
        runs = f"mean of {evidence.runs} runs" if evidence.runs > 1 else "1 run"
        title = f"Hierarchical learning-rate sweep: {key_of(evidence.best)}, loss {evidence.val_loss:.4g} ({runs})"
        _titles(axes, title, _subtitle(trials) + _noise(evidence))
        axes.set_ylabel("validation loss")
        _draw_brackets(lower, known, trials, evidence.best)
        _legend(figure, 4)
        _save(figure, path)


def _draw_interval(axes: Axes, evidence: Evidence) -> None:
    if evidence.interval is not None:
        axes.axvspan(*evidence.interval, color="#ffd92f", alpha=0.22, linewidth=0,
                     label=f"{evidence.confidence:.0%} interval of the fitted minimum")  # fmt: skip


def _draw_fit(axes: Axes, evidence: Evidence) -> None:
    if evidence.coefficients is not None and evidence.window is not None:
        curve = np.geomspace(*evidence.window, 200)
        fitted = np.polyval(evidence.coefficients, np.log10(curve / evidence.best))
        axes.plot(curve, fitted, color=_INK, linewidth=1.8, linestyle="--", zorder=6, label="quadratic fit")


def _noise(evidence: Evidence) -> str:
    return "" if evidence.noise is None else f"; noise of one trial ±{evidence.noise:.2g} ({evidence.noise_source})"


def _draw_brackets(axes: Axes, plans: Sequence[StagePlan], trials: Sequence[Trial], best: float) -> None:
    for plan in plans:
        axes.plot([plan.low, plan.high], [plan.stage] * 2, color=_colour(plan.stage), linewidth=7, alpha=0.35,
                  solid_capstyle="butt", zorder=2)  # fmt: skip
        for fresh in (True, False):
            own = [
                trial.learning_rate for trial in _of_stage(trials, plan.stage) if (trial.placement != "repeat") == fresh
            ]
            axes.scatter(own, [plan.stage] * len(own), s=34, marker=_MARKERS[min(plan.stage, len(_MARKERS) - 1)],
                         facecolor=_colour(plan.stage) if fresh else "white", edgecolor=_INK, linewidth=0.7,
                         zorder=4)  # fmt: skip
    axes.axvline(best, color=_INK, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_ylim(len(plans) - 0.5, -0.5)
    axes.set_yticks([plan.stage for plan in plans], [f"stage {plan.stage}" for plan in plans])
    axes.set_xlabel("learning rate (log scale); bars: brackets, hollow: repeats under another seed")
    axes.grid(True, axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
