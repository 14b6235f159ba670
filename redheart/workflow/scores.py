"""An evaluation's scores, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from redheart.baseline.sentences import about_baseline, standings
from redheart.facts.comparison import BaselineDescription, Comparison, Estimate, Metric
from redheart.facts.evaluation import EvaluationRecord
from redheart.messages import text
from redheart.messages.figures import signed
from redheart.tasks import TASKS, Task

if TYPE_CHECKING:
    from redheart.evaluation.evaluate import Evaluation

#: What the table shows of a task: name of the metric, what it is called, how a number is written.
_OF_DISTRIBUTION = (
    ("skill", "skill", "signed"),
    ("kl", "KL divergence", "plain"),
    ("log_loss", "log-loss", "plain"),
    ("accuracy", "top-1", "percent"),
    ("macro_f1", "macro-F1", "plain"),
)
_OF_REGRESSION = (
    ("r2", "R²", "signed"),
    ("rank_correlation", "rank correlation", "signed"),
    ("mae", "mean error", "plain"),
)
_WIDTHS = (9, 6, 16, 24, 9, 24, 24)


@dataclass(frozen=True)
class Scored:
    """A checkpoint's numbers on a split.

    Attributes:
        baseline: what it is, or why there is none.
        left_out: situations that the model was made with before their texts were edited.
    """

    evaluation: Evaluation
    comparison: Comparison
    baseline: BaselineDescription
    left_out: int = 0


def record(scored: Scored) -> EvaluationRecord:
    """The part of an evaluation that is stored and printed."""
    evaluation = scored.evaluation
    return EvaluationRecord(
        split=evaluation.split,
        count=evaluation.count,
        loss=evaluation.loss,
        mean_skill=evaluation.mean_skill,
        terms=evaluation.terms,
        tasks=evaluation.tasks,
        modules=evaluation.modules,
        comparison=scored.comparison,
        baseline=scored.baseline,
        left_out=scored.left_out,
    )


def as_json(scored: Scored) -> str:
    return json.dumps(msgspec.to_builtins(record(scored)), indent=2, ensure_ascii=False)


def _number(value: float, style: str) -> str:
    if style == "percent":
        return f"{100 * value:.1f} %"
    return signed(value) if style == "signed" else f"{value:.4f}"


def _cell(estimate: Estimate | None, style: str) -> str:
    """A number with its interval."""
    if estimate is None:
        return "–"
    value = _number(estimate.value, style)
    if estimate.low is None or estimate.high is None:
        return value
    percent = style == "percent"
    low, high = (f"{100 * end:.0f}" if percent else _number(end, style) for end in (estimate.low, estimate.high))
    return f"{value} ({low} … {high})"


def _difference(metric: Metric, style: str) -> str:
    if metric.difference is None or style != "percent":
        return _cell(metric.difference, "signed")
    value, low, high = metric.difference.value, metric.difference.low, metric.difference.high
    ends = "" if low is None or high is None else f" ({signed(100 * low, 0)} … {signed(100 * high, 0)})"
    return f"{signed(100 * value, 1)} %{ends}"


def _line(*cells: str) -> str:
    return " ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def _rows(task: Task, scored: Scored) -> list[str]:
    metrics, count = scored.comparison.tasks[task.name].metrics, scored.evaluation.tasks[task.name].count
    if not metrics:
        return [_line(task.name, str(count), "no target to score", "", "", "", "")]
    rows: list[str] = []
    for name, label, style in _OF_DISTRIBUTION if task.is_distribution else _OF_REGRESSION:
        first = (task.name, str(count)) if not rows else ("", "")
        if name not in metrics:
            if name in ("skill", "r2"):
                rows.append(_line(*first, "skill" if name == "skill" else label, "–, targets all alike", "", "", ""))
            continue
        metric = metrics[name]
        if name == "skill":
            label = "skill (KL)" if task.skill == "kl_skill" else "skill (log-loss)"
        constant = "–" if metric.constant is None else _number(metric.constant + 0.0, style).lstrip("+")
        cells = (_cell(metric.model, style), constant, _cell(metric.baseline, style), _difference(metric, style))
        rows.append(_line(*first, label, *cells))
    return rows


def as_table(scored: Scored) -> str:
    """Each metric of each task beside the constant predictor's and the baseline's; then where the model stands, in words."""
    evaluation, comparison = scored.evaluation, scored.comparison
    confidence = f"{100 * comparison.confidence:.3g}"
    lines = [
        f"{evaluation.split}: {evaluation.count} situations, loss {evaluation.loss:.4f}; in brackets {confidence} % "
        f"intervals from {comparison.bootstrap_samples} resamples of the situations",
        "",
        _line("task", "items", "metric", "model", "constant", "rival", "model − rival"),
    ]
    for task in TASKS:
        lines += _rows(task, scored)
    if scored.left_out:
        lines += ["", text("crossover.left_out", counts=f"{evaluation.split} {scored.left_out}")]
    lines += ["", *standings(comparison, evaluation.split), *about_baseline(scored.baseline)]
    if evaluation.split == "choose":
        lines.append(text("baseline.on_choose"))
    elif evaluation.split == "judge":
        lines.append(text("baseline.on_judge"))
    lines.append(
        "skill and R²: 1 is perfect, 0 is the constant predictor of the training split, below 0 is worse than that"
    )
    return "\n".join(lines)
