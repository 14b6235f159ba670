"""Training curves as JSON, as CSV and as a picture, from the records that training left."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from redheart.checkpoint import START_EPOCH
from redheart.facts.scores import SplitScores
from redheart.paths import OutputPaths
from redheart.storage import replace_file, write_json, write_text
from redheart.tasks import TASKS
from redheart.training.records import EpochRecord, read_records

if TYPE_CHECKING:
    from redheart.pictures import Axes

Numbers = list[float | None]

#: Okabe & Ito's colours, told apart with any colour vision; one per task, in the order of the table of tasks.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_INK, _FAINT = "#24292f", "#d8dee4"


class _Hollow(TypedDict):
    marker: str
    markersize: float
    markerfacecolor: str
    linestyle: str


#: What stands for the start, which is no epoch.
_HOLLOW: _Hollow = {"marker": "o", "markersize": 6, "markerfacecolor": "white", "linestyle": ""}


@dataclass(frozen=True)
class Curves:
    """One number per epoch; None where it was not measured.

    Attributes:
        epochs: 1-based, ascending; before them 0, the start before training, where it was measured (on ``choose`` alone).
        skills: by task: on ``choose``.
        dry_run: weights did not change.
    """

    epochs: list[int]
    train_loss: Numbers
    choose_loss: Numbers
    gradient_norm: Numbers
    learning_rate: Numbers
    skills: dict[str, Numbers]
    dry_run: bool

    def columns(self) -> dict[str, Sequence[float | None]]:
        """Everything as columns, by name."""
        return {
            "epoch": self.epochs,
            "train_loss": self.train_loss,
            "choose_loss": self.choose_loss,
            **{f"skill_{task}": values for task, values in self.skills.items()},
            "gradient_norm": self.gradient_norm,
            "learning_rate": self.learning_rate,
        }

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the lowest loss on ``choose``, 0 for the start; None without one, and after a dry run."""
        measured = [
            (loss, epoch) for loss, epoch in zip(self.choose_loss, self.epochs, strict=True) if loss is not None
        ]
        return min(measured)[1] if measured and not self.dry_run else None


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def read_curves(metrics_file: Path) -> Curves:
    """The epochs that count, see ``redheart.training.records``, and the start before training where it was measured.

    Raises:
        StorageError: the file is missing, damaged, or holds no epoch.
    """
    records = read_records(metrics_file).needed()
    found = dict(records.epochs)
    scored: dict[int, SplitScores] = {epoch: one.choose for epoch, one in found.items() if one.choose is not None}
    if records.run is not None and records.run.choose is not None:
        scored[START_EPOCH] = records.run.choose  # alone: its learning rate is the schedule's peak
    epochs = sorted(found.keys() | scored.keys())
    nothing = EpochRecord(epoch=1)
    trained = [found.get(epoch, nothing) for epoch in epochs]
    on_choose = [scored.get(epoch, SplitScores()) for epoch in epochs]
    return Curves(
        epochs=epochs,
        train_loss=[_finite(one.train.loss if one.train else None) for one in trained],
        choose_loss=[_finite(one.loss) for one in on_choose],
        gradient_norm=[_finite(one.gradient.total_norm_mean if one.gradient else None) for one in trained],
        learning_rate=[_finite(one.learning_rate) for one in trained],
        skills={task.name: [_finite(one.skill(task.name)) for one in on_choose] for task in TASKS},
        dry_run=records.is_dry_run,
    )


def export_curves(output: Path) -> list[Path]:
    """Writes ``plots/training_curves.json``, ``.csv`` and ``.png`` under ``output``.

    Raises:
        StorageError: there are no records, or a file can't be written.
    """
    places = OutputPaths(output)
    curves = read_curves(places.metrics)
    paths = [places.curves_json, places.curves_csv, places.curves_picture]
    columns = curves.columns()
    write_json(paths[0], {"format": 1, "dry_run": curves.dry_run, "best_epoch": curves.best_epoch, **columns})
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if value is None else repr(value) for value in row])
    write_text(paths[1], table.getvalue())
    from redheart.pictures import own_settings

    with own_settings():
        draw_curves(paths[2], curves)
    return paths


