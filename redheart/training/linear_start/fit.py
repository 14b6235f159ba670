"""The search for the start: each task's regression at each weight of the RBF activations, the one with the least error kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from redheart.batches.order import Indices
from redheart.batches.out_of_memory import MemoryFailure, is_out_of_memory
from redheart.batches.table import SituationTable
from redheart.messages import debug, text
from redheart.model.modules.views import linear_views
from redheart.model.statistics import TargetStatistics
from redheart.model.unified import normalise
from redheart.progress import Progress
from redheart.tasks import TASKS
from redheart.training.init_from import MIN_FOR_START
from redheart.training.linear_start.feature_space import FeatureSpace, smaller_start
from redheart.training.linear_start.logistic import fit_distribution
from redheart.training.linear_start.radial_space import RadialSpace
from redheart.training.linear_start.result import Attempt, LinearStart
from redheart.training.linear_start.ridge import fit_numbers
from redheart.training.linear_start.stopping import NEVER, Stopping

#: What the RBF activations may count beside the views, whose vectors have about unit length.
RADIAL_WEIGHTS = (2.0, 5.0)
_AT_ONCE = 512


def fit_linear_start(
    table: SituationTable,
    train: Indices,
    statistics: TargetStatistics,
    *,
    centres: int,
    stopping: Stopping = NEVER,
) -> LinearStart:
    """The best prediction of each task that is linear in the views and in the RBF activations to ``centres`` stories.

    Args:
        train: positions of the training situations; nothing else is looked at.
        centres: see ``centres_of``. They are training stories, evenly chosen; where there are fewer, all of them, and
            what lies halfway between two.

    Returns:
        In the model's units; a task with fewer than 20 annotated training situations is absent.

    Raises:
        Interrupted: ``stopping`` said so.
    """
    views = _views(table, train, stopping)
    # A vector that is no number is the training loop's affair: it names the batch and skips the step.
    usable = views.isfinite().all(dim=1).numpy()
    views, train = views[usable], train[usable]
    targets = np.stack([table.targets.mask[task.name][train].any(axis=1) for task in TASKS]).sum(axis=0)
    radial = RadialSpace(views, centres if len(views) else 0, targets)
    tries: dict[str, list[Attempt]] = {task.name: [] for task in TASKS}
    weights = RADIAL_WEIGHTS if radial.count else (0.0,)
    with Progress(text("progress.solving"), len(weights) * len(TASKS), is_brief=True) as progress:
        for weight in weights:
            # One at a time: its decompositions take hundreds of megabytes each.
            space = FeatureSpace(views, radial, weight)
            for task in TASKS:
                stopping.between()
                target = torch.from_numpy(table.targets.values[task.name][train]).double()
                known = table.targets.mask[task.name][train]
                if task.is_distribution:
                    rows = np.flatnonzero(known.all(axis=1))
                    if len(rows) >= MIN_FOR_START:
                        prior_log = torch.tensor(statistics[task.name].prior, dtype=torch.float64).log()
                        tries[task.name].append(fit_distribution(space, rows, target, prior_log, stopping))
                elif fitted := fit_numbers(
                    space, statistics.standardise(task.name, target.float()).double(), known, stopping
                ):
                    tries[task.name].append(fitted)
                progress.update()
    found = {name: min(its, key=lambda one: one.error).start for name, its in tries.items() if its}
    shown = ", ".join(
        f"{task} {min(one.penalties):.2g}–{max(one.penalties):.2g} (rbf_activations × {one.radial_weight:g})"
        for task, one in found.items()
    )
    debug(f"linear start from {len(train)} situations, {radial.count} centres, relative penalties: {shown}")
    return LinearStart(radial.centres.float(), radial.mean.float(), min(radial.count, len(views)), found)


def _views(table: SituationTable, train: Indices, stopping: Stopping) -> Tensor:
    """(situations, views) float32, in the order of ``train``; only what is solved for is made float64."""
    parts: list[Tensor] = []
    done, at_once = 0, _AT_ONCE
    while done < len(train):
        stopping.within()
        failure: MemoryFailure | None = None
        try:
            batch = table.batch(train[done : done + at_once])
            segments = normalise(batch.segments, batch.segment_mask)
            parts.append(linear_views(segments, batch.segment_mask, batch.kinds))
        except (RuntimeError, MemoryError, OSError) as error:
            if at_once == 1 or not is_out_of_memory(error):
                raise
            failure = MemoryFailure.of(error, "start")
        if failure is None:
            done += at_once
        else:
            at_once = smaller_start(failure, at_once)
    return torch.cat(parts)
