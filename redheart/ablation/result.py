"""Results of an ablation, as typed rows and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from redheart.ablation.scores import METRICS
from redheart.ablation.worth import Worth, beyond_noise, worth_of
from redheart.config import TrainingConfig
from redheart.evaluation.bootstrap import Draws

METHOD = (
    "Worth is the score of the whole model less that without the group, in the direction of better, mean over the seeds, "
    "paired by seed and situation. Intervals are t intervals whose variance is the seeds' (sample variance) plus the "
    "situations' (bootstrap). Beyond noise: remains after control of the false discovery rate over all rows and metrics."
)


@dataclass(frozen=True)
class Row:
    """One variant.

    Attributes:
        parameters: how many it has.
        epochs: the chosen epoch, by seed.
        scores: by metric the score of each seed.
        worth: by metric; empty for the whole model, and without a metric that could not be scored.
    """

    variant: str
    parameters: int
    epochs: tuple[int, ...]
    scores: dict[str, tuple[float, ...]]
    worth: dict[str, Worth]

    @property
    def verdict(self) -> str:
        """In words: worth something, harmful, both, or nothing beyond noise; with the metrics that say so."""
        said = []
        for words, sign in (("worth something", 1), ("harmful", -1)):
            where = [
                metric.label
                for metric in METRICS
                if metric.name in self.worth
                and self.worth[metric.name].is_beyond_noise
                and self.worth[metric.name].mean * sign > 0
            ]
            if where:
                said.append(f"{words}: {', '.join(where)}")
        return "; ".join(said) or "nothing beyond noise"


class AblationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What all variants were trained with and on; ``counts``: situations by split."""

    dataset: str
    preset: str
    learning_rate: float
    epochs: int
    seeds: tuple[int, ...]
    counts: dict[str, int]
    training: TrainingConfig
    dropout: float


class StoredScore(msgspec.Struct, frozen=True):
    """One metric of one variant in ``ablation.json``."""

    mean: float
    by_seed: tuple[float, ...]


class StoredWorth(msgspec.Struct, frozen=True, kw_only=True):
    """A ``Worth`` in ``ablation.json``, with both ends of its interval."""

    mean: float
    margin: float
    p_value: float
    from_seeds: float
    from_situations: float
    is_beyond_noise: bool
    low: float
    high: float


class StoredRow(msgspec.Struct, frozen=True, kw_only=True):
    """A variant in ``ablation.json``; the whole model has neither worth nor verdict."""

    variant: str
    parameters: int
    chosen_epochs: tuple[int, ...]
    scores: dict[str, StoredScore]
    worth: dict[str, StoredWorth] | msgspec.UnsetType = msgspec.UNSET
    verdict: str | msgspec.UnsetType = msgspec.UNSET


class StoredResult(AblationSettings, frozen=True, kw_only=True):
    """The content of ``ablation.json``: the settings, and what was found."""

    confidence: float
    method: str
    metrics: dict[str, str]
    rows: tuple[StoredRow, ...]


@dataclass(frozen=True)
class AblationResult:
    """The whole table; the first row is the whole model."""

    settings: AblationSettings
    confidence: float
    rows: tuple[Row, ...]

    def to_json(self) -> object:
        """What ``ablation.json`` holds, in mappings, lists, text and numbers."""
        whole, *others = self.rows
        stored = StoredResult(
            **msgspec.structs.asdict(self.settings),
            confidence=self.confidence,
            method=METHOD,
            metrics={metric.name: "larger is better" if metric.sign > 0 else "smaller is better" for metric in METRICS},
            rows=(_stored(whole), *(_compared(row) for row in others)),
        )
        return msgspec.to_builtins(stored)


def _stored(row: Row) -> StoredRow:
    scores = {name: StoredScore(mean(values), values) for name, values in row.scores.items()}
    return StoredRow(variant=row.variant, parameters=row.parameters, chosen_epochs=row.epochs, scores=scores)


def _compared(row: Row) -> StoredRow:
    worth = {name: StoredWorth(**vars(one), low=one.low, high=one.high) for name, one in row.worth.items()}
    return msgspec.structs.replace(_stored(row), worth=worth, verdict=row.verdict)


def mean(values: tuple[float, ...]) -> float:
    return float(np.mean(values))


def deviation(values: tuple[float, ...]) -> float:
    """Sample standard deviation over the seeds."""
    return float(np.std(values, ddof=1))


def compare(
    rows: list[Row], scores: dict[str, list[dict[str, Draws]]], situations: int, confidence: float
) -> tuple[Row, ...]:
    """The rows with their worth filled in.

    Args:
        rows: the first is the whole model.
        scores: by variant, in the order of the seeds.
        situations: how many were scored.
    """
    whole, *others = rows
    worths: dict[tuple[str, str], Worth] = {}
    for row in others:
        for metric in METRICS:
            worth = worth_of(scores[whole.variant], scores[row.variant], metric, situations, confidence)
            if worth is not None:
                worths[row.variant, metric.name] = worth
    remaining = beyond_noise({key: worth.p_value for key, worth in worths.items()}, 1 - confidence)
    marked = {key: replace(worth, is_beyond_noise=key in remaining) for key, worth in worths.items()}
    return whole, *(
        replace(row, worth={name: worth for (variant, name), worth in marked.items() if variant == row.variant})
        for row in others
    )
