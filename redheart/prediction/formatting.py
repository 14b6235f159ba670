"""Predictions as a table for people, and as one JSON object per text for programs."""

from __future__ import annotations

import json
import textwrap

import msgspec

from redheart.data.schema import FURTHER_TASKS
from redheart.facts.model import Selection
from redheart.messages import text
from redheart.messages.figures import signed
from redheart.prediction.inputs import ONLY_TEXT
from redheart.prediction.predictor import Prediction
from redheart.tasks import LABELS, TASK_BY_NAME, TASKS, Task

_BAR, _EIGHTHS = 24, " ▏▎▍▌▋▊▉"
_WIDTH = 96


class PredictionRecord(msgspec.Struct, frozen=True):
    """A prediction under the names that a dataset has: what it says can be set beside what was annotated.

    Null stands for what the model was not trained on.

    Attributes:
        id: null for a text that has none.
        emotions: 7 shares that sum to 1, by name.
        regret_factor: 0..1.
        bentham_scores, surd_metrics: 0..1, by name.
        label: the likeliest verdict.
        label_scores: the expected share of the votes for each, by name, summing to 1.
    """

    id: str | None
    emotions: dict[str, float | None]
    regret_factor: float | None
    bentham_scores: dict[str, float | None]
    surd_metrics: dict[str, float | None]
    label: str | None
    label_scores: dict[str, float | None]


def _named(prediction: Prediction, task: str) -> dict[str, float | None]:
    rounded = [None if value is None else round(value, 6) for value in prediction.values[task]]
    return dict(zip(TASK_BY_NAME[task].dimensions, rounded, strict=True))


def record(prediction: Prediction) -> PredictionRecord:
    """The prediction, to six decimals."""
    votes = prediction.values["verdict"]
    said = [(value, label) for value, label in zip(votes, LABELS, strict=True) if value is not None]
    return PredictionRecord(
        id=None if prediction.situation.id == ONLY_TEXT else prediction.situation.id,
        emotions=_named(prediction, "emotion"),
        regret_factor=_named(prediction, "regret")["regret"],
        bentham_scores=_named(prediction, "bentham"),
        surd_metrics=_named(prediction, "surd"),
        label=max(said)[1] if said else None,
        label_scores=_named(prediction, "verdict"),
    )


def as_json(prediction: Prediction) -> str:
    """One line: the record, and the fields of the tasks that came later."""
    further = {task.field: _named(prediction, task.name) for task in FURTHER_TASKS}
    return json.dumps({**msgspec.to_builtins(record(prediction)), **further}, ensure_ascii=False)


def bar(share: float) -> str:
    """A bar for 0..1, to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, share)) * _BAR * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _skill(task: Task, selection: Selection | None) -> str:
    """How good the model is at this, where its checkpoint tells: on the split that chose it among others."""
    scored = selection.judge.tasks.get(task.name) if selection else None
    if scored is None or scored.skill is None:
        return ""
    skill = signed(scored.skill, 2)
    if scored.low is None or scored.high is None:
        return text("prediction.predict_skill", skill=skill)
    return text(
        "prediction.predict_skill_interval", skill=skill, low=signed(scored.low, 2), high=signed(scored.high, 2)
    )


def as_table(prediction: Prediction, selection: Selection | None) -> str:
    """The text's beginning, then one row per number with a small bar; distributions with the largest share first."""
    one = prediction.situation
    heading = " · ".join(part for part in (None if one.id == ONLY_TEXT else one.id, one.title) if part)
    lines = [heading] if heading else []
    lines.append(textwrap.shorten(one.text, _WIDTH, placeholder=" …"))
    for task in TASKS:
        lines.append("")
        lines.append(f"{task.name:<12}{_skill(task, selection)}".rstrip())
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
