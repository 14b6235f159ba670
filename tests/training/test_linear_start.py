"""The linear paths start at the best linear prediction of the training split; scikit-learn is the independent witness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from redheart.batches.table import SituationTable
from redheart.config import TrainingConfig
from redheart.model import LinearModel, UnifiedModel, dimensions, natural_units
from redheart.model.batch import Batch
from redheart.model.modules.views import linear_views
from redheart.model.unified import normalise
from redheart.regression.decomposition import Decomposition
from redheart.tasks import TASKS
from redheart.training.linear_start import apply_linear_start, centres_of, fit_linear_start, start_linear_paths
from redheart.training.linear_start.ridge import PENALTIES
from redheart.training.optimizer import LINEAR_START_RATE, MIN_FOR_START, learning_rate_scales
from tests.training.small_data import embedded_items, write_embedded

NUMBERS = [task.name for task in TASKS if not task.is_distribution]
DISTRIBUTIONS = [task.name for task in TASKS if task.is_distribution]


@pytest.fixture
def table(tmp_path: Path) -> SituationTable:
    return SituationTable.open(write_embedded(tmp_path), needs=("train",))


def _views(table: SituationTable, indices: np.ndarray) -> torch.Tensor:
    batch = table.batch(indices)
    return linear_views(normalise(batch.segments, batch.segment_mask), batch.segment_mask, batch.kinds).double()


def _size(views: torch.Tensor) -> float:
    return float((views - views.mean(dim=0)).square().sum() / len(views))


def test_numbers_are_scikit_learns_ridge_at_the_penalty_with_the_least_leave_one_out_error(
    table: SituationTable,
) -> None:
    from sklearn.linear_model import RidgeCV

    train = table.split_indices["train"]
    statistics = table.statistics(train)
    found = fit_linear_start(table, train, statistics, centres=0)
    views = _views(table, train)
    alphas = sorted(penalty * _size(views) for penalty in PENALTIES)
    for task in NUMBERS:
        target = statistics.standardise(task, torch.from_numpy(table.targets.values[task][train])).double()
        witness = RidgeCV(alphas, alpha_per_target=True).fit(views.numpy(), target.numpy())
        assert np.allclose(np.atleast_1d(witness.alpha_) / _size(views), found[task].penalties, rtol=1e-6), task
        assert np.allclose(witness.coef_.reshape(target.shape[1], -1), found[task].weight, atol=1e-5), task
        assert np.allclose(witness.intercept_, found[task].bias, atol=1e-5), task


def test_distributions_are_scikit_learns_logistic_regression_on_weighted_classes(table: SituationTable) -> None:
    from sklearn.linear_model import LogisticRegression

    train = table.split_indices["train"]
    statistics = table.statistics(train)
    found = fit_linear_start(table, train, statistics, centres=0)
    views = _views(table, train)
    for task in DISTRIBUTIONS:
        shares = table.targets.values[task][train].astype(np.float64)
        classes = np.flatnonzero(shares.sum(axis=0) > 0)
        rows, weight = np.repeat(views.numpy(), len(classes), axis=0), shares[:, classes].reshape(-1)
        inverse = 1 / (found[task].penalties[0] * _size(views))
        witness = LogisticRegression(C=inverse, max_iter=5000, tol=1e-8).fit(
            rows[weight > 0], np.tile(classes, len(views))[weight > 0], sample_weight=weight[weight > 0]
        )
        # The witness penalises what is left of the prior too little to matter, and gives no class without any share.
        logits = views @ found[task].weight.double().T + found[task].bias + torch.tensor(statistics[task].prior).log()
        assert np.abs(logits.softmax(dim=-1).numpy()[:, classes] - witness.predict_proba(views.numpy())).max() < 2e-3


def test_an_untrained_model_predicts_better_than_the_constant_from_the_start(table: SituationTable) -> None:
    train = table.split_indices["train"]
    rest = np.setdiff1d(np.arange(len(table.ids)), train)
    statistics = table.statistics(train)
    torch.manual_seed(0)
    model = UnifiedModel(dimensions("tiny", d_embed=table.d_embed), statistics).eval()
    batch = table.batch(rest)

    def error() -> float:
        with torch.no_grad():
            predicted = natural_units("regret", model(*batch.inputs).predictions["regret"], statistics)
        return float((predicted - batch.targets["regret"]).square().mean())

    before = error()
    start_linear_paths(model, table, train, statistics)
    assert error() < 0.8 * before


def test_the_linear_model_is_that_start_and_nothing_else(table: SituationTable) -> None:
    train = table.split_indices["train"]
    statistics = table.statistics(train)
    found = fit_linear_start(table, train, statistics, centres=0)
    model = LinearModel(replace(dimensions("tiny", d_embed=table.d_embed), centres=0), statistics).eval()
    apply_linear_start(model, found)
    with torch.no_grad():
        predictions = model(*table.batch(train).inputs).predictions
    for task in NUMBERS:
        wanted = _views(table, train) @ found[task].weight.double().T + found[task].bias
        torch.testing.assert_close(predictions[task].double(), wanted, atol=1e-4, rtol=1e-4)


def test_nothing_but_the_training_split_is_looked_at(tmp_path: Path) -> None:
    items = embedded_items()
    table = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    train = table.split_indices["train"]
    first = fit_linear_start(table, train, table.statistics(train), centres=64)
    for index in np.setdiff1d(np.arange(len(items)), train):
        items[index]["embedding"] = (np.array(items[index]["embedding"]) * -5 + 1).tolist()
        items[index]["regret_factor"] = 1.0
    other = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    second = fit_linear_start(other, train, other.statistics(train), centres=64)
    for task in first.paths:
        assert torch.equal(first[task].weight, second[task].weight), task
        assert torch.equal(first[task].radial, second[task].radial), task
    assert torch.equal(first.centres, second.centres) and torch.equal(first.mean, second.mean)


def test_a_dimension_that_some_situations_lack_is_fitted_to_those_that_have_it(tmp_path: Path) -> None:
    items = embedded_items()
    table = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    train = table.split_indices["train"]
    lacking = train[::3]
    having = np.setdiff1d(train, lacking)
    for index in lacking:
        del items[index]["surd_metrics"]
    partly = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    statistics = partly.statistics(train)
    found = fit_linear_start(partly, train, statistics, centres=0)["surd"]
    alone = fit_linear_start(table, having, statistics, centres=0)["surd"]
    assert torch.allclose(found.weight, alone.weight, atol=1e-6)
    assert found.penalties == alone.penalties


def test_too_few_annotated_situations_leave_the_path_at_zero(tmp_path: Path) -> None:
    items = embedded_items()
    for item in items[MIN_FOR_START - 1 :]:
        del item["regret_factor"]
    table = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    train = table.split_indices["train"]
    model = UnifiedModel(dimensions("tiny", d_embed=table.d_embed), table.statistics(train))
    found = fit_linear_start(table, train, table.statistics(train), centres=centres_of(model))
    assert "regret" not in found
    apply_linear_start(model, found)
    assert not model.get_submodule("heads.regret.linear").weight.any()
    assert model.get_submodule("heads.regret.radial").weight.abs().max() < 2e-3
    assert model.get_submodule("heads.bentham.linear").weight.any()


def test_dimensions_that_few_situations_have_are_told_and_do_not_slow_those_that_are_not_solved(
    tmp_path: Path, logged: Callable[[], str]
) -> None:
    """Seven dimensions of 15 situations each are 105 situations with a target, and still too few for each of them."""
    items = embedded_items()
    table = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    train = table.split_indices["train"]
    rare = set(train[: MIN_FOR_START - 1].tolist())
    turn = {index: place % 4 for place, index in enumerate(train.tolist())}
    for index, item in enumerate(items):
        if index not in rare:
            del item["bentham_scores"]["extent"]
        kept = list(item["surd_metrics"])[turn.get(index, 0)]
        item["surd_metrics"] = {kept: item["surd_metrics"][kept]}
    table = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    statistics = table.statistics(train)
    assert statistics["surd"].targets < MIN_FOR_START <= statistics["bentham"].targets
    assert statistics["surd"].coverage == 1.0
    model = UnifiedModel(dimensions("tiny", d_embed=table.d_embed), statistics)
    start_linear_paths(model, table, train, statistics)
    assert "emotion, bentham (6/7), regret, verdict\n" in logged()
    assert f"{MIN_FOR_START}개 미만이라 0에서 출발: surd\n" in logged()
    scales = learning_rate_scales(model, TrainingConfig())
    assert scales["heads.surd.linear.weight"] == 1.0 and scales["heads.bentham.linear.weight"] == LINEAR_START_RATE


@pytest.mark.parametrize("size", [0.0, 1.0])
def test_stories_that_are_all_the_same_tell_nothing(tmp_path: Path, size: float) -> None:
    """Nor does the rounding of their mean."""
    items = embedded_items()
    for item in items:
        item["embedding"] = (size * np.array(items[0]["embedding"])).tolist()
        item["embedding_kinds"] = items[0]["embedding_kinds"]
    table = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    train = table.split_indices["train"]
    found = fit_linear_start(table, train, table.statistics(train), centres=64)
    assert set(found.paths) == {task.name for task in TASKS}
    for one in found.paths.values():
        assert one.weight.abs().max() < 1e-6 and one.radial.abs().max() < 1e-6 and torch.isfinite(one.bias).all()


def test_constant_targets_and_equal_stories_give_finite_weights(tmp_path: Path) -> None:
    items = embedded_items()
    for item in items:
        item["regret_factor"] = 0.4
        item["embedding"] = items[0]["embedding"] if len(item["embedding"]) == 3 else item["embedding"]
        item["embedding_kinds"] = item["embedding_kinds"][: len(item["embedding"])]
    table = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    train = table.split_indices["train"]
    found = fit_linear_start(table, train, table.statistics(train), centres=0)
    assert all(torch.isfinite(one.weight).all() and torch.isfinite(one.bias).all() for one in found.paths.values())
    assert found["regret"].weight.abs().max() < 1e-6


def test_a_situation_whose_vectors_are_no_numbers_is_left_to_the_training_loop(table: SituationTable) -> None:
    train = table.split_indices["train"]
    statistics = table.statistics(train)
    without = fit_linear_start(table, train[1:], statistics, centres=0)
    first, whole = int(train[0]), table.batch

    def batch(indices: np.ndarray) -> Batch:
        made = whole(indices)
        made.segments[torch.from_numpy(indices == first)] = torch.nan
        return made

    table.batch = batch  # type: ignore[method-assign]
    found = fit_linear_start(table, train, statistics, centres=0)
    assert all(torch.allclose(found[task].weight, without[task].weight, atol=1e-5) for task in without.paths)


def test_a_start_for_which_memory_is_short_is_solved_in_smaller_pieces_and_from_a_sample(
    table: SituationTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = np.repeat(table.split_indices["train"], 4)
    statistics = table.statistics(train)
    expected = fit_linear_start(table, train, statistics, centres=0)
    gather, most = SituationTable.batch, [40]

    def short(self: SituationTable, indices: np.ndarray) -> Batch:
        if len(indices) > most[0]:
            raise MemoryError("Unable to allocate 4.00 GiB")
        return gather(self, indices)

    monkeypatch.setattr(SituationTable, "batch", short)
    found = fit_linear_start(table, train, statistics, centres=0)
    assert all(torch.equal(found[name].weight, one.weight) for name, one in expected.paths.items())
    decompose, sizes = Decomposition.of, list[int]()

    def small(features: torch.Tensor) -> Decomposition:
        sizes.append(len(features))
        if len(features) > 150:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return decompose(features)

    monkeypatch.setattr(Decomposition, "of", small)
    sampled = fit_linear_start(table, train, statistics, centres=0)
    assert sampled.paths.keys() == expected.paths.keys() and min(sizes) < 150 < max(sizes)
