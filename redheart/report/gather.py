"""The gathering of the report's facts from the files that the stages wrote. Reads, and writes nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from redheart.baseline.sentences import about_baseline, standings
from redheart.checkpoint import START_EPOCH
from redheart.config import Config, resolved_yaml
from redheart.crossover import Candidate, CrossoverResult, candidate_label, load_result
from redheart.crossover.beside_baseline import load_beside_baseline
from redheart.crossover.decision import explain
from redheart.data.locate import EMBEDDED_ENDING, bundled_sample
from redheart.data.reader import read_dataset
from redheart.data.schema import Situation
from redheart.embedding.language.reading import Reading
from redheart.embedding.language.stored import read_reading
from redheart.embedding.paths import paths_in
from redheart.errors import DataError, NotYetDone, StorageError
from redheart.facts.candidate import Score
from redheart.facts.launches import read_launches
from redheart.facts.memory import read_oom_stats
from redheart.paths import OutputPaths
from redheart.report.curves import read_curves
from redheart.report.facts import (
    BaselineFacts,
    CandidateFacts,
    CandidateScore,
    DatasetFacts,
    LaunchesFacts,
    Missing,
    ModuleRow,
    ModulesFacts,
    OomFacts,
    ReportFacts,
    ResultFacts,
    RunFacts,
    SkillFacts,
    SweepFacts,
    SweetSpotFacts,
    TaskRow,
    TrainingFacts,
)
from redheart.report.surroundings import files_under, machine_facts, package_versions
from redheart.storage import read_json
from redheart.storage.structs import finite
from redheart.sweet_spot import Choice, load_analysis
from redheart.sweet_spot.curves import ModuleCurve, read_history
from redheart.tasks import MODULES, TASKS
from redheart.training.records import RunRecord, read_run_record
from redheart.training.run_folder import RunDescription, dataset_of_run, read_run

T = TypeVar("T")


def gather_facts(config: Config, output: Path) -> ReportFacts:
    """All facts of the run in ``output``."""
    record, paths = _run_record(output), OutputPaths(output)
    return ReportFacts(
        written=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        output=str(output.absolute()),
        dry_run=record is not None and record.dry_run,
        run=_run(output, record),
        result=_part(paths.candidates, lambda: _result(load_result(output))),
        baseline=_part(paths.beside_baseline, lambda: _baseline(output)),
        sweep=_part(paths.sweep, lambda: _sweep(paths)),
        training=_part(paths.metrics, lambda: _training(output)),
        modules=_part(paths.metrics, lambda: _modules(output)),
        sweet_spots=_part(paths.analysis, lambda: _sweet_spots(output)),
        data=_data(config, output, record),
        oom=_part(paths.oom_stats, lambda: OomFacts(**msgspec.structs.asdict(read_oom_stats(output)))),
        launches=_launches(output) if paths.launches.exists() else msgspec.UNSET,
        machine=machine_facts(output),
        versions=package_versions(),
        config=_config_text(config, output),
        files=files_under(output),
    )


def _part(path: Path, gather: Callable[[], T]) -> T | Missing:
    if not path.exists():
        return Missing("absent", str(path))
    try:
        return gather()
    except (NotYetDone, StorageError) as error:
        return Missing("damaged", str(path), str(error))
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # well-formed JSON of another shape than ours
        return Missing("damaged", str(path), f"{path}: {type(error).__name__}: {error}")


def _launches(output: Path) -> LaunchesFacts | Missing:
    return _part(OutputPaths(output).launches, lambda: LaunchesFacts(events=read_launches(output).events))


def _run_record(output: Path) -> RunRecord | None:
    return read_run_record(OutputPaths(output).metrics)  # the part "training" says what is wrong with the file


def _run(output: Path, record: RunRecord | None) -> RunFacts:
    """``run.json``, with what only the run's record knows."""
    described = _part(OutputPaths(output).run, lambda: read_run(output) or RunDescription())
    told = msgspec.structs.asdict(described)
    if isinstance(described, RunDescription):
        told["status"] = "present"
    if record is not None:
        told |= {"preset": record.preset, "parameters": record.parameters, "learning_rate": record.learning_rate}
        told["world_size"] = record.world_size if record.world_size is not None else told.get("world_size")
    return RunFacts(**told)


def _result(result: CrossoverResult) -> ResultFacts:
    scores = result[result.delivered].scores
    better, controls = result.better_controls()
    return ResultFacts(
        outcome=result.outcome,
        winner=result.winner,
        delivered=result.delivered,
        delivered_label=candidate_label(result.delivered),
        is_clear=result.is_clear,
        sentences=explain(result),
        confidence=result.confidence,
        bootstrap_samples=result.bootstrap_samples,
        comparisons=result.comparisons,
        tasks=[
            TaskRow(
                task=task.name,
                measure=task.skill,
                judge=_skill(scores.get("judge"), task.name),
                test=_skill(scores.get("test"), task.name),
            )
            for task in TASKS
        ],
        candidates=[_candidate(candidate, result.delivered) for candidate in result.candidates],
        soup=result.soup,
        better_controls=better,
        controls=controls,
    )


def _skill(score: Score | None, task: str) -> SkillFacts | None:
    if score is None:
        return None
    skill = score.tasks[task]
    return SkillFacts(skill.skill, skill.low, skill.high, skill.metrics, items=skill.metrics.count or 0)


