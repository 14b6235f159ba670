"""The constant predictor's knowledge: masks respected, finite always, unchanged by a trip through JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from redheart.model import TargetStatistics, natural_units
from redheart.model.statistics import MIN_SCALE
from redheart.tasks import TASKS


def everything(items: int = 6, *, known: bool = True) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    values = {task.name: random.random((items, len(task.dimensions)), dtype=np.float32) for task in TASKS}
    for task in TASKS:
        if task.is_distribution:
            values[task.name] /= values[task.name].sum(axis=1, keepdims=True)
    return values, {name: np.full(array.shape, known) for name, array in values.items()}


def test_unannotated_numbers_do_not_count() -> None:
    values, mask = everything()
    values["bentham"][0, 2], mask["bentham"][0, 2] = np.nan, False
    one = TargetStatistics.fit(values, mask)["bentham"]
    assert one.mean[2] == pytest.approx(values["bentham"][1:, 2].mean(), rel=1e-5)
    assert one.scale[2] == pytest.approx(values["bentham"][1:, 2].std(), rel=1e-5)


def test_without_any_annotation_the_statistics_are_neutral() -> None:
    assert TargetStatistics.fit(*everything(known=False)) == TargetStatistics.neutral()
    one = TargetStatistics.neutral()["surd"]
    assert one.mean == (0.5,) * 4 and one.scale == (1.0,) * 4


def test_a_constant_dimension_has_a_floor_under_its_scale() -> None:
    values, mask = everything()
    values["regret"][:] = 0.4
    assert TargetStatistics.fit(values, mask)["regret"].scale == (MIN_SCALE,)


def test_a_label_that_never_occurs_still_has_a_finite_log_prior() -> None:
    values, mask = everything()
    values["verdict"][:] = np.eye(5, dtype=np.float32)[0]
    prior = TargetStatistics.fit(values, mask)["verdict"].prior
    assert sum(prior) == pytest.approx(1.0) and all(math.isfinite(math.log(p)) for p in prior)
    assert prior[0] == max(prior)


def test_statistics_survive_json() -> None:
    statistics = TargetStatistics.fit(*everything())
    assert TargetStatistics.from_json(json.loads(json.dumps(statistics.to_json()))) == statistics


def test_statistics_of_another_scheme_are_refused() -> None:
    data = TargetStatistics.neutral().to_json()
    data["surd"]["mean"].append(0.5)
    with pytest.raises(ValueError, match="surd"):
        TargetStatistics.from_json(data)


def test_natural_units_undo_standardising_and_stay_in_bounds() -> None:
    statistics = TargetStatistics.fit(*everything())
    target = torch.rand(5, 7)
    restored = natural_units("bentham", statistics.standardise("bentham", target), statistics)
    torch.testing.assert_close(restored, target)
    assert natural_units("bentham", torch.full((1, 7), 99.0), statistics).max() == 1.0
    torch.testing.assert_close(natural_units("emotion", torch.randn(3, 7), statistics).sum(-1), torch.ones(3))
