"""The identity of a sweep, and the paths of its files.

A sweep's identity is a hash of what its trials mean – the sweep's range and sizes, model, optimizer, batch, data,
seed – so the same command goes on where it stopped, and a changed one starts a new sweep against the whole history.
``force`` starts another generation of the same identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from redheart.config import Config, SweepConfig
from redheart.storage import fingerprint
from redheart.storage.structs import Settings, read_struct
from redheart.sweep.planner import StagePlan
from redheart.sweep.publish import publish_once
from redheart.sweep.trials import trial_name
from redheart.training.identity import trial_identity

SWEEPS_FOLDER = "sweeps"
#: Settings of the sweep section that decide where trials run, not what they compute.
_NOT_IDENTITY = ("workers",)


def sweep_identity(config: Config, dataset_identity: str) -> str:
    """Sixteen hex digits: equal for two sweeps whose trials mean the same."""
    section = msgspec.to_builtins(config.sweep)
    for name in _NOT_IDENTITY:
        section.pop(name)
    return fingerprint({"sweep": section, "trial": trial_identity(config, dataset_identity), "seed": config.seed})


class SweepDescription(msgspec.Struct, frozen=True, omit_defaults=True):
    """``sweep.json``: what the sweep of this folder is, and what its trials were made with.

    Attributes:
        trial: what a trial means, see ``trial_identity``, with preset and precision settled; None in older files.
        data: the dataset's path.
        texts: the identity of its texts, which that of the data may miss; None in older files.
    """

    identity: str
    seed: int
    sweep: SweepConfig
    trial: Settings | None = None
    data: str | None = None
    texts: str | None = None


def data_identity(dataset_identity: str, texts: str, results: Path) -> str:
    """The data's identity as the sweeps in ``results`` have it: told apart from that of the same vectors with other texts.

    A dataset's own has the texts by the keys of their vectors; those of vectors that a file brought don't change with a text, whose
    hash decides on which side it is. Sweeps of before, which kept no texts, count for any.

    Raises:
        StorageError: a sweep's file is damaged.
    """
    there = {
        one.texts
        for path in (results / SWEEPS_FOLDER).glob("*/sweep.json")
        if (one := read_struct(path, SweepDescription)).texts is not None
        and one.trial is not None
        and one.trial.get("dataset") == dataset_identity
    }
    if not there or texts in there:
        return dataset_identity
    return fingerprint({"dataset": dataset_identity, "texts": texts})


def describe_sweep(results: Path, name: str | None) -> SweepDescription | None:
    """What the sweep ``name`` was made with; None where nothing is left of it.

    Raises:
        StorageError: its file is damaged.
    """
    path = results / SWEEPS_FOLDER / (name or "") / "sweep.json"
    return read_struct(path, SweepDescription) if path.is_file() else None


@dataclass(frozen=True)
class Sweep:
    """One sweep's place: ``<results>/sweeps/<identity>-<generation>/``.

    Attributes:
        results: the folder ``lr_sweep_results``.
        name: identity and generation, the first part of its trials' names.
    """

    results: Path
    name: str
    stages: int
    points: int

    @property
    def folder(self) -> Path:
        return self.results / SWEEPS_FOLDER / self.name

    @property
    def claims_folder(self) -> Path:
        return self.folder / "claims"

    def plan_file(self, stage: int) -> Path:
        return self.folder / f"plan_stage{stage}.json"

    def plan(self, stage: int) -> StagePlan | None:
        """The written plan of a stage, or None when there is none yet.

        Raises:
            StorageError: the file is damaged.
        """
        path = self.plan_file(stage)
        return (
            read_struct(path, StagePlan, fix="put it back from a copy, or begin anew with `redheart sweep --force`")
            if path.exists()
            else None
        )

    def publish_plan(self, plan: StagePlan) -> bool:
        """Writes the plan of its stage. False: another's is there already, and stays."""
        return publish_once(self.plan_file(plan.stage), msgspec.to_builtins(plan))

    def trial_names(self, stage: int) -> list[str]:
        return [trial_name(self.name, stage, point) for point in range(self.points)]

    @property
    def total(self) -> int:
        return self.stages * self.points


def sweeps_of(results: Path, identity: str) -> list[int]:
    """The generations of ``identity`` that lie in ``results``."""
    return [int(path.name.rpartition("-")[2]) for path in (results / SWEEPS_FOLDER).glob(f"{identity}-*")]


def open_sweep(
    config: Config,
    identity: str,
    results: Path,
    *,
    trial: Settings | None = None,
    data: Path | None = None,
    texts: str | None = None,
    force: bool = False,
) -> Sweep:
    """The newest generation of ``identity``; made where there is none, or under ``force``.

    Array jobs call it from many machines at once: all get the same one (without ``force``).

    Args:
        trial, data, texts: kept with a new one, see ``SweepDescription``.
    """
    folder = results / SWEEPS_FOLDER
    generation = max(sweeps_of(results, identity), default=0)
    path = None if data is None else str(data)
    description = msgspec.to_builtins(SweepDescription(identity, config.seed, config.sweep, trial, path, texts))
    if force or not generation:
        generation += 1
        while not publish_once(folder / f"{identity}-{generation}" / "sweep.json", description) and force:
            generation += 1
    return Sweep(results, f"{identity}-{generation}", config.sweep.stages, config.sweep.points)
