"""The evaluation of a model on a split: losses, skills and each item's part of them, the same on every process.

Every process predicts its share; predictions are gathered and all numbers are computed from the whole, so that a
metric that is no mean over items (R², a rank correlation, F1) is right however the work was shared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from redheart.batches.order import Indices
from redheart.batches.out_of_memory import MemoryFailure, is_out_of_memory
from redheart.batches.table import SituationTable
from redheart.data.splits import Split
from redheart.errors import Interrupted
from redheart.evaluation.batch_size import EVALUATION_BATCH, BatchSize
from redheart.evaluation.metrics import item_errors, task_metrics
from redheart.facts.scores import ModuleScores, SplitScores, TaskScores
from redheart.messages import text
from redheart.model.losses import TERMS, compute_losses, item_sums, terms_of, valid_counts
from redheart.model.statistics import TargetStatistics, natural_units
from redheart.model.unified import Outputs
from redheart.progress import Progress
from redheart.tasks import MODULES, TASK_BY_NAME, TASKS

_STOPPED = "stopped while evaluating; the same command goes on from there"


@dataclass(frozen=True)
class Evaluation:
    """A model's numbers on one split.

    Attributes:
        loss: the training loss of the whole split, all terms.
        terms: each term of it, unweighted.
        tasks: metrics per task.
        modules: scores of each module's own prediction; the backbone's are the total and the mean skill.
        item_losses: ``(count,)`` what each item adds to the heads' part of the loss: the loss of what is served.
        item_errors: ``(count,)`` per task: KL divergence or mean squared error, NaN without a target.
        predictions, targets, masks: ``(count, dimensions)`` per task, in natural units.
    """

    split: str
    count: int
    loss: float
    terms: dict[str, float]
    tasks: dict[str, TaskScores]
    modules: dict[str, ModuleScores]
    item_losses: NDArray[np.float64]
    item_errors: dict[str, NDArray[np.float64]]
    predictions: dict[str, NDArray[np.float64]]
    targets: dict[str, NDArray[np.float64]]
    masks: dict[str, NDArray[np.bool_]]
    ids: list[str]

    @property
    def mean_skill(self) -> float | None:
        """Mean of the tasks' skills."""
        return _mean_skill(self.tasks)

    def scores(self) -> SplitScores:
        """The numbers alone, as records and manifests hold them."""
        return SplitScores(count=self.count, loss=self.loss, terms=self.terms, tasks=self.tasks, modules=self.modules)


def _mean_skill(tasks: Mapping[str, TaskScores]) -> float | None:
    skills = [task.skill for task in tasks.values() if task.skill is not None]
    return float(np.mean(skills)) if skills else None


def constant_predictor(task: str, statistics: TargetStatistics) -> NDArray[np.float64]:
    """What is always guessed by someone who knows the training split's targets and nothing else."""
    one = statistics.constant[task]
    return np.array(one.prior if TASK_BY_NAME[task].is_distribution else one.mean, dtype=np.float64)


def _flatten(outputs: Outputs) -> tuple[list[str], Tensor]:
    named = [
        *((f"p:{k}", v) for k, v in outputs.predictions.items()),
        *((f"a:{k}", v) for k, v in outputs.auxiliary.items()),
    ]
    widths = [f"{name}:{tensor.shape[1]}" for name, tensor in named]
    return widths, torch.cat([tensor.float() for _, tensor in named], dim=1)


def _unflatten(widths: list[str], flat: Tensor) -> Outputs:
    predictions: dict[str, Tensor] = {}
    auxiliary: dict[str, Tensor] = {}
    start = 0
    for entry in widths:
        kind, name, width = entry.split(":")
        (predictions if kind == "p" else auxiliary)[name] = flat[:, start : start + int(width)]
        start += int(width)
    return Outputs(predictions, auxiliary)


def _item_losses(outputs: Outputs, batch: Any, statistics: TargetStatistics) -> NDArray[np.float64]:
    """Each item's weighted share of the heads' terms, scaled so that the mean over items is the heads' loss."""
    counts = valid_counts(batch)
    total = np.zeros(len(batch), dtype=np.float64)
    for term in TERMS:
        if term.name.startswith("heads."):
            share = term.weight / counts[term.target].clamp(min=1.0)
            total += (item_sums(term, outputs, batch, statistics) * share).double().numpy()
    return total * len(batch)


def _module_skills(outputs: Outputs, batch: Any, statistics: TargetStatistics) -> dict[str, list[float]]:
    """Skill of each term's own prediction, by module."""
    found: dict[str, list[float]] = {}
    for term in terms_of(outputs):
        task = TASK_BY_NAME[term.task]
        module = next(m for m in MODULES if term.name == m or term.name.startswith(f"{m}."))
        raw = outputs.predictions[term.task] if module.startswith("heads.") else outputs.auxiliary[term.name]
        scored = task_metrics(
            task,
            batch.targets[term.target].double().numpy(),
            batch.target_mask[term.target].numpy(),
            natural_units(term.task, raw, statistics).double().numpy(),
            constant_predictor(term.task, statistics),
        )
        if scored.skill is not None:
            found.setdefault(module, []).append(scored.skill)
    return found


def _module_losses(loss: float, terms: dict[str, float]) -> dict[str, float]:
    losses = {"backbone": loss}
    for module in MODULES:
        own = [value for name, value in terms.items() if name == module or name.startswith(f"{module}.")]
        if own:
            losses[module] = float(np.mean(own))
    return losses


