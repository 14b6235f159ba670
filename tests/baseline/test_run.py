"""The baseline of a run: fitted to the training split alone, asked about the right situations, compared in pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from redheart.baseline.comparison import compare
from redheart.baseline.features import baseline_features, blocks_of
from redheart.baseline.run import baseline_of_run
from redheart.batches.table import SituationTable
from redheart.data import Situation
from redheart.embedding import EmbeddedDataset
from redheart.evaluation.evaluate import Evaluation, evaluate_model
from redheart.messages import set_language
from redheart.model import UnifiedModel
from tests.crossover.small_run import DIMENSIONS, small_table

SETTINGS = {"samples": 300, "confidence": 0.95, "seed": 0}
D_EMBED = 8


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    set_language("en")
    yield
    set_language("ko")


def told_by_regret(folder: Path, *, noise: bool) -> SituationTable:
    """Situations whose regret is written in their vectors, or, with ``noise``, has nothing to do with them."""
    generator = np.random.default_rng(0)
    width = 100 if noise else D_EMBED
    vectors = generator.standard_normal((200, 5, width)).astype(np.float32)
    direction = generator.standard_normal(width) / np.sqrt(width)
    # The baseline sees unit vectors: what is told must be in their direction.
    unit = vectors[:, 0] / np.linalg.norm(vectors[:, 0], axis=1, keepdims=True)
    told = generator.standard_normal(200) if noise else unit @ direction
    situations = [
        Situation(
            id=f"s{i}", text=f"story number {i} of seed 0", regret_factor=float(np.clip(0.5 + 0.2 * told[i], 0, 1))
        )
        for i in range(200)
    ]
    path = folder / "told.embedded.json"
    keys, rows = [f"k{i}" for i in range(200)], vectors.reshape(-1, width)
    first_rows = np.arange(0, 1000, 5, dtype=np.int64)
    return SituationTable(
        EmbeddedDataset(path, situations, keys, rows, first_rows, ["01223"] * 200, model_name="synthetic"), path
    )


def skill(table: SituationTable, split: str, predictions: dict[str, np.ndarray]) -> float:
    """R² of regret against the training mean."""
    target = table.targets.values["regret"][table.split_indices[split]]
    mean = table.targets.values["regret"][table.split_indices["train"]].mean()
    return float(1 - ((predictions["regret"] - target) ** 2).sum() / ((mean - target) ** 2).sum())


def test_features_are_unit_blocks_in_order_with_zeros_for_what_a_situation_lacks(tmp_path: Path) -> None:
    table = told_by_regret(tmp_path, noise=False)  # a title, an action, two windows and the text whole
    chosen = np.array([7, 3])
    found = baseline_features(table.dataset, chosen).reshape(2, 4, D_EMBED)
    for row, index in enumerate(chosen):
        title, action, one, two, whole = table.dataset.segments(int(index)).vectors
        for block, wanted in zip(found[row], (title, action, whole, (one + two) / 2), strict=True):
            assert block == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-6)
    assert blocks_of(found.reshape(2, -1)) == ("title", "action", "whole_text", "windows")
    fewer = baseline_features(small_table(tmp_path, 40).dataset, chosen)  # a title, two windows and the text whole
    assert (fewer.reshape(2, 4, D_EMBED)[:, 1] == 0).all() and blocks_of(fewer) == ("title", "whole_text", "windows")


def test_what_is_written_in_the_vectors_is_told_about_the_right_situations(tmp_path: Path) -> None:
    table = told_by_regret(tmp_path, noise=False)
    found = baseline_of_run(table, table, ["test", "judge"])
    assert found.description.features == ("title", "action", "whole_text", "windows")
    assert found.description.trained_on == len(table.split_indices["train"])
    for split in ("test", "judge"):
        assert len(found.predictions[split]["regret"]) == len(table.split_indices[split])
        assert skill(table, split, found.predictions[split]) > 0.95
    assert set(found.baseline.absent) == {"emotion", "bentham", "surd", "verdict"}
    assert json.loads(json.dumps(msgspec.to_builtins(found.description)))["tasks"]["regret"]["kind"] == "ridge"


def test_a_vector_that_is_no_number_keeps_its_situation_out_and_no_other(tmp_path: Path) -> None:
    table = told_by_regret(tmp_path, noise=False)
    table.dataset._source[5 * table.split_indices["train"][0]] = np.nan
    found = baseline_of_run(table, table, ["test"])
    assert found.baseline.rows["regret"] == len(table.split_indices["train"]) - 1
    assert skill(table, "test", found.predictions["test"]) > 0.95


def test_nothing_is_known_of_the_situations_that_it_is_asked_about(tmp_path: Path) -> None:
    """Targets that follow from nothing, 300 features: only who was fitted to them could tell them."""
    table = told_by_regret(tmp_path, noise=True)
    found = baseline_of_run(table, table, ["train", "choose", "judge", "test"])
    for split in ("choose", "judge", "test"):
        assert skill(table, split, found.predictions[split]) < 0.1
    other = told_by_regret(tmp_path, noise=True)
    hidden = other.targets.values["regret"]
    for split in ("choose", "judge", "test"):
        hidden[other.split_indices[split]] = 0.0
    again = baseline_of_run(other, other, ["test"])
    assert (again.predictions["test"]["regret"] == found.predictions["test"]["regret"]).all()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[SituationTable, UnifiedModel, Evaluation]:
    """A model that knows hardly more than the constant, on data where a linear model knows a lot."""
    table = small_table(tmp_path_factory.mktemp("data"), 300)
    torch.manual_seed(0)
    model = UnifiedModel(DIMENSIONS, table.statistics(table.split_indices["train"])).eval()
    return table, model, evaluate_model(model, table, "test")


def test_a_model_that_learned_nothing_is_below_the_baseline(untrained) -> None:
    table, model, evaluation = untrained
    baseline = baseline_of_run(table, table, ["test"]).predictions["test"]
    found = compare(evaluation, model.statistics, baseline, **SETTINGS)
    assert found.standing == "below"
    for name in ("bentham", "surd", "emotion"):
        one = found.tasks[name].metrics["skill"]
        assert found.tasks[name].standing == "below"
        assert one.difference.value == pytest.approx(one.model.value - one.baseline.value)
        assert one.difference.low < one.difference.value < one.difference.high < 0
        assert one.constant == pytest.approx(0, abs=1e-9)
        assert one.model.value == pytest.approx(evaluation.tasks[name].skill)
    assert found.tasks["emotion"].metrics["kl"].constant == pytest.approx(evaluation.tasks["emotion"].kl_constant)
    assert found.tasks["regret"].metrics["mae"].constant == pytest.approx(evaluation.tasks["regret"].mae_constant)
    assert found.mean_skill.model.value == pytest.approx(evaluation.mean_skill)


def test_the_baseline_itself_can_not_be_told_from_the_baseline_and_a_better_one_is_above(untrained) -> None:
    _, model, evaluation = untrained
    generator = np.random.default_rng(0)
    rough = {
        name: np.clip(0.7 * values + 0.3 * generator.random(values.shape), 1e-3, 1)
        for name, values in evaluation.targets.items()
    }
    rough = {n: v / v.sum(axis=1, keepdims=True) if n in ("emotion", "verdict") else v for n, v in rough.items()}
    same = compare(replace(evaluation, predictions=rough), model.statistics, rough, **SETTINGS)
    assert {one.standing for one in same.tasks.values()} == {"level"} and same.standing == "level"
    difference = same.tasks["surd"].metrics["r2"].difference
    assert (difference.value, difference.low, difference.high) == (0, 0, 0), "the same resamples for both"
    better = {name: 0.9 * values + 0.1 * evaluation.targets[name] for name, values in rough.items()}
    above = compare(replace(evaluation, predictions=better), model.statistics, rough, **SETTINGS)
    assert {one.standing for one in above.tasks.values()} == {"above"} and above.standing == "above"


def test_without_a_baseline_there_are_intervals_and_no_standing(untrained) -> None:
    _, model, evaluation = untrained
    found = compare(evaluation, model.statistics, {}, **SETTINGS)
    assert found.standing is None and {one.standing for one in found.tasks.values()} == {None}
    one = found.tasks["bentham"].metrics["r2.purity"]
    assert one.baseline is None and one.difference is None and one.model.low < one.model.high
    record = json.loads(json.dumps(msgspec.to_builtins(found), allow_nan=False))
    assert record["tasks"]["bentham"]["metrics"]["r2.purity"]["rival"] is None


def test_on_the_training_split_nobody_stands_above_or_below(untrained) -> None:
    table, model, _ = untrained
    evaluation = evaluate_model(model, table, "train")
    baseline = baseline_of_run(table, table, ["train"]).predictions["train"]
    found = compare(evaluation, model.statistics, baseline, **SETTINGS, in_sample=True)
    assert found.standing is None and {one.standing for one in found.tasks.values()} == {None}
    assert found.tasks["surd"].metrics["skill"].difference.high < 0, "the numbers are there all the same"