def draw_curves(path: Path, curves: Curves) -> None:
    """Draws loss, skills, gradient norm and learning rate over the epochs as one PNG."""
    from redheart.pictures import ConstrainedLayoutEngine, Figure, FigureCanvasAgg

    figure = Figure(figsize=(11, 6.6), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08), facecolor="white")
    FigureCanvasAgg(figure)
    (losses, skills), (gradients, rates) = figure.subplots(2, 2, sharex=True)
    _line(losses, curves.epochs, curves.train_loss, "train", COLOURS[0])
    _line(losses, curves.epochs, curves.choose_loss, "validation (choose)", COLOURS[5])
    for task, colour in zip(TASKS, cycle(COLOURS), strict=False):
        _line(skills, curves.epochs, curves.skills[task.name], task.name, colour)
    skills.axhline(0, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)))
    skills.annotate(
        "constant predictor",
        (0.995, 0),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=8,
        color=_INK,
    )
    _line(gradients, curves.epochs, curves.gradient_norm, "", COLOURS[2])
    _line(rates, curves.epochs, curves.learning_rate, "", COLOURS[3])
    titles = ("Loss", "Skill (choose)", "Gradient norm (mean over steps)", "Learning rate")
    for axes, title in zip((losses, skills, gradients, rates), titles, strict=True):
        _finish(axes, title, curves)
    norms = [norm for norm in curves.gradient_norm if norm]
    if norms and max(norms) > 20 * min(norms):
        gradients.set_yscale("log")
    rates.yaxis.set_major_formatter("{x:.3g}")
    if START_EPOCH in curves.epochs:  # in one legend: beside the tasks' names there is no room
        losses.plot([], color=_INK, label="start, before training", **_HOLLOW)
    for axes in (losses, skills):
        if axes.get_legend_handles_labels()[0]:  # above the axes, where no curve can run through it
            axes.legend(
                frameon=False,
                fontsize=8,
                ncols=5,
                loc="lower right",
                bbox_to_anchor=(1.01, 1.0),
                borderaxespad=0.1,
                columnspacing=1.1,
                handlelength=1.2,
                handletextpad=0.4,
            )
    if curves.dry_run:
        figure.suptitle("Dry run: weights did not change", color=COLOURS[5], fontsize=12)
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=130))


def _line(axes: Axes, epochs: list[int], values: Numbers, label: str, colour: str) -> None:
    measured = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
    if not measured:
        return
    marker = "o" if len(measured) <= 30 else ""  # a single epoch would else be invisible
    axes.plot(*zip(*measured, strict=True), label=label, color=colour, linewidth=1.8, marker=marker, markersize=3.5)
    if measured[0][0] == START_EPOCH:  # hollow: no epoch
        axes.plot(*measured[0], color=colour, **_HOLLOW)


def _finish(axes: Axes, title: str, curves: Curves) -> None:
    from redheart.pictures import MaxNLocator

    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK)
    axes.set_xlabel("epoch", color=_INK, fontsize=9)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK, labelsize=9, length=0, labelbottom=True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if curves.best_epoch is not None and len(curves.epochs) > 1:
        axes.axvline(curves.best_epoch, color=_INK, linewidth=0.9, linestyle=(0, (1, 2)))
        if title == "Loss":
            best = f"epoch {curves.best_epoch}" if curves.best_epoch != START_EPOCH else "the start, before training"
            axes.annotate(
                f" lowest total validation loss: {best} ",
                (curves.best_epoch, 1.0),
                xycoords=("data", "axes fraction"),
                va="top",
                ha="left" if curves.best_epoch <= (curves.epochs[0] + curves.epochs[-1]) / 2 else "right",
                fontsize=8,
                color=_INK,
            )
