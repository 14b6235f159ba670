"""Paths under the output root: each name that a stage writes or reads there, and its owner (run or folder), defined once.

A run's own are moved away together when another run takes the same folder, so a new stage's name that is declared here as a
run's can't be left behind.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, overload

#: Whose a name in the output root is. ``run``: one run's, moved away with it. ``settings``: goes with a run, but alone it is no
#: run's, because a user may keep their settings there. ``output``: of the folder, whatever runs come and go.
Owner = Literal["run", "settings", "output"]


#: Where a run lies unless ``--output`` says otherwise.
DEFAULT_OUTPUT = "training"


class Place:
    """A path relative to the output root; of an ``OutputPaths`` the path itself.

    Attributes:
        relative: with ``/`` between its parts.
        owner: None for what lies within another place, which is then its owner's.
    """

    def __init__(self, relative: str, owner: Owner | None = None) -> None:
        self.relative, self.owner = relative, owner

    @property
    def name(self) -> str:
        """The last part."""
        return self.relative.rpartition("/")[2]

    def within(self, name: str) -> Place:
        """``name`` in this folder."""
        return Place(f"{self.relative}/{name}")

    @overload
    def __get__(self, instance: None, owner: type) -> Place: ...

    @overload
    def __get__(self, instance: OutputPaths, owner: type) -> Path: ...

    def __get__(self, instance: OutputPaths | None, owner: type) -> Place | Path:
        return self if instance is None else instance.root / self.relative


def _of_a_run(name: str) -> Place:
    return Place(name, "run")


def _of_the_output(name: str) -> Place:
    return Place(name, "output")


def output_around(path: Path) -> Path | None:
    """The output folder of a run that ``path`` lies in, or is; the innermost."""
    whole = path.resolve()
    for folder in (whole, *whole.parents):
        paths = OutputPaths(folder)
        if any(os.path.exists(one) for one in (paths.run, paths.metrics, paths.sweep, paths.lock)):
            return folder
    return None


class OutputPaths:
    """Where everything lies in one output folder.

    ``OutputPaths(output).metrics`` is a path; ``OutputPaths.metrics`` the place, with its ``name``.
    """

    # What training writes.
    run = _of_a_run("run.json")
    metrics = _of_a_run("metrics.jsonl")
    trained_on = _of_a_run("trained_on.json")
    checkpoints = _of_a_run("checkpoints")
    resume = checkpoints.within("resume")
    tensorboard = _of_a_run("tensorboard")
    oom_folder = _of_a_run("oom_stats")
    oom_stats = oom_folder.within("oom_stats.json")
    launches = oom_folder.within("launches.json")
    settings = Place("config.yaml", "settings")
    consolidated = _of_a_run("consolidated")

    # What is made of it.
    sweet_spots = _of_a_run("sweet_spot_analysis")
    analysis = sweet_spots.within("sweet_spot_analysis.json")
    analysis_text = sweet_spots.within("sweet_spot_report.md")
    crossover = _of_a_run("crossover")
    candidates = crossover.within("candidates.json")
    beside_baseline = crossover.within("rival.json")
    combined = _of_a_run("crossover_final.pth")
    best_model = _of_a_run("best_model")
    evaluation = _of_a_run("evaluation")
    plots = _of_a_run("plots")
    curves_json = plots.within("training_curves.json")
    curves_csv = plots.within("training_curves.csv")
    curves_picture = plots.within("training_curves.png")
    report = _of_a_run("report")
    report_facts = report.within("report.json")
    report_page = report.within("report.html")

    # What several runs share.
    embeddings = _of_the_output("embeddings")
    sweep = _of_the_output("lr_sweep_results")
    optimal_lr = sweep.within("optimal_lr.json")
    chosen_for = sweep.within("chosen_for.json")
    cumulative = sweep.within("lr_sweep_cumulative.json")
    ablation = _of_the_output("ablation")
    liveness = _of_the_output("liveness.json")
    previous = _of_the_output("previous")
    stages = _of_the_output("stages.json")
    launch = _of_the_output("launch.yaml")
    log = _of_the_output("redheart.log")
    lock = _of_the_output(".run.lock")
    lock_holder = _of_the_output(".run.json")

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @classmethod
    def declared(cls) -> list[Place]:
        """All places, those within others too."""
        return [value for value in vars(cls).values() if isinstance(value, Place)]

    def of_a_run(self) -> list[Path]:
        """What is one run's, whether it is there or not."""
        return [self.root / place.relative for place in self.declared() if place.owner == "run"]

    def command(self, words: str) -> str:
        """``redheart`` and ``words``, for messages: as it is typed to act on this folder."""
        from redheart.storage.names import as_typed  # the command line imports this file before it needs more

        elsewhere = "" if str(self.root) == DEFAULT_OUTPUT else f" --output {as_typed(self.root)}"
        return f"redheart {words}{elsewhere}"

    @property
    def training_command(self) -> str:
        """What goes on with the run here, for messages: with other settings than its own it would be moved out of the way."""
        from redheart.storage.names import as_typed  # the command line imports this file before it needs more

        return f"redheart train --config {as_typed(self.settings)}" if self.settings.exists() else "redheart train"

    @property
    def launch_command(self) -> str:
        """The same under a supervisor, which starts it again where that helps."""
        return (
            self.training_command.replace("redheart train", "redheart launch train", 1)
            if self.settings.exists()
            else self.command("launch train")
        )

    def undeclared(self) -> list[str]:
        """Names in the output root that nothing here declares."""
        known = {place.relative for place in self.declared() if place.owner is not None}
        return sorted(path.name for path in self.root.iterdir() if path.name not in known)
