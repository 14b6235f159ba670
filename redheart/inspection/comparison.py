"""Runs side by side: settings that differ, whether the data is the same, and the numbers, with what keeps them from being compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from redheart.errors import StorageError, UsageError
from redheart.inspection.run_settings import DEFAULTS
from redheart.inspection.runs import StoredRun, Summary, open_run, skills_of, summary_of
from redheart.paths import OutputPaths
from redheart.storage import Json, read_struct
from redheart.tasks import TASKS

#: How the data of the runs stand to each other. ``texts``: the same texts on the same sides, with other annotations or vectors.
SameData = Literal["same", "texts", "different", "unknown"]
_SPLITS = ("choose", "judge", "test")


class Row(msgspec.Struct, frozen=True):
    """A number of each run; ``split``: what it was measured on."""

    name: str
    split: str | None
    values: list[float | None]


class Difference(msgspec.Struct, frozen=True):
    """A setting and its value in each run; ``is_known``: whether that is on record."""

    name: str
    values: list[Json]
    is_known: list[bool]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Everything side by side, in the order in which the runs were named.

    Attributes:
        is_comparable: the numbers were measured on the same situations, as far as is on record.
        datasets, counts: identity of the data, and situations by split.
        judged: situations that the delivered model was scored on, by split.
        faults: of the files that could not be read.
    """

    runs: list[Summary]
    same_data: SameData
    is_comparable: bool
    datasets: list[str | None]
    counts: list[dict[str, int]]
    settings: list[Difference]
    rows: list[Row]
    faults: list[str]


def compare(folders: Sequence[Path]) -> Comparison:
    """Reads the runs and sets them side by side.

    Raises:
        UsageError: there are fewer than two, or two of them are the same folder.
        NotYetDone: there is no run in one.
    """
    if len(folders) < 2:
        raise UsageError(f"found {len(folders) or 'no'} run to compare; wanted at least two folders of runs")
    seen: dict[Path, Path] = {}
    for folder in folders:
        if (whole := folder.resolve()) in seen:
            raise UsageError(f"{folder} and {seen[whole]} are the same folder; wanted different runs")
        seen[whole] = folder
    runs = [open_run(folder) for folder in folders]
    same, rows = _same_data(runs), _rows(runs)
    counted = all(len(set(row.values) - {None}) <= 1 for row in rows if row.name == "count")
    return Comparison(
        runs=[summary_of(run) for run in runs],
        same_data=same,
        is_comparable=same == "same" and counted,
        datasets=[run.dataset for run in runs],
        counts=[run.counts for run in runs],
        settings=_differences(runs),
        rows=rows,
        faults=[fault for run in runs for fault in run.faults],
    )


class _Sides(msgspec.Struct, frozen=True):
    """Of ``trained_on.json``: by split, ids and the hash of each one's text."""

    splits: dict[str, dict[str, str]]


def _sides(run: StoredRun) -> dict[str, set[str]] | None:
    path = OutputPaths(run.folder).trained_on
    try:
        found = read_struct(path, _Sides).splits if path.is_file() else None
    except StorageError:
        return None
    return None if found is None else {split: set(found.get(split, {}).values()) for split in _SPLITS}


def _same_data(runs: Sequence[StoredRun]) -> SameData:
    first, *others = runs
    if any(run.dataset is None for run in runs):
        return "unknown"
    if all((run.dataset, run.counts) == (first.dataset, first.counts) for run in others):
        return "same"
    sides = [_sides(run) for run in runs]
    return "texts" if sides[0] is not None and all(one == sides[0] for one in sides) else "different"


def _differences(runs: Sequence[StoredRun]) -> list[Difference]:
    names = dict.fromkeys([*DEFAULTS, *(name for run in runs for name in run.settings.values)])
    found = []
    for name in names:
        known = [run.settings.knows(name) for run in runs]
        values = [run.settings.value(name) for run in runs]
        told = [value for value, is_known in zip(values, known, strict=True) if is_known]
        if name != "output" and any(value != told[0] for value in told):  # each lies in a folder of its own
            found.append(Difference(name, values, known))
    return found


def _rows(runs: Sequence[StoredRun]) -> list[Row]:
    """Of each run's best epoch on ``choose``, then of its delivered model on the splits that chose nothing."""
    rows = [Row("best_epoch", None, [run.best_epoch for run in runs])]
    measured = {"choose": [_best(run) for run in runs]}
    measured |= {split: [_delivered(run, split) for run in runs] for split in ("judge", "test")}
    for split, numbers in measured.items():
        rows += [Row(name, split, [one.get(name) for one in numbers]) for name in ("count", "loss", "mean", *_tasks())]
    return [row for row in rows if any(value is not None for value in row.values)]


def _best(run: StoredRun) -> dict[str, float | None]:
    scores = None if run.best_epoch is None else run.scores[run.best_epoch]
    return {} if scores is None else {"count": scores.count, "loss": scores.loss, **skills_of(scores)}


def _tasks() -> tuple[str, ...]:
    return tuple(task.name for task in TASKS)


def _delivered(run: StoredRun, split: str) -> dict[str, float | None]:
    result = run.references.result
    score = result.score(result.delivered, split) if result else None
    if score is None:
        return {}
    skills = {name: one.skill for name, one in score.tasks.items()}
    return {"count": score.count, "loss": score.loss, "mean": score.mean_skill, **skills}
