"""The fit of the baseline: ridge regression for numbers, logistic regression for distributions; training split only.

Both are linear in the same features, with penalties chosen by cross-validation on the rows that they are fitted to.

For distributions, on 5 × 5 folds of 465 real training situations, the mean KL of the emotions was
0.2273 for logistic regression on the shares themselves, 0.2309 for ridge on the shares, clipped at 0.01 and brought to a sum
of 1 (0.2325 with a penalty for each emotion), and 0.2294 for ridge on log-ratios with a shift to the mean shares; for the votes
0.6506 and 0.6458, a difference within noise (0.0048 ± 0.0038).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redheart.baseline.shares import LinearShares, fit_shares
from redheart.errors import Interrupted
from redheart.facts.comparison import FittedTask
from redheart.messages import text
from redheart.progress import Progress
from redheart.tasks import TASKS, Task

Array = NDArray[np.float64]
#: With fewer training situations nothing is fitted: there are more folds and penalties to choose from than there is to see.
MIN_ROWS = 20
PENALTIES: tuple[float, ...] = tuple(float(10**power) for power in np.arange(-3.0, 4.01, 0.25))
_UNKNOWN = 0.5


@dataclass(frozen=True)
class LinearRegressions:
    """One ridge regression per dimension.

    Attributes:
        weights: ``(features, dimensions)``, bias: ``(dimensions,)``; a dimension without enough training situations has
            weights of 0 and the training mean as its bias.
        penalties: each dimension's, None where nothing was fitted.
    """

    weights: Array
    bias: Array
    penalties: tuple[float | None, ...]

    def predict(self, features: Array) -> Array:
        """Values ``(items, dimensions)``, clipped to 0..1 as the model's are."""
        return np.clip(features @ self.weights + self.bias, 0.0, 1.0)


@dataclass(frozen=True)
class Baseline:
    """What was fitted, by task.

    Attributes:
        absent: task -> why there is no baseline for it.
        rows: task -> training situations that it was fitted to.
    """

    fitted: Mapping[str, LinearRegressions | LinearShares]
    absent: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)

    def predict(self, features: NDArray[np.floating[Any]]) -> dict[str, Array]:
        """Predictions ``(items, dimensions)`` per task in natural units: probabilities, or numbers of 0..1."""
        exact: Array = np.asarray(features, np.float64)
        return {name: one.predict(exact) for name, one in self.fitted.items()}

    def record(self) -> dict[str, FittedTask]:
        """What it is, by task."""
        tasks: dict[str, FittedTask] = {}
        for task in TASKS:
            one = self.fitted.get(task.name)
            if one is None:
                tasks[task.name] = FittedTask(absent=self.absent.get(task.name, ""))
            elif isinstance(one, LinearShares):
                tasks[task.name] = FittedTask(kind="logistic", rows=self.rows[task.name], penalty=one.penalty)
            else:
                penalties = dict(zip(task.dimensions, one.penalties, strict=True))
                tasks[task.name] = FittedTask(kind="ridge", rows=self.rows[task.name], penalties=penalties)
        return tasks


def fit_baseline(
    features: NDArray[np.floating[Any]],
    targets: Mapping[str, NDArray[np.floating[Any]]],
    masks: Mapping[str, NDArray[np.bool_]],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Baseline:
    """Fits a baseline to the training split.

    Args:
        features: ``(items, features)`` of the training situations, see ``features.py``.
        targets: ``(items, dimensions)`` by task, in natural units; masks: True where annotated.

    Raises:
        Interrupted: ``should_stop`` said so, asked before every task and within those that take many steps.
    """

    def check() -> None:
        if should_stop():
            raise Interrupted("stopped while the baseline was fitted; the same command does it again")

    exact: Array = np.asarray(features, np.float64)
    # A vector that is no number is the training loop's affair: it names the batch and skips the step.
    usable = np.asarray(np.isfinite(exact).all(axis=1))
    fitted: dict[str, LinearRegressions | LinearShares] = {}
    absent: dict[str, str] = {}
    rows: dict[str, int] = {}
    for task in Progress(text("progress.baseline"), len(TASKS), is_brief=True).over(TASKS):
        check()
        target: Array = np.asarray(targets[task.name], np.float64)
        if len(exact) != len(target):
            raise ValueError(f"{task.name}: {len(target)} targets for {len(exact)} rows of features")
        mask = masks[task.name] & usable[:, None]
        most = int(mask.all(axis=1).sum()) if task.is_distribution else int(mask.sum(axis=0).max(initial=0))
        if most < MIN_ROWS:
            absent[task.name] = (
                f"{most} of {len(features)} training situations have a target, wanted at least {MIN_ROWS}"
            )
            continue
        rows[task.name] = most
        if task.is_distribution:
            valid = mask.all(axis=1)
            fitted[task.name] = fit_shares(exact[valid], target[valid], check=check)
        else:
            fitted[task.name] = _fit_regressions(task, exact, target, mask)
    return Baseline(fitted, absent, rows)


def _fit_regressions(task: Task, features: Array, target: Array, mask: NDArray[np.bool_]) -> LinearRegressions:
    """Dimensions that are annotated in the same situations are fitted together: what is costly is the same for all."""
    from sklearn.linear_model import RidgeCV

    dims = len(task.dimensions)
    weights, bias = np.zeros((features.shape[1], dims)), np.full(dims, _UNKNOWN)
    penalties: list[float | None] = [None] * dims
    groups: dict[bytes, list[int]] = {}
    for column in range(dims):
        groups.setdefault(mask[:, column].tobytes(), []).append(column)
    for columns in groups.values():
        valid = mask[:, columns[0]]
        if valid.any():
            bias[columns] = target[valid][:, columns].mean(axis=0)
        if valid.sum() < MIN_ROWS:
            continue
        ridge = RidgeCV(alphas=PENALTIES, alpha_per_target=True)  # efficient leave-one-out cross-validation
        ridge.fit(features[valid], target[valid][:, columns])
        weights[:, columns] = ridge.coef_.reshape(len(columns), -1).T  # of a single target it is flat
        bias[columns] = ridge.intercept_
        for column, penalty in zip(columns, np.atleast_1d(ridge.alpha_), strict=True):
            penalties[column] = float(penalty)
    return LinearRegressions(weights, bias, tuple(penalties))