def _predict(
    model: nn.Module | Callable[..., Outputs],
    table: SituationTable,
    indices: Indices,
    batches: BatchSize,
    device: torch.device | str,
    autocast: Callable[[], Any],
    should_stop: Callable[[], bool],
    progress: Progress,
) -> tuple[list[str], Tensor]:
    """Names and widths of all outputs, and the outputs for ``indices`` side by side."""
    was_training = getattr(model, "training", False)
    widths: list[str] = []
    predicted: list[Tensor] = []
    done = 0
    if isinstance(model, nn.Module):
        model.eval()
    try:
        with torch.no_grad(), progress:
            while done < len(indices):
                if should_stop():
                    raise Interrupted(_STOPPED)
                failure: MemoryFailure | None = None
                try:
                    batch = table.batch(indices[done : done + batches.size]).to(device)
                    with autocast():
                        widths, flat = _flatten(model(*batch.inputs))
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error) or batches.ends(MemoryFailure.of(error, "evaluation")):
                        raise
                    failure = MemoryFailure.of(error, "evaluation")
                if batches.came_through(failure):
                    predicted.append(flat)
                    done += len(batch)
                    progress.update(len(batch))
    finally:
        if isinstance(model, nn.Module):
            model.train(was_training)
    return widths, torch.cat(predicted)


def predict_split(
    model: nn.Module | Callable[..., Outputs],
    table: SituationTable,
    split: Split,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = EVALUATION_BATCH,
    batches: BatchSize | None = None,
    rank: int = 0,
    world_size: int = 1,
    gather: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    autocast: Callable[[], Any] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outputs:
    """What ``model`` gives for the whole of ``split``, on the CPU; nothing is compared with a target.

    Args, Raises: as of ``evaluate_model``.
    """
    indices = table.split_indices[split]
    share = -(-len(indices) // world_size)
    padded = np.concatenate([indices, np.repeat(indices[:1], share * world_size - len(indices))])
    mine = padded[rank * share : (rank + 1) * share]
    progress = Progress(text("progress.evaluating", split=split), len(mine), is_shown=rank == 0, is_brief=True)
    widths, own = _predict(
        model,
        table,
        mine,
        batches or BatchSize(batch_size),
        device,
        autocast or contextlib.nullcontext,
        should_stop,
        progress,
    )
    return _unflatten(widths, gather(own).cpu()[: len(indices)])


def evaluate_model(
    model: nn.Module | Callable[..., Outputs],
    table: SituationTable,
    split: Split,
    *,
    statistics: TargetStatistics | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = EVALUATION_BATCH,
    batches: BatchSize | None = None,
    rank: int = 0,
    world_size: int = 1,
    gather: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    autocast: Callable[[], Any] | None = None,
    with_items: bool = True,
    predicted: Outputs | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Scores ``model`` on the whole of ``split``.

    Args:
        model: a ``UnifiedModel`` or an engine around one; put into evaluation mode and back.
        statistics: the training split's; the model's own if it is a bare ``UnifiedModel``.
        batches: how many situations are predicted at once, kept for later evaluations; None: ``batch_size``, fewer where memory
            runs out.
        rank, world_size, gather: this process, all of them, and concatenation over them; collective.
        with_items: compute ``item_losses`` (not needed while training).
        predicted: what ``predict_split`` gave of this model on this split: it is scored, and the model is not asked again.
        should_stop: asked before every batch; the answer must be the same on every process.

    Raises:
        Interrupted: ``should_stop`` said so.
        OutOfMemory: a single situation does not fit into memory.
    """
    if statistics is None:
        statistics = model.statistics  # type: ignore[union-attr,assignment]
    assert statistics is not None
    indices = table.split_indices[split]
    if predicted is not None and should_stop():
        raise Interrupted(_STOPPED)
    outputs = predicted or predict_split(
        model,
        table,
        split,
        device=device,
        batch_size=batch_size,
        batches=batches,
        rank=rank,
        world_size=world_size,
        gather=gather,
        autocast=autocast,
        should_stop=should_stop,
    )
    batch = table.batch(indices)
    losses = compute_losses(outputs, batch, statistics)
    loss = float(losses.total)
    terms = {name: float(value) for name, value in losses.terms.items()}

    predictions, targets, masks, tasks, errors = {}, {}, {}, {}, {}
    for task in TASKS:
        predictions[task.name] = natural_units(task.name, outputs.predictions[task.name], statistics).double().numpy()
        targets[task.name] = batch.targets[task.name].double().numpy()
        masks[task.name] = batch.target_mask[task.name].numpy()
        arrays = (targets[task.name], masks[task.name], predictions[task.name])
        scored = task_metrics(task, *arrays, constant_predictor(task.name, statistics))
        tasks[task.name] = msgspec.structs.replace(scored, loss=terms[f"heads.{task.name}"])
        errors[task.name] = item_errors(task, *arrays)

    skills = _module_skills(outputs, batch, statistics)
    mean_skill = _mean_skill(tasks)
    if mean_skill is not None:
        skills["backbone"] = [mean_skill]
    modules = {
        module: ModuleScores(loss=value, skill=float(np.mean(skills[module])) if module in skills else None)
        for module, value in _module_losses(loss, terms).items()
    }
    return Evaluation(
        split=split,
        count=len(indices),
        loss=loss,
        terms=terms,
        tasks=tasks,
        modules=modules,
        item_losses=_item_losses(outputs, batch, statistics) if with_items else np.zeros(0),
        item_errors=errors,
        predictions=predictions,
        targets=targets,
        masks=masks,
        ids=batch.ids,
    )
