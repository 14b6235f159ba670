"""A trial is the main training in short: same model, optimizer, batch and loss; only its length differs."""

from __future__ import annotations

import json

import pytest
import torch

from redheart.config import load_config
from redheart.embedding import open_embedded
from redheart.errors import Interrupted
from redheart.model import UnifiedModel
from redheart.training import stage as stage_module
from redheart.training import trial as trial_module
from redheart.training.identity import run_identity, trial_identity
from redheart.training.loop import TrainingLoop
from redheart.training.trial import TrialRunner
from tests.training.runs import train


def config(*overrides):
    return load_config(None, ["model.preset=tiny", "sweep.epochs=1", "training.global_batch_size=16", *overrides])


def outcome(runner, **arguments):
    found = json.loads(json.dumps({**vars(runner.run(**arguments)), "seconds": None}, allow_nan=False))
    return {key: value for key, value in found.items() if key != "seconds"}


@pytest.fixture
def first_steps(monkeypatch):
    """Sees each loop's first step, and the weights before it."""
    seen = []
    original = TrainingLoop._step

    def spy(self, epoch, index, batches):
        if self.global_step == 0:
            before = {name: tensor.clone() for name, tensor in self.engine.whole_tensors().items()}
        step = original(self, epoch, index, batches)
        if step.global_step == 1:
            seen.append((before, step, list(batches[0])))
        return step

    monkeypatch.setattr(TrainingLoop, "_step", spy)
    return seen


def test_the_same_seed_and_rate_have_the_same_outcome(dataset):
    runner = TrialRunner(config("sweep.epochs=2"), dataset)
    first = outcome(runner, learning_rate=1e-3, seed=3)
    assert first == outcome(runner, learning_rate=1e-3, seed=3)
    assert not first["diverged"] and len(first["curve"]) == 2 and first["val_loss"] == first["curve"][-1]["val_loss"]
    assert 0 <= first["accuracy"] <= 1 and first["val_loss"] != first["train_loss"]
    assert (first["choose_count"], first["train_count"]) == (10, 47)


def test_different_rates_start_from_the_same_weights_and_another_seed_from_others(dataset, first_steps):
    runner = TrialRunner(config(), dataset)
    results = [outcome(runner, learning_rate=rate, seed=seed) for rate, seed in ((1e-4, 1), (3e-3, 1), (1e-4, 2))]
    (low, low_step, _), (high, high_step, _), (other, other_step, _) = first_steps
    assert all(torch.equal(low[name], high[name]) for name in low)
    assert low_step.loss == high_step.loss != other_step.loss
    assert not all(torch.equal(low[name], other[name]) for name in low)
    assert len({result["val_loss"] for result in results}) == 3


@pytest.mark.parametrize("rate", [0.3, 1e3, 1e30], ids=["grows", "singular", "overflows"])
def test_a_huge_rate_diverges_and_leaves_none_instead_of_nan(dataset, rate):
    """Slowly, by a validation loss that grows; by matrices that have no factors any more; at once."""
    runner = TrialRunner(config("sweep.epochs=4", "training.warmup_fraction=0.8"), dataset)
    result = outcome(runner, learning_rate=rate, seed=0)
    assert result["diverged"] and result["val_loss"] is result["train_loss"] is result["accuracy"] is None
    assert (len(result["curve"]) > 1) == (rate < 1), "the curve that led there is kept"


def test_the_main_trainings_first_step_is_a_trials_first_step(dataset, tmp_path, first_steps):
    settings = config("training.epochs=1", "seed=4")
    outcome(TrialRunner(settings, dataset), learning_rate=1e-3, seed=4)
    train(dataset, tmp_path / "out", settings)
    (trial_weights, trial, trial_ids), (main_weights, main, main_ids) = first_steps
    assert all(torch.equal(trial_weights[name], main_weights[name]) for name in main_weights)
    assert trial_ids == main_ids and trial.loss == main.loss and trial.terms == main.terms
    assert trial.learning_rate == main.learning_rate and trial.gradient_norm == main.gradient_norm
    assert stage_module.build_optimizer is trial_module.build_optimizer
    assert stage_module.UnifiedModel is trial_module.UnifiedModel is UnifiedModel


def test_a_dry_run_of_the_main_training_does_not_keep_a_trial_from_updating(dataset):
    plain = TrialRunner(config(), dataset)
    dry = TrialRunner(config("training.no_param_update=true"), dataset)
    assert outcome(plain, learning_rate=1e-3, seed=0) == outcome(dry, learning_rate=1e-3, seed=0)


def test_it_takes_a_part_of_the_data_the_same_for_every_trial(dataset):
    runners = [TrialRunner(config("sweep.max_situations=20"), dataset) for _ in range(2)]
    assert len(runners[0].train) == 20 and (runners[0].train == runners[1].train).all()
    assert set(runners[0].train) < set(runners[0].table.split_indices["train"])


def test_it_stops_when_asked_and_shows_that_it_lives(dataset):
    beats = []
    runner = TrialRunner(config(), dataset)
    with pytest.raises(Interrupted):
        runner.run(learning_rate=1e-3, seed=0, should_stop=lambda: len(beats) >= 2, heartbeat=lambda: beats.append(1))
    assert len(beats) == 2
    runner.run(learning_rate=1e-3, seed=0, heartbeat=lambda: beats.append(1))
    assert len(beats) >= 2 + 3


def test_what_computes_the_numbers_is_the_identity_and_what_watches_is_not(dataset):
    name = open_embedded(dataset).identity

    def trial(*overrides):
        return trial_identity(config(*overrides), name)

    def run(*overrides):
        return run_identity(config(*overrides), name, "tiny", 1e-3)

    for watching in ("training.monitor_every=7", "training.strict=true", "training.micro_batch_size=4"):
        assert trial(watching) == trial() and run(watching) == run()
    assert trial("training.epochs=5") == trial() and run("training.epochs=5") != run()
    for computing in ("training.global_batch_size=8", "training.weight_decay=0.1", "model.dropout=0.3", "seed=9"):
        assert trial(computing) != trial() and run(computing) != run()
    assert run_identity(config(), name, "tiny", 2e-3) != run() != run_identity(config(), "other", "tiny", 1e-3)
