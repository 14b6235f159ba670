"""The comparison of a model: each of its metrics beside the constant predictor's and the baseline's, with intervals.

Model and baseline are scored on the same resamples of the same situations, so the interval of their difference is a paired
one. Above or below is said only where that interval leaves 0 out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from redheart.evaluation.bootstrap import Draws, Resamples, side_of_zero
from redheart.evaluation.evaluate import Evaluation, constant_predictor
from redheart.evaluation.resampled_metrics import draw, measures_of
from redheart.facts.comparison import Comparison, Estimate, Metric, Standing, TaskComparison
from redheart.messages import text
from redheart.model.statistics import TargetStatistics
from redheart.progress import Progress
from redheart.tasks import TASKS, Task

Array = NDArray[np.float64]


def standing_of(difference: Estimate | None) -> Standing | None:
    """Where a difference of skills puts the model; an interval that touches 0 tells nothing."""
    if difference is None or difference.low is None or difference.high is None:
        return None
    side = side_of_zero(difference.low, difference.high)
    return "level" if side == "around" else side


def compare(
    evaluation: Evaluation,
    statistics: TargetStatistics,
    baseline: Mapping[str, Array],
    *,
    samples: int,
    confidence: float,
    seed: int,
    in_sample: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Puts the model beside the constant predictor and the baseline, on the situations of ``evaluation``.

    Args:
        statistics: the model's training split's: the constant predictor.
        baseline: its predictions ``(count, dimensions)`` by task, in natural units, for the situations of ``evaluation`` in
            their order; a task that it has no part in is absent.

    Raises:
        Interrupted: ``should_stop`` said so.
    """
    resamples = Resamples(evaluation.count, samples, seed, should_stop)
    tasks: dict[str, TaskComparison] = {}
    of_model: list[Draws] = []
    of_baseline: list[Draws] = []
    for task in Progress(text("progress.comparing", split=evaluation.split), len(TASKS), is_brief=True).over(TASKS):
        prediction = baseline.get(task.name)
        own, theirs, tasks[task.name] = _task(task, evaluation, statistics, prediction, resamples, confidence)
        if in_sample:
            tasks[task.name] = TaskComparison(tasks[task.name].metrics, None)
        if own is not None and (theirs is not None or not baseline):
            of_model.append(own)
            of_baseline += [theirs] if theirs is not None else []
    mean_skill = None
    if of_model:
        model, other = Draws.mean(of_model), Draws.mean(of_baseline) if of_baseline else None
        mean_skill = Metric(
            True,
            model.estimate(confidence),
            0.0,
            other.estimate(confidence) if other else None,
            (model - other).estimate(confidence) if other else None,
        )
    standing = None if mean_skill is None or in_sample else standing_of(mean_skill.difference)
    return Comparison(tasks, mean_skill, standing, confidence, samples, in_sample)


def _task(
    task: Task,
    evaluation: Evaluation,
    statistics: TargetStatistics,
    prediction: Array | None,
    resamples: Resamples,
    confidence: float,
) -> tuple[Draws | None, Draws | None, TaskComparison]:
    """The model's skill, the baseline's, and all metrics."""
    target, mask = evaluation.targets[task.name], evaluation.masks[task.name]
    constant = constant_predictor(task.name, statistics)
    predictions = {"model": evaluation.predictions[task.name], "constant": np.broadcast_to(constant, target.shape)}
    if prediction is not None:
        predictions["baseline"] = prediction
    measures = {who: measures_of(task, target, mask, guess, constant) for who, guess in predictions.items()}
    drawn = draw({f"{who}:{name}": one for who, found in measures.items() for name, one in found.items()}, resamples)
    metrics: dict[str, Metric] = {}
    for name, measure in measures["model"].items():
        own, theirs = drawn.get(f"model:{name}"), drawn.get(f"baseline:{name}")
        if own is None:
            continue
        fixed = drawn.get(f"constant:{name}")
        metrics[name] = Metric(
            measure.higher_is_better,
            own.estimate(confidence),
            fixed.value if fixed else None,
            theirs.estimate(confidence) if theirs else None,
            (own - theirs).estimate(confidence) if theirs else None,
        )
    standing = standing_of(metrics["skill"].difference) if "skill" in metrics else None
    return drawn.get("model:skill"), drawn.get("baseline:skill"), TaskComparison(metrics, standing)
