"""Plots of the analysis: one per module, and one of all modules over the epochs. Labels are in English, as the font
that matplotlib brings has no Korean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from redheart.pictures import Axes, Figure, Line2D, MaxNLocator, Rectangle, own_settings
from redheart.storage import replace_file
from redheart.sweet_spot.choice import Choice
from redheart.sweet_spot.curves import Epochs, ModuleCurve, Numbers
from redheart.sweet_spot.techniques import VOTERS
from redheart.sweet_spot.techniques.gradient_health import GRADIENT_HEALTH
from redheart.sweet_spot.techniques.plateau import window_of
from redheart.sweet_spot.techniques.task_metrics import TASK_METRICS
from redheart.sweet_spot.voting import scores

_CHOSEN = "#c0143c"
_PLATEAU = "#f2c14e"
_NO_CHOICE = "weights did not change: nothing to choose"


def _save(figure: Figure, path: Path) -> None:
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=100))


def _span(epochs: Epochs) -> tuple[float, float]:
    return float(epochs[0]) - 0.7, float(epochs[-1]) + 0.7


@own_settings()
def draw_module(path: Path, curve: ModuleCurve, choice: Choice | None) -> None:
    """Loss and skill on ``choose``, gradient norm, and each technique's candidate below; the plateau is shaded and
    the chosen epoch a line through all panels."""
    figure = Figure(figsize=(9, 8), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": [3, 3, 2, 2]})
    loss, skill, gradient, votes = panels
    _curve(loss, curve.epochs, curve.loss, "loss (choose)", "#333333")
    task = curve.task or "mean of tasks"
    _curve(skill, curve.epochs, curve.skill, f"skill (choose)\n{task}", TASK_METRICS.colour)
    _curve(gradient, curve.epochs, curve.gradient_mean, "gradient norm", GRADIENT_HEALTH.colour)
    if (curve.gradient_mean > 0).all():
        gradient.set_yscale("log")
    title = curve.module if choice is None else _title(curve.module, choice)
    figure.suptitle(title, fontsize=12)
    handles: list[Any] = []
    if choice is not None:
        for panel in panels:
            panel.axvline(choice.epoch, color=_CHOSEN, linewidth=1.6, zorder=1)
        handles.append(Line2D([], [], color=_CHOSEN, linewidth=1.6, label=f"chosen: epoch {choice.epoch}"))
        window = window_of(choice.techniques["plateau"])
        if window is not None:
            for panel in panels[:3]:
                shade = panel.axvspan(
                    window[0] - 0.5, window[1] + 0.5, color=_PLATEAU, alpha=0.3, linewidth=0, zorder=0
                )
            shade.set_label(f"plateau: epochs {window[0]}–{window[1]}")
            handles.append(shade)
    votes.set_xlim(*_span(curve.epochs))
    _candidates(votes, choice)
    votes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    votes.set_xlabel("epoch")
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    _save(figure, path)


def _title(module: str, choice: Choice) -> str:
    improving = ", still improving" if choice.still_improving else ""
    not_kept = "" if choice.not_kept is None else f", would be {choice.not_kept}, not kept"
    return f"{module}: epoch {choice.epoch} (confidence {choice.confidence:.2f}{improving}{not_kept})"


def _curve(panel: Axes, epochs: Epochs, values: Numbers, label: str, colour: str) -> None:
    panel.set_ylabel(label, fontsize=9)
    panel.grid(alpha=0.25)
    if np.isfinite(values).any():
        panel.plot(epochs, values, color=colour, marker=".", markersize=5, linewidth=1.2, zorder=2)
    else:
        panel.text(0.01, 0.5, "not measured", transform=panel.transAxes, va="center", fontsize=9, color="#777777")
        panel.set_yticks([])


def _candidates(panel: Axes, choice: Choice | None) -> None:
    """One row per technique; the marker's size is its confidence."""
    panel.set_ylim(len(VOTERS) - 0.4, -0.6)
    panel.set_yticks(range(len(VOTERS)), [one.drawn_as for one in VOTERS], fontsize=9)
    panel.set_ylabel("candidates", fontsize=9)
    panel.grid(alpha=0.25)
    for row, technique in enumerate(VOTERS):
        vote = None if choice is None else choice.techniques[technique.name]
        if vote is None or vote.epoch is None:
            words = "abstains" if vote is not None else (_NO_CHOICE if row == 0 else "")
            panel.text(
                0.01, row, words, transform=panel.get_yaxis_transform(), va="center", fontsize=8, color="#777777"
            )
            continue
        size, marker, colour = 30 + 130 * vote.confidence, technique.marker, technique.colour
        panel.scatter([vote.epoch], [row], s=size, marker=marker, color=colour, edgecolor="white", zorder=3)
        right = vote.epoch <= (panel.get_xlim()[0] + panel.get_xlim()[1]) / 2
        panel.annotate(
            f"{vote.epoch} ({vote.confidence:.2f})",
            (vote.epoch, row),
            xytext=(10 if right else -10, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            zorder=4,
        )


@own_settings()
def draw_overview(path: Path, epochs: Epochs, choices: dict[str, Choice] | None) -> None:
    """All modules over the epochs: how much the votes say for each epoch, each vote, and the choice."""
    modules = list(choices) if choices else []
    figure = Figure(figsize=(12, 8 if modules else 2.5), layout="constrained")
    panel = figure.subplots()
    figure.suptitle("Sweet spots: votes for each epoch, module by module", fontsize=12)
    panel.set_xlim(*_span(epochs))
    panel.set_xlabel("epoch")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if choices is None:
        panel.text(0.5, 0.5, _NO_CHOICE, transform=panel.transAxes, ha="center", va="center", color="#777777")
        panel.set_yticks([])
        _save(figure, path)
        return
    for row, choice in enumerate(choices.values()):
        strength = scores(epochs, {one.name: choice.techniques[one.name] for one in VOTERS})
        # Drawn epoch by epoch in its own place, so that an epoch missing from the records is a gap, not a shift.
        image = panel.pcolormesh(
            _edges(epochs),
            [row - 0.5, row + 0.5],
            _on_edges(epochs, strength)[np.newaxis, :],
            cmap="Greys",
            vmin=0,
            vmax=2.0,
            zorder=0,
        )
        panel.add_patch(_frame(choice.epoch, row))
        for place, technique in enumerate(VOTERS):
            vote = choice.techniques[technique.name]
            if vote.epoch is not None:
                height = row + 0.8 / len(VOTERS) * (place - (len(VOTERS) - 1) / 2)
                panel.scatter(
                    [vote.epoch],
                    [height],
                    s=26,
                    marker=technique.marker,
                    color=technique.colour,
                    edgecolor="white",
                    linewidth=0.5,
                    zorder=3,
                )
    for row in range(1, len(modules)):
        panel.axhline(row - 0.5, color="white", linewidth=1.2, zorder=1)
    labels = [f"{module}   {choice.epoch} ({choice.confidence:.2f})" for module, choice in choices.items()]
    panel.set_yticks(range(len(modules)), labels, fontsize=9)
    panel.set_ylim(len(modules) - 0.5, -0.5)
    figure.colorbar(image, ax=panel, label="sum of confidence, smeared", pad=0.01, aspect=40)
    handles: list[Any] = [
        Line2D([], [], marker=one.marker, color=one.colour, linestyle="none", markersize=6, label=one.drawn_as)
        for one in VOTERS
    ]
    handles.append(
        Line2D(
            [],
            [],
            marker="s",
            markerfacecolor="none",
            markeredgecolor=_CHOSEN,
            markersize=11,
            linestyle="none",
            label="chosen epoch (confidence beside the name)",
        )
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    _save(figure, path)


def _edges(epochs: Epochs) -> Numbers:
    return np.arange(float(epochs[0]), float(epochs[-1]) + 2.0) - 0.5


def _on_edges(epochs: Epochs, strength: Numbers) -> Numbers:
    """``strength`` for every epoch between the first and the last; NaN where there is no record."""
    row = np.full(int(np.ptp(epochs)) + 1, np.nan)
    row[epochs - epochs[0]] = strength
    return row


def _frame(epoch: int, row: int) -> Rectangle:
    return Rectangle((epoch - 0.5, row - 0.48), 1.0, 0.96, fill=False, edgecolor=_CHOSEN, linewidth=2.0, zorder=2)
