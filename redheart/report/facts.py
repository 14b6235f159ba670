"""Facts of the report, as the page reads them and as ``report.json`` holds them for programs.

A stage that did not run, and a file that can't be read, are facts too: each part has a ``status`` of ``present``,
``absent`` or ``damaged``, and the page says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from redheart.crossover.result import SoupIngredient
from redheart.embedding.language.reading import Reading
from redheart.facts.candidate import Difference, TaskSkill
from redheart.facts.comparison import BaselineDescription, Comparison
from redheart.facts.launches import Launches
from redheart.facts.memory import OomEvent
from redheart.storage import Json, Scalar
from redheart.training.run_folder import RunDescription

FORMAT = 1
Present = Literal["present"]
Numbers = list[float | None]
#: Of the training: columns by name, one number per epoch, beside what is said of all epochs.
TrainingFacts = dict[str, Scalar | Sequence[float | None]]


class Missing(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part that there is nothing of; ``problem``: what is wrong with the file at ``path``."""

    status: Literal["absent", "damaged"]
    path: str | None = None
    problem: str | None = None


class RunFacts(RunDescription, frozen=True, kw_only=True, omit_defaults=True):
    """What ``run.json`` and the run's record say."""

    finished: bool | None = None  # type: ignore[assignment]
    status: Literal["present", "absent", "damaged"]
    path: str | None = None
    problem: str | None = None
    preset: str | None = None
    parameters: int | None = None
    learning_rate: float | None = None


class SkillFacts(TaskSkill, frozen=True, kw_only=True):
    """The delivered model's skill in a task on a split; ``items``: those with a target."""

    items: int


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A task: its measure, and the delivered model's skill."""

    task: str
    measure: str
    judge: SkillFacts | None
    test: SkillFacts | None


class CandidateScore(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate on a split; ``skills`` by task."""

    count: int
    loss: float | None
    mean_skill: float | None
    difference: Difference | None
    skills: dict[str, float | None]


class CandidateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate of the crossover.

    Attributes:
        label: its name in words; so is ``identical_to``, an earlier candidate with the same weights.
        epochs: those of all modules alike; None where they differ.
        scores: by split.
    """

    name: str
    label: str
    identical_to: str | None
    is_control: bool
    is_delivered: bool
    epochs: list[int] | None
    epochs_by_module: dict[str, list[int]]
    scores: dict[str, CandidateScore]


class ResultFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the crossover came to.

    Attributes:
        better_controls: random crossovers with a lower judge loss than the crossover, of ``controls``.
    """

    status: Present = "present"
    outcome: str
    winner: str | None
    delivered: str
    delivered_label: str
    is_clear: bool
    sentences: list[str]
    confidence: float
    bootstrap_samples: int
    comparisons: int
    tasks: list[TaskRow]
    candidates: list[CandidateFacts]
    soup: list[SoupIngredient]
    better_controls: int
    controls: int


class BaselineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The delivered model beside the simple baseline; ``sentences`` and ``splits`` by split."""

    status: Present = "present"
    description: BaselineDescription
    about: list[str]
    sentences: dict[str, list[str]]
    splits: dict[str, Comparison]


class SweepFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The sweep.

    Attributes:
        chosen: what ``optimal_lr.json`` says; None where the sweep is not finished.
        tested: learning rates that were tried.
    """

    status: Present = "present"
    chosen: dict[str, Json] | None
    tested: int | None


class ModuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A module over the epochs, None where a number was not measured, and the epoch chosen for it.

    Attributes:
        not_kept: the free choice, where its weights were given up for room on the disk; left out where they were not.
    """

    module: str
    task: str | None
    chosen_epoch: int | None
    not_kept: int | msgspec.UnsetType = msgspec.UNSET
    confidence: float | None
    still_improving: bool
    reason: str | None
    loss: Numbers
    skill: Numbers
    gradient: Numbers
    relative_update: Numbers
    dead_fraction: Numbers


class ModulesFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All modules over the epochs."""

    status: Present = "present"
    epochs: list[int]
    weights_changed: bool
    rows: list[ModuleRow]


class SweetSpotFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The analysis: the epoch chosen for each module, and with which settings."""

    status: Present = "present"
    explanation: str
    dry_run: bool
    weights_changed: bool
    choices: dict[str, int]
    settings: dict[str, float]


class DatasetFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The data; ``is_bundled_sample`` None: it is not known which dataset it was; ``unread``: what its encoder can't read."""

    dataset: str | None
    is_bundled_sample: bool | None
    counts: dict[str, int]
    embedding_model: str
    unread: Reading | None = None


class OomFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What ``oom_stats.json`` says, see ``redheart.facts.memory.OomStats``."""

    status: Present = "present"
    count: int
    events: list[OomEvent]
    device: str
    final_micro_batch_size: int
    peak_device_bytes: int | None
    peak_host_bytes: int


class LaunchesFacts(Launches, frozen=True, kw_only=True):
    """What ``launches.json`` says."""

    status: Present = "present"


class GpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU of the machine."""

    name: str
    total_bytes: int


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that the report was written on; ``host_bytes``, ``disk_bytes``: what was free of memory and disk."""

    system: str
    cpu: str | None
    python: str
    cores: int
    host_bytes: int
    memory_bytes: int
    disk_bytes: int
    gpus: list[GpuFacts]


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A file under the output root, or a folder of many, summed up."""

    path: str
    files: int
    bytes: int


class ReportFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the report says. ``report.json`` calls the baseline ``rival``, and has no ``launches`` where there was none."""

    format: int = FORMAT
    written: str
    output: str
    dry_run: bool
    run: RunFacts
    result: ResultFacts | Missing
    baseline: BaselineFacts | Missing = msgspec.field(name="rival")
    sweep: SweepFacts | Missing
    training: TrainingFacts | Missing
    modules: ModulesFacts | Missing
    sweet_spots: SweetSpotFacts | Missing
    data: DatasetFacts
    oom: OomFacts | Missing
    launches: LaunchesFacts | Missing | msgspec.UnsetType = msgspec.UNSET
    machine: MachineFacts
    versions: dict[str, str | None]
    config: str
    files: list[FileFacts]
