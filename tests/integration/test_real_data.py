"""On real annotated situations, if there are any: the model learns something that a constant does not know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from redheart.config import load_config
from redheart.embedding import embed_dataset
from redheart.training.trainer import Trainer
from tests.training.runs import training_metrics

pytestmark = pytest.mark.slow
#: What a sweep of 25 trials of 12 epochs chose on this data.
SWEPT = 2.77e-4
#: Of 768: embedding them is what takes time here.
STORIES = 400


@pytest.fixture(scope="module")
def last_epoch(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Validation metrics per task after 4 epochs of ``tiny``, on a title, an action, a window and the whole of each story."""
    folder = tmp_path_factory.mktemp("real")
    dataset = folder / "situations.json"
    dataset.write_text(json.dumps(json.loads((real_data / "situations.json").read_text())[:STORIES]))
    config = load_config(
        None, ["model.preset=tiny", "training.epochs=4", "embedding.max_segments=4", "embedding.precision=bf16"]
    )
    embedded = embed_dataset(dataset, config.embedding, output_root=folder)
    Trainer(config, embedded.path, folder / "training", learning_rate=SWEPT).run()
    records = training_metrics(folder / "training")
    assert records[-1]["choose"]["count"] >= 30
    tasks: dict[str, dict[str, float]] = records[-1]["choose"]["tasks"]
    return tasks


def test_the_variance_of_every_regression_is_explained_in_part(last_epoch: dict[str, dict[str, float]]) -> None:
    explained = [last_epoch[task]["r2"] for task in ("regret", "bentham", "surd")]
    assert min(explained) > 0 and np.mean(explained) > 0.15


def test_emotions_are_nearer_than_the_constant_predictors(last_epoch: dict[str, dict[str, float]]) -> None:
    assert last_epoch["emotion"]["kl"] < 0.9 * last_epoch["emotion"]["kl_constant"]


def test_rank_correlations_show_that_the_order_was_learned(last_epoch: dict[str, dict[str, float]]) -> None:
    assert np.mean([last_epoch[task]["rank_correlation"] for task in ("regret", "bentham", "surd")]) > 0.35
