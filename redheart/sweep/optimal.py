"""``optimal_lr.json``: the choice and its evidence, in a form that ``grep`` and ``cut`` can read.

    cat optimal_lr.json | grep optimal_lr | cut -d'"' -f4

is how the main training's command line takes it. So exactly one line holds the word ``optimal_lr``, and that line's
fourth field between quotes is the number.

``val_loss`` is the plain mean of the runs, as in the cumulative file; the evidence holds the seed-adjusted mean by which
learning rates were compared, and which need not be lowest where the plain one is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from redheart.errors import NotYetDone, StorageError
from redheart.paths import OutputPaths
from redheart.storage import read_json, write_json
from redheart.storage.structs import read_struct
from redheart.sweep.evidence import Evidence, NoiseSource
from redheart.sweep.learning_rate_keys import key_of
from redheart.sweep.trials import Trial

OPTIMAL_FILE = OutputPaths.optimal_lr.name
CHOSEN_FOR_FILE = OutputPaths.chosen_for.name


class StoredEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """How sure the choice is, as the file says it: see ``Evidence``. ``within_noise`` are keys of learning rates."""

    val_loss_seed_adjusted: float
    trials: int
    diverged: int
    fit_minimum: float | None
    fit_interval: tuple[float, float] | None
    fit_confidence: float
    fit_problem: str | None
    noise: float | None
    noise_source: NoiseSource | None
    within_noise_count: int
    within_noise: tuple[str, ...]
    at_edge: bool


class OptimalLearningRate(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``optimal_lr.json``; its fields in this order, the key of the chosen learning rate first.

    Attributes:
        val_loss: the plain mean of the ``runs``; ``accuracy`` likewise.
        stage: the first that ran it.
        timestamp: of the sweep's last trial.
    """

    optimal_lr: str
    val_loss: float
    accuracy: float | None
    runs: int
    stage: int | None
    sweep: str
    timestamp: str | None
    validation_situations: int | None
    training_situations: int | None
    epochs: int | None
    evidence: StoredEvidence


def write_optimal_lr(path: Path, evidence: Evidence, trials: Sequence[Trial], sweep: str) -> OptimalLearningRate:
    """Writes the choice. The content follows from the trials alone, whoever writes it."""
    of_best = [trial for trial in trials if trial.learning_rate == evidence.best]
    accuracies = [trial.accuracy for trial in of_best if trial.accuracy is not None]
    content = OptimalLearningRate(
        optimal_lr=key_of(evidence.best),
        val_loss=evidence.val_loss,
        accuracy=math.fsum(accuracies) / len(accuracies) if accuracies else None,
        runs=evidence.runs,
        stage=min((trial.stage for trial in of_best if trial.stage is not None), default=None),
        sweep=sweep,
        timestamp=max(trials, key=lambda trial: trial.order).timestamp,
        validation_situations=of_best[0].choose_count,
        training_situations=of_best[0].train_count,
        epochs=of_best[0].epochs,
        evidence=StoredEvidence(
            val_loss_seed_adjusted=evidence.val_loss_seed_adjusted,
            trials=len(trials),
            diverged=sum(trial.diverged for trial in trials),
            fit_minimum=evidence.fit_minimum,
            fit_interval=evidence.interval,
            fit_confidence=evidence.confidence,
            fit_problem=evidence.fit_problem,
            noise=evidence.noise,
            noise_source=evidence.noise_source,
            within_noise_count=len(evidence.within_noise),
            within_noise=tuple(key_of(learning_rate) for learning_rate in evidence.within_noise),
            at_edge=evidence.at_edge,
        ),
    )
    write_json(path, msgspec.to_builtins(content))
    return content


def _of_folder(results: Path) -> OutputPaths:
    return OutputPaths(results.parent)


def _fix(results: Path) -> str:
    """What helps where a file in ``results`` is damaged."""
    return f"run `{_of_folder(results).command('sweep')}` again, which writes it anew from the trials that are there"


class SweepChoice(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in the file, as far as it tells: an earlier implementation wrote the number alone.

    Attributes:
        epochs, training_situations: of each trial.
    """

    learning_rate: float
    sweep: str | None = None
    epochs: int | None = None
    training_situations: int | None = None


def read_choice(path: Path) -> SweepChoice:
    """The chosen learning rate, which may be quoted, as here, or bare, and what it was found with.

    Raises:
        NotYetDone: the file is missing.
        StorageError: it is damaged, or holds no positive number there.
    """
    if not path.exists():
        command = _of_folder(path.parent).command("sweep")
        raise NotYetDone(f"{path}: there is no chosen learning rate; run `{command}` first, or give one with --lr")
    fix = _fix(path.parent)
    content = read_json(path, fix=fix)
    content = content if isinstance(content, dict) else {}
    found = content.get("optimal_lr")
    try:
        value = float(found) if isinstance(found, (str, int, float)) and not isinstance(found, bool) else math.nan
    except (ValueError, OverflowError):
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise StorageError(f"{path}: optimal_lr: found {found!r}, wanted a positive number; {fix}")
    told = {name: content.get(name) for name in SweepChoice.__struct_fields__}
    try:
        return msgspec.convert({**told, "learning_rate": value}, SweepChoice)
    except msgspec.ValidationError:
        return SweepChoice(learning_rate=value)


def read_optimal_lr(path: Path) -> float:
    """The chosen learning rate, see ``read_choice``."""
    return read_choice(path).learning_rate


def sweep_that_chose(path: Path) -> str | None:
    """The name of the sweep whose choice lies at ``path``; None where the file does not say.

    Raises:
        StorageError: the file is missing or damaged.
    """
    content = read_json(path)
    found = content.get("sweep") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None


def coverage_of(path: Path) -> float | None:
    """The coverage of the interval in the file at ``path``; None where it does not say.

    Raises:
        StorageError: the file is missing or damaged.
    """
    content = read_json(path)
    evidence = content.get("evidence") if isinstance(content, dict) else None
    found = evidence.get("fit_confidence") if isinstance(evidence, dict) else None
    return found if isinstance(found, float) else None


class ChosenFor(msgspec.Struct, frozen=True):
    """What a chosen learning rate belongs to: the identity and path of the dataset, and the preset."""

    dataset: str
    preset: str
    path: str


def write_chosen_for(folder: Path, chosen_for: ChosenFor) -> None:
    """Keeps beside the choice in ``folder`` what it was chosen for."""
    write_json(folder / CHOSEN_FOR_FILE, msgspec.to_builtins(chosen_for))


def read_chosen_for(folder: Path) -> ChosenFor | None:
    """What the choice in ``folder`` was chosen for; None where nobody kept that.

    Raises:
        StorageError: the file is damaged.
    """
    path = folder / CHOSEN_FOR_FILE
    return read_struct(path, ChosenFor, fix=_fix(folder)) if path.exists() else None
