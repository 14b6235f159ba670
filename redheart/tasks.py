"""The table of tasks: what is predicted; heads, masks, losses, metrics and report follow from it.

Another annotation scheme is another table, not another program. A task names the field of the dataset that
holds its target, the dimensions of that target in their fixed order, and how it is trained and scored.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

EMOTIONS = ("joy", "trust", "fear", "surprise", "sadness", "disgust", "anger")
LABELS = ("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO")
BENTHAM_REQUIRED = ("intensity", "duration", "certainty", "propinquity")
BENTHAM_OPTIONAL = ("fecundity", "purity", "extent")
SURD = ("selection", "uncertainty", "risk", "decision")

LossKind = Literal["distribution", "regression", "robust_regression"]


class Task(NamedTuple):  # no dataclass, which would load `inspect`: `--help` waits for this file
    """One prediction that counts.

    Attributes:
        name: the task's name everywhere: in module names, metrics and the report.
        field: the field of a situation that holds its target.
        dimensions: names of the target's numbers, in order.
        loss: ``distribution`` – cross-entropy against a distribution over the dimensions; ``regression`` –
            squared error per dimension; ``robust_regression`` – Huber (both on targets standardised by the
            training split).
        skill: the headline metric, larger is better, 0 for the constant predictor fitted on the training split.
        is_analyzed: it has an analyzer tower and a wrapper tower; else its head reads all analyzers and the sequence.
    """

    name: str
    field: str
    dimensions: tuple[str, ...]
    loss: LossKind
    skill: str
    is_analyzed: bool = True

    @property
    def is_distribution(self) -> bool:
        return self.loss == "distribution"


TASKS: tuple[Task, ...] = (
    Task("emotion", "emotions", EMOTIONS, "distribution", "kl_skill"),
    Task("bentham", "bentham_scores", BENTHAM_REQUIRED + BENTHAM_OPTIONAL, "regression", "r2"),
    Task("regret", "regret_factor", ("regret",), "robust_regression", "r2"),
    Task("surd", "surd_metrics", SURD, "regression", "r2"),
    Task("verdict", "label", LABELS, "distribution", "log_loss_skill", is_analyzed=False),
)
TASK_BY_NAME = {task.name: task for task in TASKS}

#: Tasks with an analyzer tower and a wrapper tower. The verdict is read off the other four and the sequence.
ANALYZED_TASKS = tuple(task.name for task in TASKS if task.is_analyzed)

#: The unit of everything after training: retention, sweet spots, crossover, one safetensors file each.
MODULES: tuple[str, ...] = (
    "backbone",
    *(f"heads.{task.name}" for task in TASKS),
    *(f"neural_analyzers.{name}" for name in ANALYZED_TASKS),
    *(f"advanced_wrappers.{name}" for name in ANALYZED_TASKS),
    "phases",
    "dsp_simulator",
    "kalman_filter",
)
#: What an ablation removes one at a time: the modules by the first part of their names.
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(module.partition(".")[0] for module in MODULES))
#: The task whose loss and skill on ``choose`` are a module's own curve; None: the total loss and mean skill.
MODULE_TASK: dict[str, str | None] = {
    "backbone": None,
    **{module: module.split(".")[1] for module in MODULES if "." in module},
    "phases": "emotion",
    "dsp_simulator": "emotion",
    "kalman_filter": "emotion",
}
