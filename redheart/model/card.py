"""The model card, from an exported folder's ``config.json`` and evaluations; no number comes from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import redheart
from redheart.facts.comparison import Estimate
from redheart.facts.evaluation import StoredEvaluation
from redheart.facts.model import Selection
from redheart.tasks import TASK_BY_NAME, TASKS

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from redheart.model.exported import ExportableModel

_TEMPLATE = Path(__file__).with_name("card.md.jinja")
_PURPOSES = {
    "train": "train on",
    "choose": "choose epochs and learning rate with",
    "judge": "judge finished models with",
    "test": "test with",
}
#: Metric -> what it is called, and how a number is written. In this order.
_METRICS = {
    "skill": ("skill", "+.3f"),
    "kl": ("KL divergence", ".4f"),
    "log_loss": ("log-loss", ".4f"),
    "accuracy": ("top-1 accuracy", ".3f"),
    "macro_f1": ("macro-F1", ".3f"),
    "r2": ("R²", "+.3f"),
    "rank_correlation": ("rank correlation", "+.3f"),
    "mae": ("mean absolute error", ".4f"),
}


def write_card(model: ExportableModel, evaluations: Sequence[StoredEvaluation] = ()) -> str:
    """The card's text, with its metadata in front.

    Args:
        evaluations: what ``redheart evaluate`` stored of exactly these weights, with ``data``, the dataset's name.
    """
    import jinja2
    from huggingface_hub import ModelCardData

    facts = model.facts
    annotated = {
        name: max(counts) for name, counts in (facts.target_counts or {}).items() if name in TASK_BY_NAME and counts
    }
    title = f"Red Heart {model.config.preset}"
    metadata = ModelCardData(
        library_name="redheart",
        tags=["model_hub_mixin", "pytorch_model_hub_mixin", "redheart"],
    )
    if results := _results(evaluations):
        metadata.model_name, metadata.eval_results = title, results
    tables = [_table(one) for one in evaluations] or _of_selection(facts.selection)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        title=title,
        export={"version": redheart.__version__, "parameters": sum(one.numel() for one in model.parameters())},
        model=model.config.to_json(),
        tasks=[
            {
                "name": task.name,
                "what": "shares that sum to 1" if task.is_distribution else "numbers from 0 to 1",
                "dimensions": task.dimensions,
            }
            for task in TASKS
        ],
        purposes=_PURPOSES,
        annotated=annotated,
        facts=facts,
        tables=tables,
        where="this/folder",
        licence=redheart.__license__,
    )
    return f"---\n{metadata.to_yaml()}\n---\n\n{text}"


@dataclass(frozen=True)
class _Table:
    """Scores as rows of text.

    Attributes:
        of: which data, as the end of a phrase.
        samples: resamples of the situations; None where it is not known.
    """

    count: int
    split: str
    of: str
    confidence: str
    samples: int | None
    note: str
    rows: list[tuple[str, ...]]


def _table(evaluation: StoredEvaluation) -> _Table:
    """An evaluation as rows of text, each metric beside the constant predictor's and the baseline's."""
    comparison = evaluation.comparison
    rows: list[tuple[str, ...]] = []
    for task, scored in comparison.tasks.items():
        for metric, (label, style) in _METRICS.items():
            if one := scored.metrics.get(metric):
                constant = "–" if one.constant is None else format(one.constant, style.lstrip("+"))
                cells = (_cell(one.model, style), constant, _cell(one.baseline, style))
                rows.append((f"`{task}`", label, *cells))
    left_out = evaluation.left_out
    without = f" (without {left_out} that the model was made with before their texts were edited)" if left_out else ""
    return _Table(
        count=evaluation.count,
        split=evaluation.split,
        of=f" of `{evaluation.data}`{without}",
        confidence=f"{100 * comparison.confidence:.3g} %",
        samples=comparison.bootstrap_samples,
        note="",
        rows=rows,
    )


def _of_selection(selection: Selection | None) -> list[_Table]:
    """The skills by which the model was chosen, where nothing better is known."""
    if selection is None:
        return []
    rows: list[tuple[str, ...]] = [
        (f"`{task}`", "skill", _cell(Estimate(one.skill, one.low, one.high), "+.3f"), "0", "–")
        for task, one in selection.judge.tasks.items()
        if one.skill is not None
    ]
    return [
        _Table(
            count=selection.judge.count,
            split=selection.decided_on,
            of="",
            confidence="bootstrap",
            samples=None,
            note=" By these numbers it was chosen among several models, so they are a little too good.",
            rows=rows,
        )
    ]


def _cell(estimate: Estimate | None, style: str) -> str:
    """A number with its interval, if it has one."""
    if estimate is None:
        return "–"
    value = format(estimate.value, style)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({format(estimate.low, style)} … {format(estimate.high, style)})"


def _results(evaluations: Sequence[StoredEvaluation]) -> list[EvalResult]:
    """The same for programs: each task's loss-like metric and skill."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="other",
            task_name=task,
            dataset_type=evaluation.data,
            dataset_name=evaluation.data,
            dataset_split=evaluation.split,
            metric_type=metric,
            metric_name=f"{task}: {_METRICS[metric][0]}",
            metric_value=scored.metrics[metric].model.value,
        )
        for evaluation in evaluations
        for task, scored in evaluation.comparison.tasks.items()
        for metric in ("skill", "kl", "log_loss", "r2", "mae")
        if metric in scored.metrics
    ]
