"""The loss: a fixed weighted sum of terms, each a sum over annotated targets divided by their global count.

Weights never depend on what a batch happens to hold, and counts are those of the whole global batch, so the loss of a
batch is the sum of the losses of its parts, however it was cut. A term without targets is a zero with a graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from redheart.model.batch import Batch
from redheart.model.modules.phases import LEVEL_TARGETS, LEVELS
from redheart.model.statistics import TargetStatistics
from redheart.model.unified import Outputs
from redheart.tasks import ANALYZED_TASKS, TASK_BY_NAME, TASKS

#: Targets a batch may hold: the tasks, and the votes without labels standing in for them.
TARGETS: dict[str, str] = {**{task.name: task.name for task in TASKS}, "votes": "verdict"}


@dataclass(frozen=True, slots=True)
class Term:
    """One term: its name, the task that says what kind of loss it is, the target's key, and its weight in the total."""

    name: str
    task: str
    target: str
    weight: float


def _terms() -> tuple[Term, ...]:
    heads = [(f"heads.{task.name}", task.name, task.name) for task in TASKS]
    analyzers = [(f"neural_analyzers.{name}", name, name) for name in ANALYZED_TASKS]
    analyzers += [(f"phases.{level}", LEVELS[level], LEVEL_TARGETS[level]) for level in LEVELS]
    analyzers += [(name, "emotion", "emotion") for name in ("dsp_simulator", "kalman_filter")]
    wrappers = [(f"advanced_wrappers.{name}", name, name) for name in ANALYZED_TASKS]
    groups = ((0.60, heads), (0.25, analyzers), (0.15, wrappers))
    return tuple(Term(*entry, weight=share / len(group)) for share, group in groups for entry in group)


#: Heads 0.60, analyzers with phases, dsp and kalman 0.25, wrappers 0.15; inside a group all terms weigh the same.
TERMS = _terms()
HEAD_TERMS = tuple(term for term in TERMS if term.name.startswith("heads."))


def served_loss(terms: Mapping[str, float]) -> float:
    """The heads' weighted part of the loss: what auxiliary predictions cost does not reach who uses the model."""
    return sum(terms[term.name] * term.weight for term in HEAD_TERMS)


def terms_of(outputs: Outputs) -> list[Term]:
    """The terms that a model has: those whose prediction is there. Only parts that were left out have none."""
    return [term for term in TERMS if term.name.startswith("heads.") or term.name in outputs.auxiliary]


@dataclass(frozen=True, slots=True)
class Losses:
    """``total`` for the backward pass; ``terms`` by name, unweighted, with their graph."""

    total: Tensor
    terms: dict[str, Tensor]


def valid_counts(batch: Batch) -> dict[str, Tensor]:
    """Annotated items (distributions) or numbers (regressions) by target: fp32 scalars, to be summed over ranks."""
    return {
        name: _valid(batch.target_mask[name], TASK_BY_NAME[task].is_distribution).sum(dtype=torch.float32)
        for name, task in TARGETS.items()
    }


def compute_losses(
    outputs: Outputs,
    batch: Batch,
    statistics: TargetStatistics,
    counts: Mapping[str, Tensor] | None = None,
    *,
    label_smoothing: float = 0.0,
) -> Losses:
    """All terms that the model has, and their weighted sum; without a part its weight is missing from the sum.

    Args:
        counts: valid counts of the *global* batch by target; None: this batch's own. With them, losses of the
            micro-batches of a global batch add up to the loss of the whole; gradients that are then averaged over
            processes must be multiplied by their number.
        label_smoothing: share of the uniform distribution that is mixed into targets that are distributions (Szegedy et
            al. 2016, arXiv 1512.00567, §7). For training only: what is validated is the loss without it.
    """
    if counts is None:
        counts = valid_counts(batch)
    terms: dict[str, Tensor] = {}
    total = torch.zeros((), device=batch.segments.device)
    for term in terms_of(outputs):
        summed = item_sums(term, outputs, batch, statistics, label_smoothing).sum()
        terms[term.name] = summed / counts[term.target].clamp(min=1.0)
        total = total + term.weight * terms[term.name]
    return Losses(total, terms)


def item_sums(
    term: Term, outputs: Outputs, batch: Batch, statistics: TargetStatistics, label_smoothing: float = 0.0
) -> Tensor:
    """(batch,) what each item adds to the sum of ``term``: 0 for an item without a target."""
    _, _, task = term.name.partition("heads.")
    prediction = outputs.predictions[task] if task else outputs.auxiliary[term.name]
    target, mask = batch.targets[term.target], batch.target_mask[term.target]
    if label_smoothing and TASK_BY_NAME[term.task].is_distribution:
        target = (1.0 - label_smoothing) * target + label_smoothing / target.shape[-1]
    losses = _element_losses(prediction.float(), target, mask, term.task, statistics)
    return losses.reshape(len(prediction), -1).sum(dim=1)


def valid_targets(term: Term, batch: Batch) -> Tensor:
    """Which targets of ``term`` are annotated: (batch,) bool for distributions, (batch, dims) for numbers."""
    return _valid(batch.target_mask[term.target], TASK_BY_NAME[term.task].is_distribution)


def _element_losses(
    prediction: Tensor, target: Tensor, mask: Tensor, task: str, statistics: TargetStatistics
) -> Tensor:
    """(batch,) for distributions, (batch, dims) for numbers."""
    kind = TASK_BY_NAME[task].loss
    valid = _valid(mask, kind == "distribution")
    # Unannotated targets may hold anything; where() keeps a NaN there out of the sum, and out of the gradient.
    if kind == "distribution":
        loss = -(torch.where(mask, target, 0.0) * F.log_softmax(prediction, dim=-1)).sum(dim=-1)
    elif kind == "regression":
        loss = (prediction - torch.where(mask, statistics.standardise(task, target), 0.0)).square()
    else:
        standardised = torch.where(mask, statistics.standardise(task, target), 0.0)
        loss = F.huber_loss(prediction, standardised, reduction="none", delta=1.0)
    return torch.where(valid, loss, 0.0)


def _valid(mask: Tensor, is_distribution: bool) -> Tensor:
    """A distribution is annotated as a whole or not at all: (batch,); numbers one by one: (batch, dims)."""
    return mask.all(dim=-1) if is_distribution else mask
