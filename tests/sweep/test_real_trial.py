"""One small sweep with the real trial: the worker and ``TrialRunner`` fit together, and the numbers are a training's."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from redheart.config import load_config
from redheart.embedding import open_embedded
from redheart.sweep import read_optimal_lr, run_sweep


def embedded_dataset(folder: Path, count: int = 120) -> Path:
    """Synthetic situations with inline vectors; regret follows from the vectors, so there is something to learn."""
    generator = random.Random(0)
    items = []
    for number in range(count):
        vectors = [[generator.gauss(0, 1) for _ in range(16)] for _ in range(3)]
        weights = [generator.random() for _ in range(7)]
        items.append(
            {
                "id": f"s{number}",
                "text": f"The story of case {number}, told in full.",
                "label": generator.choice(["AUTHOR", "OTHER"]),
                "emotions": [weight / sum(weights) for weight in weights],
                "regret_factor": min(1.0, max(0.0, 0.5 + 0.2 * vectors[0][0])),
                "embedding": vectors,
            }
        )
    path = folder / "small.embedded.json"
    path.write_text(json.dumps(items))
    return path


@pytest.mark.slow
def test_a_sweep_of_real_trials_trains_and_chooses(tmp_path):
    dataset = embedded_dataset(tmp_path)
    config = load_config(
        None, ["sweep.stages=2", "sweep.points=3", "sweep.epochs=1", "sweep.workers=2", "model.preset=tiny"]
    )
    environment = {"CUDA_VISIBLE_DEVICES": "", "PATH": ""}
    result = run_sweep(config, dataset, open_embedded(dataset).identity, tmp_path, environment=environment)
    trials = [json.loads(path.read_text()) for path in (tmp_path / "lr_sweep_results" / "trials").glob("*.json")]
    assert len(trials) == result.trials == 6
    assert read_optimal_lr(result.optimal) == result.learning_rate
    finite = [trial for trial in trials if not trial["diverged"]]
    assert len({trial["val_loss"] for trial in finite}) == len(finite) > 3, "different learning rates, different losses"
    for trial in finite:
        assert 0 <= trial["accuracy"] <= 1 and trial["choose_count"] > 3 and trial["train_count"] > 50
        assert [epoch["epoch"] for epoch in trial["curve"]] == [1]
        assert trial["val_loss"] != trial["train_loss"]
