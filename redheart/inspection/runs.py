"""The runs below a folder, those in ``previous/`` too, each read as far as it can be: what is damaged is named beside the rest."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from redheart.checkpoint import START_EPOCH, find_start, list_epochs
from redheart.errors import NotYetDone, StorageError, UsageError
from redheart.facts.evaluation import StoredEvaluation
from redheart.facts.scores import SplitScores
from redheart.inspection.checkpoints import mean_skill
from redheart.inspection.references import References, read_references, unreadable
from redheart.inspection.run_settings import RunSettings, of_identity, settings_of
from redheart.inspection.sizes import size_of
from redheart.paths import OutputPaths
from redheart.storage import read_struct
from redheart.training.records import RunRecord, TrainingRecords, read_records, read_run_record
from redheart.training.run_folder import RunDescription, read_run

T = TypeVar("T")
#: Models whose scores on ``test`` stand for a run's, the first that was evaluated.
_FINAL = (OutputPaths.best_model.name, OutputPaths.combined.name, OutputPaths.consolidated.name)


@dataclass(frozen=True)
class StoredRun:
    """What lies in a run's folder.

    Attributes:
        record: the run's own line in ``metrics.jsonl``; ``records``: the whole file, None where a line is damaged.
        scores: on ``choose`` by epoch, 0 being the start, only those that were measured; of checkpoints where there are no
            records.
        evaluations: by file, what ``redheart evaluate`` left.
        faults: of the files that could not be read.
    """

    folder: Path
    description: RunDescription
    record: RunRecord | None
    records: TrainingRecords | None
    references: References
    evaluations: dict[Path, StoredEvaluation]
    settings: RunSettings
    scores: dict[int, SplitScores]
    faults: tuple[str, ...]

    @property
    def is_dry(self) -> bool:
        """Its weights were never changed."""
        return self.record is not None and self.record.dry_run

    @property
    def done(self) -> int:
        """Epochs that are on record."""
        return len(self.records.epochs if self.records else self.scores.keys() - {START_EPOCH})

    @property
    def epochs(self) -> int | None:
        """How many it was to have."""
        return _whole(self.settings.values.get("training.epochs")) or _whole(
            of_identity(self.description.identity).values.get("training.epochs")
        )

    @property
    def preset(self) -> str | None:
        """The model's size."""
        recorded = self.record.preset if self.record else None
        found = recorded or of_identity(self.description.identity).values.get("model.preset")
        return str(found) if found is not None else None

    @property
    def dataset(self) -> str | None:
        """The identity of its data."""
        found = (self.description.identity or {}).get("dataset")
        return found if isinstance(found, str) else None

    @property
    def counts(self) -> dict[str, int]:
        """Situations by split."""
        return self.description.counts or (self.record.counts if self.record else None) or {}

    @property
    def best_epoch(self) -> int | None:
        """That with the lowest loss on ``choose``, 0 for the start; None without one, and after a dry run."""
        losses = [(one.loss, epoch) for epoch, one in self.scores.items() if _is_finite(one.loss)]
        return min(losses)[1] if losses and not self.is_dry else None

    def final_test_skill(self) -> float | None:
        """The mean skill on ``test`` of the model that was delivered, as the crossover or an evaluation has it."""
        result = self.references.result
        if result is not None and (score := result.score(result.delivered, "test")) is not None:
            return score.mean_skill
        best = self.references.best_model
        for name in _FINAL:
            found = self.evaluations.get(OutputPaths(self.folder).evaluation / f"{name}_test.json")
            is_another = name == _FINAL[0] and best is not None and found and found.weights != best.weights_identity
            if found is not None and not is_another:
                return found.mean_skill
        return None

    def size(self) -> int:
        """Bytes of what is this run's; what other runs in the folder share is not counted."""
        paths = OutputPaths(self.folder)
        return sum(size_of(path) for path in (*paths.of_a_run(), paths.settings))


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def is_run(folder: Path) -> bool:
    """Whether a run lies in ``folder``."""
    paths = OutputPaths(folder)
    return os.path.isfile(paths.run) or os.path.isfile(paths.metrics)  # of a folder that may not be read too


def open_run(folder: Path) -> StoredRun:
    """The run in ``folder``, as far as it can be read.

    Raises:
        UsageError: there is no such folder.
        NotYetDone: there is no run in it.
        StorageError: nobody but others may look into it.
    """
    if not folder.is_dir():
        what = "a file" if folder.exists() else "no such folder"
        raise UsageError(f"{folder}: found {what}, wanted the folder of a run")
    if not os.access(folder, os.X_OK):
        raise StorageError(f"{folder}: may not be read by this user; ask its owner for the right to")
    if not is_run(folder):
        names = f"neither {OutputPaths.run.name} nor {OutputPaths.metrics.name}"
        raise NotYetDone(
            f"{folder}: found no run ({names}); `redheart runs ls` finds those below a folder, `redheart train` makes one"
        )
    return _read(folder)