def _baseline(output: Path) -> BaselineFacts | Missing:
    """The delivered model beside the simple baseline; an earlier model's comparison says nothing about this one."""
    result = load_result(output)
    found = load_beside_baseline(output, result[result.delivered].identity)
    if found is None:
        return Missing("absent")
    return BaselineFacts(
        description=found.baseline,
        about=about_baseline(found.baseline),
        sentences={split: standings(comparison, split) for split, comparison in found.splits.items()},
        splits=found.splits,
    )


def _candidate(candidate: Candidate, delivered: str) -> CandidateFacts:
    epochs = candidate.epochs
    same = len({tuple(chosen) for chosen in epochs.values()}) == 1
    return CandidateFacts(
        name=candidate.name,
        label=candidate_label(candidate.name),
        identical_to=candidate_label(candidate.identical_to) if candidate.identical_to else None,
        is_control=candidate.is_control,
        is_delivered=candidate.name == delivered,
        epochs=epochs["backbone"] if same else None,
        epochs_by_module=epochs,
        scores={
            split: CandidateScore(
                count=score.count,
                loss=score.loss,
                mean_skill=score.mean_skill,
                difference=score.difference,
                skills={name: skill.skill for name, skill in score.tasks.items()},
            )
            for split, score in candidate.scores.items()
        },
    )


def _sweep(paths: OutputPaths) -> SweepFacts:
    return SweepFacts(
        chosen=finite(dict(read_json(paths.optimal_lr))) if paths.optimal_lr.is_file() else None,
        tested=len(dict(read_json(paths.cumulative))) if paths.cumulative.is_file() else None,
    )


def _training(output: Path) -> TrainingFacts:
    curves = read_curves(OutputPaths(output).metrics)
    trained = sum(epoch != START_EPOCH for epoch in curves.epochs)
    return {
        "status": "present",
        "best_epoch": curves.best_epoch,
        "dry_run": curves.dry_run,
        "trained_epochs": trained,
        **curves.columns(),
    }


def _modules(output: Path) -> ModulesFacts:
    paths = OutputPaths(output)
    history = read_history(paths.metrics)
    choices = (load_analysis(output).choices if paths.analysis.is_file() else None) or {}
    return ModulesFacts(
        epochs=history.epochs.tolist(),
        weights_changed=history.weights_changed,
        rows=[_module(history.curves[module], choices.get(module)) for module in MODULES],
    )


def _module(curve: ModuleCurve, choice: Choice | None) -> ModuleRow:
    return ModuleRow(
        module=curve.module,
        task=curve.task,
        chosen_epoch=choice.epoch if choice else None,
        not_kept=choice.not_kept if choice and choice.not_kept is not None else msgspec.UNSET,
        confidence=choice.confidence if choice else None,
        still_improving=choice.still_improving if choice else False,
        reason=choice.reason if choice else None,
        loss=_measured(curve.loss),
        skill=_measured(curve.skill),
        gradient=_measured(curve.gradient_mean),
        relative_update=_measured(curve.relative_update),
        dead_fraction=_measured(curve.dead_fraction),
    )


def _measured(values: NDArray[np.float64]) -> list[float | None]:
    """None for what was not measured: JSON has no NaN."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _sweet_spots(output: Path) -> SweetSpotFacts:
    analysis = load_analysis(output)
    return SweetSpotFacts(
        explanation=str(analysis.explanation),
        dry_run=analysis.dry_run,
        weights_changed=analysis.weights_changed,
        choices={name: choice.epoch for name, choice in (analysis.choices or {}).items()},
        settings=analysis.settings,
    )


def _data(config: Config, output: Path, record: RunRecord | None) -> DatasetFacts:
    try:
        run = read_run(output) or RunDescription()
    except StorageError:
        run = RunDescription()  # the part "run" says what is wrong with it
    counts = run.counts or (record.counts if record else None) or {}
    return DatasetFacts(
        dataset=run.dataset or config.data.path,
        is_bundled_sample=_is_sample(dataset_of_run(output, run), counts),
        counts=counts,
        embedding_model=config.embedding.model,
        unread=_unread(output, run),
    )


def _unread(output: Path, run: RunDescription) -> Reading | None:
    """What the encoder can't read of the run's dataset, as embedding found it."""
    identity = run.identity.get("dataset") if run.identity else None
    if run.dataset is None or not isinstance(identity, str):
        return None
    # What was found is kept beside the vectors, which may be there without it.
    dataset = dataset_of_run(output, run) or Path(run.dataset)
    return read_reading(paths_in(dataset.parent, dataset).vectors, identity)


def _is_sample(path: Path | None, counts: dict[str, int]) -> bool | None:
    """Whether the embedded dataset holds the bundled sample; None where it is not known which dataset it was."""
    sample = bundled_sample()
    if path is None or not sample.exists():
        return None
    if path.name != f"{sample.stem}{EMBEDDED_ENDING}" and path.name != sample.name:
        return False
    try:
        own = _contents(sample)
        if sum(counts.values()) != len(own):  # the cheap question first: another file of this name may be large
            return False
        return own == _contents(path)
    except DataError:
        return None


def _contents(dataset: Path) -> dict[str, Situation]:
    """Texts and annotations by id, whether they were embedded or not: an edited copy is no longer what it was copied from."""
    return {one.id: dataclasses.replace(one, embedding_key=None) for one in read_dataset(dataset)}


def _config_text(config: Config, output: Path) -> str:
    """What the training resolved to, where there was one; else what was asked for now."""
    stored = OutputPaths(output).settings
    try:
        return stored.read_text(encoding="utf-8") if stored.is_file() else resolved_yaml(config)
    except (OSError, UnicodeDecodeError):
        return resolved_yaml(config)
