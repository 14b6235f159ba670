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
from typing import TYPE_CHECKING, Any

from redheart.errors import StorageError
from redheart.paths import OutputPaths
from redheart.storage import read_json, write_json
from redheart.sweep.keys import key_of
from redheart.sweep.trials import Trial

if TYPE_CHECKING:
    from redheart.sweep.fit import Evidence

OPTIMAL_FILE = OutputPaths.optimal_lr.name


def write_optimal_lr(path: Path, evidence: Evidence, trials: Sequence[Trial], sweep: str) -> dict[str, Any]:
    """Writes the choice. The content follows from the trials alone, whoever writes it."""
    of_best = [trial for trial in trials if trial["learning_rate"] == evidence.best]
    accuracies = [trial["accuracy"] for trial in of_best if trial.get("accuracy") is not None]
    content = {
        "optimal_lr": key_of(evidence.best),
        "val_loss": evidence.val_loss,
        "accuracy": math.fsum(accuracies) / len(accuracies) if accuracies else None,
        "runs": evidence.runs,
        "stage": min(trial["stage"] for trial in of_best),
        "sweep": sweep,
        "timestamp": max(trial["timestamp"] for trial in trials),
        "validation_situations": of_best[0].get("choose_count"),
        "training_situations": of_best[0].get("train_count"),
        "epochs": of_best[0].get("epochs"),
        "evidence": {
            "val_loss_seed_adjusted": evidence.val_loss_seed_adjusted,
            "trials": len(trials),
            "diverged": sum(bool(trial.get("diverged")) for trial in trials),
            "fit_minimum": evidence.fit_minimum,
            "fit_interval": evidence.interval,
            "fit_confidence": evidence.confidence,
            "fit_problem": evidence.fit_problem,
            "noise": evidence.noise,
            "noise_source": evidence.noise_source,
            "within_noise_count": len(evidence.within_noise),
            "within_noise": [key_of(rate) for rate in evidence.within_noise],
            "at_edge": evidence.at_edge,
        },
    }
    write_json(path, content)
    return content


def read_optimal_lr(path: Path) -> float:
    """The chosen learning rate; the number may be quoted, as here, or bare, as an earlier implementation wrote it.

    Raises:
        StorageError: the file is missing, damaged, or holds no positive number there.
    """
    if not path.exists():
        raise StorageError(f"{path}: there is no chosen learning rate; run the sweep first, or give one with --lr")
    content = read_json(path)
    found = content.get("optimal_lr") if isinstance(content, dict) else None
    try:
        value = float(found) if isinstance(found, (str, int, float)) and not isinstance(found, bool) else math.nan
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise StorageError(f"{path}: optimal_lr: found {found!r}, wanted a positive number; run the sweep again")
    return value