def _read(folder: Path) -> StoredRun:
    paths, faults = OutputPaths(folder), list[str]()

    def part(read: Callable[[], T], without: T) -> T:
        try:
            return read()
        except NotYetDone:  # it has none yet
            return without
        except StorageError as error:
            faults.append(str(error))
        except OSError as error:  # of a folder that this user may not look into
            faults.append(unreadable(error))
        return without

    nothing = RunDescription()
    description = part(lambda: read_run(folder) or nothing, nothing)
    records = part(lambda: read_records(paths.metrics), None)
    settings = part(lambda: settings_of(folder, description.identity), of_identity(description.identity))
    evaluations = {}
    for path in sorted(paths.evaluation.glob("*.json")):
        if (found := part(lambda path=path: read_struct(path, StoredEvaluation), None)) is not None:  # type: ignore[misc]
            evaluations[path] = found
    references = read_references(folder)
    nowhere: dict[int, SplitScores] = {}
    scores = _recorded_scores(records) if records else part(lambda: _scores_of_checkpoints(folder), nowhere)
    return StoredRun(
        folder,
        description,
        read_run_record(paths.metrics),
        records,
        references,
        evaluations,
        settings,
        scores,
        (*faults, *references.faults),
    )


def _recorded_scores(records: TrainingRecords) -> dict[int, SplitScores]:
    found = {epoch: one.choose for epoch, one in records.epochs.items()}
    start = {START_EPOCH: records.run.choose} if records.run else {}
    return {epoch: scores for epoch, scores in {**start, **found}.items() if scores is not None}


def _scores_of_checkpoints(folder: Path) -> dict[int, SplitScores]:
    """What manifests say, where the records can't."""
    found = {one.epoch: one.manifest.metrics for one in list_epochs(folder)}
    with contextlib.suppress(StorageError):
        if (start := find_start(folder)) is not None:
            found[START_EPOCH] = start.manifest.metrics
    return {epoch: scores["choose"] for epoch, scores in sorted(found.items()) if scores and "choose" in scores}


def find_runs(folders: Sequence[Path], on_closed: Callable[[OSError], None] = lambda error: None) -> list[StoredRun]:
    """All runs in and below ``folders``, each once.

    Args:
        on_closed: told of each folder that may not be looked into.

    Raises:
        UsageError: one is no folder.
        NotYetDone: there is none.
    """
    for folder in folders:
        if not folder.is_dir():
            what = "a file" if folder.exists() else "no such folder"
            raise UsageError(f"{folder}: found {what}, wanted a folder to look for runs in")
    found: dict[Path, StoredRun] = {}
    for folder in folders:
        for place in _places(folder, on_closed):
            if (whole := place.resolve()) not in found:
                found[whole] = _read(place)
    if not found:
        named = ", ".join(map(str, folders))
        raise NotYetDone(f"{named}: found no run in or below it; `redheart train` makes one")
    return list(found.values())


def _places(folder: Path, on_closed: Callable[[OSError], None]) -> Iterator[Path]:
    """Folders with a run in them. What a run's folder holds by name is not looked through, but for ``previous/``."""
    own = {place.relative for place in OutputPaths.declared()} - {OutputPaths.previous.relative}
    for name, inner, _ in os.walk(folder, onerror=on_closed):
        place = Path(name)
        paths = OutputPaths(place)
        is_found = is_run(place)
        if is_found:
            yield place
        is_output = is_found or any(os.path.exists(path) for path in (paths.sweep, paths.previous, paths.lock))
        inner[:] = sorted(one for one in inner if not one.startswith(".") and not (is_output and one in own))


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a line.

    Attributes:
        epochs_done: of ``epochs``, None where that is not known.
        loss: the lowest on ``choose``, of epoch ``best_epoch``, 0 being the start.
        test_skill: mean skill of the delivered model on ``test``.
        updated: in ISO 8601.
    """

    path: str
    run: str | None
    preset: str | None
    epochs_done: int
    epochs: int | None
    finished: bool
    dry_run: bool
    best_epoch: int | None
    loss: float | None
    test_skill: float | None
    bytes: int
    updated: str | None
    faults: tuple[str, ...]


def summary_of(run: StoredRun) -> Summary:
    """The line of a run."""
    best = run.best_epoch
    return Summary(
        path=str(run.folder),
        run=run.description.run,
        preset=run.preset,
        epochs_done=run.done,
        epochs=run.epochs,
        finished=run.description.finished,
        dry_run=run.is_dry,
        best_epoch=best,
        loss=None if best is None else run.scores[best].loss,
        test_skill=run.final_test_skill(),
        bytes=run.size(),
        updated=run.description.updated,
        faults=run.faults,
    )


def skills_of(scores: SplitScores | None) -> dict[str, float | None]:
    """By task, and ``mean``."""
    if scores is None:
        return {}
    return {"mean": mean_skill(scores), **{name: one.skill for name, one in scores.tasks.items()}}
