"""The linear start of the same situations, fitted once a session: it is a sixth of a small training's time."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from redheart.training import trial
from redheart.training.linear_start import apply, fit_linear_start

_fit = fit_linear_start
_fitted: dict[str, Any] = {}


def fit_once(table: Any, train: Any, statistics: Any, *, centres: int, stopping: Any = None) -> Any:
    """As ``fit_linear_start``, which is a function of these vectors and targets and nothing else."""
    batch = table.batch(train)
    digest = hashlib.blake2b(repr((statistics, centres)).encode())
    for part in (*batch.inputs, *batch.targets.values(), *batch.target_mask.values()):
        digest.update(repr(part.shape).encode() + part.numpy().tobytes())
    if digest.hexdigest() not in _fitted:
        _fitted[digest.hexdigest()] = _fit(table, train, statistics, centres=centres)
    return _fitted[digest.hexdigest()]


def fit_each_once(patch: pytest.MonkeyPatch) -> None:
    for user in (apply, trial):
        patch.setattr(user, "fit_linear_start", fit_once)
