"""Scores as ``redheart evaluate`` leaves them under ``evaluation/``: a checkpoint on a split, beside the baseline."""

from __future__ import annotations

from pathlib import Path

import msgspec

from redheart.facts.comparison import BaselineDescription, Comparison
from redheart.facts.scores import ModuleScores, TaskScores
from redheart.storage import read_struct, write_json


class EvaluationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers, as ``redheart evaluate --json`` prints them.

    Attributes:
        left_out: situations that were not scored because the model was made with them before their texts were edited.
    """

    split: str
    count: int
    loss: float
    mean_skill: float | None
    terms: dict[str, float]
    tasks: dict[str, TaskScores]
    modules: dict[str, ModuleScores]
    comparison: Comparison
    baseline: BaselineDescription = msgspec.field(name="rival")
    left_out: int = 0


class StoredEvaluation(EvaluationRecord, frozen=True, kw_only=True):
    """The numbers, and of what.

    Attributes:
        weights: what tells the checkpoint's weights from others'; None where it is not known.
        dataset: the embedded dataset's path; ``data``: its name.
    """

    checkpoint: str
    weights: str | None
    dataset: str
    data: str


_FIX = "run `redheart evaluate` again, or remove it"


class _Whose(msgspec.Struct):
    weights: str | None = None
    split: str = ""


def save_evaluation(path: Path, evaluation: StoredEvaluation) -> None:
    """Writes it.

    Raises:
        StorageError: it could not be written; an earlier one is intact.
    """
    write_json(path, evaluation)


def load_evaluation(path: Path, weights: str | None, splits: tuple[str, ...]) -> StoredEvaluation | None:
    """What was stored in ``path``; None where it is of other weights, or of none of ``splits``.

    Raises:
        StorageError: it is damaged.
    """
    whose = read_struct(path, _Whose, fix=_FIX)
    if weights is None or whose.weights != weights or whose.split not in splits:
        return None
    return read_struct(path, StoredEvaluation, fix=_FIX)
