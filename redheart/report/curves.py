"""Training curves as JSON, as CSV and as a picture, from the records that training left."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redheart.checkpoint import START_EPOCH
from redheart.errors import StorageError
from redheart.storage import read_lines, replace_file, write_json, write_text
from redheart.tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = "plots"
NAME = "training_curves"

Numbers = list[float | None]

#: Okabe & Ito's colours, told apart with any colour vision; one a task, in the order of the table of tasks.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_INK, _FAINT = "#24292f", "#d8dee4"
_HOLLOW: dict[str, Any] = {"marker": "o", "markersize": 6, "markerfacecolor": "white", "linestyle": ""}


@dataclass(frozen=True)
class Curves:
    """One number an epoch; None where it was not measured.

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


def _number(record: Mapping[str, Any], *path: str) -> float | None:
    value: Any = record
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def read_curves(metrics_file: Path) -> Curves:
    """Reads the records; of an epoch that was run twice the last one counts, and of several starts.

    Raises:
        StorageError: the file is missing, damaged, or holds no epoch.
    """
    if not metrics_file.is_file():
        raise StorageError(f"{metrics_file}: not found; `redheart train` writes it")
    lines = [line for line in read_lines(metrics_file) if isinstance(line, dict)]
    found = {
        line["epoch"]: line for line in lines if line.get("kind") == "epoch" and isinstance(line.get("epoch"), int)
    }
    if not found:
        raise StorageError(f"{metrics_file}: holds no epoch yet; `redheart train` writes them")
    starts = [line for line in lines if line.get("kind") == "start"]
    if starts and isinstance(starts[-1].get("choose"), dict):
        found[START_EPOCH] = {"choose": starts[-1]["choose"]}  # alone: its learning rate is the schedule's peak
    epochs = sorted(found)
    records = [found[epoch] for epoch in epochs]
    return Curves(
        epochs=epochs,
        train_loss=[_number(record, "train", "loss") for record in records],
        choose_loss=[_number(record, "choose", "loss") for record in records],
        gradient_norm=[_number(record, "gradient", "total_norm_mean") for record in records],
        learning_rate=[_number(record, "learning_rate") for record in records],
        skills={
            task.name: [_number(record, "choose", "tasks", task.name, "skill") for record in records] for task in TASKS
        },
        dry_run=any(line.get("dry_run") is True for line in starts),
    )


def export_curves(output: Path) -> list[Path]:
    """Writes ``plots/training_curves.json``, ``.csv`` and ``.png`` under ``output``.

    Raises:
        StorageError: there are no records, or a file can't be written.
    """
    curves = read_curves(output / "metrics.jsonl")
    paths = [output / FOLDER / f"{NAME}.{ending}" for ending in ("json", "csv", "png")]
    columns = curves.columns()
    write_json(paths[0], {"format": 1, "dry_run": curves.dry_run, "best_epoch": curves.best_epoch, **columns})
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if value is None else repr(value) for value in row])
    write_text(paths[1], table.getvalue())
    draw_curves(paths[2], curves)
    return paths


def draw_curves(path: Path, curves: Curves) -> None:
    """Draws loss, skills, gradient norm and learning rate over the epochs as one PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(11, 6.6), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08), facecolor="white")
    FigureCanvasAgg(figure)
    (losses, skills), (gradients, rates) = figure.subplots(2, 2, sharex=True)
    _line(losses, curves.epochs, curves.train_loss, "train", COLOURS[0])
    _line(losses, curves.epochs, curves.choose_loss, "validation (choose)", COLOURS[5])
    for task, colour in zip(TASKS, COLOURS, strict=False):
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
    from matplotlib.ticker import MaxNLocator

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
