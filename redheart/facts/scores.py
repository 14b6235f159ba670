"""Scores of a model on a split: a task's metrics, a module's, and all of them together, as records and manifests hold them.

None stands for what was not measured; a file leaves it out, or has null for it within a dimension.
"""

from __future__ import annotations

import msgspec


class DimensionScores(msgspec.Struct, frozen=True, kw_only=True):
    """One dimension of a regression, on the items where it is annotated.

    Attributes:
        r2, mae, mae_constant, mse: against the training split's mean, see ``redheart.evaluation.metrics``.
        rank_correlation: Spearman's.
    """

    count: int
    r2: float | None = None
    rank_correlation: float | None = None
    mae: float | None = None
    mae_constant: float | None = None
    mse: float | None = None


class TaskScores(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All metrics of one task: those of a distribution or those of a regression.

    Attributes:
        skill: the metric that the task declares; 0 is the constant predictor.
        count: items with a target.
        dimensions: of a regression, by name; those with at least two targets.
        loss: the task's term of the training loss.
    """

    skill: float | None = None
    count: int | None = None
    kl: float | None = None
    kl_constant: float | None = None
    kl_skill: float | None = None
    log_loss: float | None = None
    log_loss_constant: float | None = None
    log_loss_skill: float | None = None
    accuracy: float | None = None
    accuracy_constant: float | None = None
    macro_f1: float | None = None
    r2: float | None = None
    rank_correlation: float | None = None
    mae: float | None = None
    mae_constant: float | None = None
    mse: float | None = None
    dimensions: dict[str, DimensionScores] | None = None
    loss: float | None = None


class ModuleScores(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A module's own prediction: its loss, and the skill of its task."""

    loss: float | None = None
    skill: float | None = None


class SplitScores(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model on one split.

    Attributes:
        count: situations.
        loss: the training loss, all terms; ``terms``: each of them, unweighted.
    """

    count: int | None = None
    loss: float | None = None
    terms: dict[str, float] = {}
    tasks: dict[str, TaskScores] = {}
    modules: dict[str, ModuleScores] = {}

    def skill(self, task: str) -> float | None:
        """The skill of ``task``; None where it was not scored."""
        found = self.tasks.get(task)
        return None if found is None else found.skill
