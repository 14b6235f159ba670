"""Predictions as a table for people, and as one JSON object a text for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from redheart.messages import text
from redheart.messages.figures import signed
from redheart.prediction.inputs import ONLY_TEXT
from redheart.prediction.predictor import Prediction
from redheart.tasks import LABELS, TASK_BY_NAME, TASKS, Task

_BAR, _EIGHTHS = 24, " ▏▎▍▌▋▊▉"
_WIDTH = 96


def record(prediction: Prediction) -> dict[str, Any]:
    """The prediction under the names that a dataset has: what it says can be set beside what was annotated.

    ``id`` (null for a text that has none), ``emotions`` (7 shares that sum to 1, by name), ``regret_factor`` (0..1),
    ``bentham_scores`` and ``surd_metrics`` (0..1, by name), ``label`` (the likeliest verdict) and ``label_scores`` (the
    expected share of the votes for each, by name, summing to 1). Null stands for what the model was not trained on.
    """
    values = prediction.values

    def named(task: str) -> dict[str, float | None]:
        rounded = [None if value is None else round(value, 6) for value in values[task]]
        return dict(zip(TASK_BY_NAME[task].dimensions, rounded, strict=True))

    votes = values["verdict"]
    said = [(value, label) for value, label in zip(votes, LABELS, strict=True) if value is not None]
    return {
        "id": None if prediction.situation.id == ONLY_TEXT else prediction.situation.id,
        "emotions": named("emotion"),
        "regret_factor": named("regret")["regret"],
        "bentham_scores": named("bentham"),
        "surd_metrics": named("surd"),
        "label": max(said)[1] if said else None,
        "label_scores": named("verdict"),
    }


def as_json(prediction: Prediction) -> str:
    """One line."""
    return json.dumps(record(prediction), ensure_ascii=False)


def bar(share: float) -> str:
    """A bar for 0..1, to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, share)) * _BAR * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _skill(task: Task, manifest: Mapping[str, Any]) -> str:
    """How good the model is at this, where its checkpoint tells: on the split that chose it among others."""
    scored = ((manifest.get("selection") or {}).get("judge") or {}).get("tasks", {}).get(task.name) or {}
    if scored.get("skill") is None:
        return ""
    values = {key: signed(scored[key], 2) for key in ("skill", "low", "high") if scored.get(key) is not None}
    if len(values) < 3:
        return text("prediction.predict_skill", skill=values["skill"])
    return text("prediction.predict_skill_interval", **values)


def as_table(prediction: Prediction, manifest: Mapping[str, Any]) -> str:
    """The text's beginning, then a row a number with a small bar; distributions with the largest share first."""
    one = prediction.situation
    heading = " · ".join(part for part in (None if one.id == ONLY_TEXT else one.id, one.title) if part)
    lines = [heading] if heading else []
    lines.append(textwrap.shorten(one.text, _WIDTH, placeholder=" …"))
    for task in TASKS:
        lines.append("")
        lines.append(f"{task.name:<12}{_skill(task, manifest)}".rstrip())
        rows = list(zip(task.dimensions, prediction.values[task.name], strict=True))
        if task.is_distribution:
            rows.sort(key=lambda row: -(row[1] or 0.0))
        for name, value in rows:
            if value is None:
                lines.append(f"  {name:<14}{text('prediction.predict_untrained')}")
            else:
                number = f"{100 * value:5.1f} %" if task.is_distribution else f"{value:7.2f}"
                lines.append(f"  {name:<12}{number}  {bar(value)}".rstrip())
    return "\n".join(lines)
