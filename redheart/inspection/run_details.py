"""A run in full: settings, data, where and how long it ran, its curve, what was chosen and delivered, and where the files are."""

from __future__ import annotations

import math
import statistics

import msgspec

from redheart.crossover.result import CrossoverResult
from redheart.facts.learning_rate import RateOrigin
from redheart.inspection.checkpoints import mean_skill
from redheart.inspection.run_settings import Setting
from redheart.inspection.runs import StoredRun, Summary, summary_of
from redheart.inspection.sizes import size_of
from redheart.paths import OutputPaths


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """A point of the curve; ``loss`` and ``mean_skill`` on ``choose``."""

    epoch: int
    train_loss: float | None = None
    loss: float | None = None
    mean_skill: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a split."""

    count: int
    loss: float | None
    mean_skill: float | None
    skills: dict[str, float | None]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How the crossover ended; ``epochs``: of the model that is delivered, by module."""

    outcome: str
    winner: str | None
    delivered: str
    epochs: dict[str, list[int]]
    scores: dict[str, Scores]
    sentences: list[str]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What ``redheart evaluate`` stored; ``data`` names what it was scored on."""

    file: str
    checkpoint: str
    data: str
    split: str
    count: int
    loss: float
    mean_skill: float | None


class StoredPath(msgspec.Struct, frozen=True):
    """A file or folder of the run, relative to it."""

    name: str
    bytes: int


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a run.

    Attributes:
        settings: those that are not at their defaults; ``settings_from``: the file that holds them.
        seconds: of all epochs on record; ``seconds_per_epoch``: their median; ``save_seconds``: of writing the last state.
        chosen: by module, the epoch that the analysis chose; None: there is no analysis, or there was nothing to choose.
        faults: of the files that could not be read.
    """

    summary: Summary
    settings: list[Setting]
    settings_from: str | None
    dataset: str | None
    dataset_identity: str | None
    counts: dict[str, int]
    parameters: int | None
    engine: str | None
    world_size: int | None
    device: str | None
    precision: str | None
    rate_origin: RateOrigin | None
    seconds: float | None
    seconds_per_epoch: float | None
    save_seconds: float | None
    epochs: list[Epoch]
    chosen: dict[str, int] | None
    verdict: Verdict | None
    evaluations: list[Evaluation]
    files: list[StoredPath]


def details_of(run: StoredRun) -> Details:
    """Gathers them."""
    described, record = run.description, run.record
    seconds = _seconds(run)
    return Details(
        summary=summary_of(run),
        settings=run.settings.changed(),
        settings_from=run.settings.source,
        dataset=described.dataset,
        dataset_identity=run.dataset,
        counts=run.counts,
        parameters=record.parameters if record else None,
        engine=described.engine or (record.engine if record else None),
        world_size=described.world_size or (record.world_size if record else None),
        device=described.device,
        precision=described.precision,
        rate_origin=described.rate_origin,
        seconds=sum(seconds) if seconds else None,
        seconds_per_epoch=statistics.median(seconds) if seconds else None,
        save_seconds=described.save_seconds,
        epochs=_curve(run),
        chosen=_chosen(run),
        verdict=_verdict(run),
        evaluations=_evaluations(run),
        files=_files(run),
    )


def _seconds(run: StoredRun) -> list[float]:
    """Of each epoch on record."""
    recorded = (one.seconds for one in (run.records.epochs.values() if run.records else ()))
    return [one for one in recorded if one is not None and math.isfinite(one)]


def _chosen(run: StoredRun) -> dict[str, int] | None:
    choices = run.references.analysis.choices if run.references.analysis else None
    return None if choices is None else {module: choice.epoch for module, choice in choices.items()}


def _evaluations(run: StoredRun) -> list[Evaluation]:
    return [
        Evaluation(
            file=path.name,
            checkpoint=one.checkpoint,
            data=one.data,
            split=one.split,
            count=one.count,
            loss=one.loss,
            mean_skill=one.mean_skill,
        )
        for path, one in run.evaluations.items()
    ]


def _curve(run: StoredRun) -> list[Epoch]:
    records = run.records.epochs if run.records else {}
    found = []
    for epoch in sorted(records.keys() | run.scores.keys()):
        record, scores = records.get(epoch), run.scores.get(epoch)
        found.append(
            Epoch(
                epoch=epoch,
                train_loss=record.train.loss if record and record.train else None,
                loss=scores.loss if scores else None,
                mean_skill=mean_skill(scores),
                learning_rate=record.learning_rate if record else None,
                seconds=record.seconds if record else None,
            )
        )
    return found


def _verdict(run: StoredRun) -> Verdict | None:
    result = run.references.result
    if result is None or not any(one.name == result.delivered for one in result.candidates):
        return None
    delivered = result[result.delivered]
    return Verdict(
        outcome=result.outcome,
        winner=result.winner,
        delivered=result.delivered,
        epochs=delivered.epochs,
        scores={
            split: Scores(
                count=score.count,
                loss=score.loss,
                mean_skill=score.mean_skill,
                skills={name: one.skill for name, one in score.tasks.items()},
            )
            for split, score in delivered.scores.items()
        },
        sentences=_sentences(result),
    )


def _sentences(result: CrossoverResult) -> list[str]:
    """None where the comparison lacks what they tell of: another program's, which has our file's form by chance."""
    from redheart.crossover.decision import explain  # needs numpy, which a list of runs does not

    try:
        return explain(result)
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def _files(run: StoredRun) -> list[StoredPath]:
    paths = OutputPaths(run.folder)
    there = [path for path in (*paths.of_a_run(), paths.settings) if path.exists()]
    return [StoredPath(f"{path.name}/" if path.is_dir() else path.name, size_of(path)) for path in sorted(there)]


def thinned(epochs: list[Epoch], most: int, *always: int | None) -> list[Epoch]:
    """At most about ``most`` of them, evenly spaced: the first, the last and ``always`` among them."""
    if len(epochs) <= most:
        return epochs
    places = {round(place * (len(epochs) - 1) / (most - 1)) for place in range(most)}
    return [one for place, one in enumerate(epochs) if place in places or one.epoch in always]
