"""A trial is the main training in short: same model, optimizer, batch and loss; only its length differs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from redheart.config import load_config
from redheart.data.splits import split_of
from redheart.embedding import open_embedded
from redheart.errors import Interrupted
from redheart.model import UnifiedModel
from redheart.sweep.identity import sweep_identity
from redheart.training import trainer as trainer_module
from redheart.training import trial as trial_module
from redheart.training.callbacks.trial_curve import TrialCurve
from redheart.training.identity import run_identity, trial_identity
from redheart.training.loop import TrainingLoop
from redheart.training.trial import TrialRunner
from tests.training.runs import train
from tests.training.small_data import embedded_items, write_embedded


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
            before = {name: tensor.clone() for name, tensor in self.engine.full_state_dict().items()}
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


def altered(folder: Path, split: str) -> Path:
    """The small dataset with other vectors for the situations of ``split``."""
    folder.mkdir()
    items = embedded_items()
    for item in items:
        if split_of(item["text"]) == split:
            item["embedding"] = [[2 - number for number in vector] for vector in item["embedding"]]
    return write_embedded(folder, items)


def test_a_trial_is_scored_on_choose_and_sees_nothing_of_judge_and_test(dataset, tmp_path):
    """Vectors of ``choose`` decide the validation loss and nothing else; those of ``judge`` and ``test`` nothing at all."""
    settings = config("sweep.epochs=2")
    plain = outcome(TrialRunner(settings, dataset), learning_rate=1e-3, seed=3)
    for split in ("judge", "test"):
        other = TrialRunner(settings, altered(tmp_path / split, split))
        assert outcome(other, learning_rate=1e-3, seed=3) == plain, split
    runner = TrialRunner(settings, altered(tmp_path / "choose", "choose"))
    other = outcome(runner, learning_rate=1e-3, seed=3)
    assert other["val_loss"] != plain["val_loss"] and other["train_loss"] == plain["train_loss"]
    assert len({len(runner.table.split_indices[split]) for split in ("choose", "judge", "test")}) == 3, "counts tell"
    assert other["choose_count"] == len(runner.table.split_indices["choose"])


def test_the_count_is_of_what_was_scored_and_not_of_what_there_is(dataset):
    """One that diverged in its first step was scored on nothing."""
    overrides = ("training.max_nonfinite_steps=1", "training.warmup_fraction=0")
    result = outcome(TrialRunner(config(*overrides), dataset), learning_rate=1e30, seed=0)
    assert result["diverged"] and not result["curve"] and result["choose_count"] == 0


def test_different_rates_start_from_the_same_weights_and_another_seed_from_others(dataset, first_steps):
    runner = TrialRunner(config(), dataset)
    results = [outcome(runner, learning_rate=rate, seed=seed) for rate, seed in ((1e-4, 1), (3e-3, 1), (1e-4, 2))]
    (low, low_step, _), (high, high_step, _), (other, other_step, _) = first_steps
    assert all(torch.equal(low[name], high[name]) for name in low)
    assert low_step.loss == high_step.loss != other_step.loss
    assert not all(torch.equal(low[name], other[name]) for name in low)
    assert len({result["val_loss"] for result in results}) == 3


def test_another_seed_sees_the_situations_in_another_order(dataset, first_steps):
    runner = TrialRunner(config(), dataset)
    for seed in (1, 1, 2):
        outcome(runner, learning_rate=1e-3, seed=seed)
    (_, _, first), (_, _, again), (_, _, other) = first_steps
    assert first == again and first != other


def test_the_training_loss_is_a_mean_over_situations_and_not_over_batches():
    """Steps of 16, 16 and 4 situations."""
    curve = TrialCurve()
    run = SimpleNamespace()
    for loss, situations in ((1.0, 16), (2.0, 16), (9.0, 4)):
        curve.after_step(run, SimpleNamespace(loss=loss, situations=situations, gradient_norm=None))
    curve.after_epoch(run, SimpleNamespace(epoch=1, evaluation=SimpleNamespace(loss=0.5)))
    assert curve._curve == [{"epoch": 1, "val_loss": 0.5, "train_loss": (1.0 * 16 + 2.0 * 16 + 9.0 * 4) / 36}]


@pytest.mark.parametrize("rate", [1.0, 1e3, 1e30], ids=["grows", "singular", "overflows"])
def test_a_huge_rate_diverges_and_leaves_none_instead_of_nan(dataset, rate):
    """Slowly, by a validation loss that grows; by matrices that have no factors any more; at once."""
    runner = TrialRunner(config("sweep.epochs=4", "training.warmup_fraction=0.8"), dataset)
    result = outcome(runner, learning_rate=rate, seed=0)
    assert result["diverged"] and result["val_loss"] is result["train_loss"] is result["accuracy"] is None
    assert (len(result["curve"]) > 1) == (rate < 10), "the curve that led there is kept"


def test_the_main_trainings_first_step_is_a_trials_first_step(dataset, tmp_path, first_steps):
    settings = config("training.epochs=1", "seed=4")
    outcome(TrialRunner(settings, dataset), learning_rate=1e-3, seed=4)
    train(dataset, tmp_path / "out", settings)
    (trial_weights, trial, trial_ids), (main_weights, main, main_ids) = first_steps
    assert all(torch.equal(trial_weights[name], main_weights[name]) for name in main_weights)
    assert trial_ids == main_ids and trial.loss == main.loss and trial.terms == main.terms
    assert trial.learning_rate == main.learning_rate and trial.gradient_norm == main.gradient_norm
    assert trainer_module.build_optimizer is trial_module.build_optimizer
    assert trainer_module.UnifiedModel is trial_module.UnifiedModel is UnifiedModel


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


#: A setting that came after the first runs; what it is off at; a value that changes results.
LATER = [
    ("layer_lr_decay", "1.0", "0.9"),
    ("schedule", "cosine", "wsd"),
    ("ema_decay", "null", "0.9"),
    ("ema_decay", "0", "0.9"),
    ("label_smoothing", "0", "0.1"),
    ("r_drop", "0.0", "0.5"),
]


@pytest.mark.parametrize("key, off, on", LATER)
def test_a_later_setting_is_part_of_the_identity_where_it_is_on_and_a_run_of_before_it_keeps_its_own(key, off, on):
    for identity in (
        lambda *overrides: trial_identity(config(*overrides), "data"),
        lambda *overrides: run_identity(config(*overrides), "data", "tiny", 1e-3),
        lambda *overrides: sweep_identity(config(*overrides), "data"),
    ):
        assert identity(f"training.{key}={off}") == identity() != identity(f"training.{key}={on}")
    assert key not in run_identity(config(), "data", "tiny", 1e-3)["training"]
    assert key not in trial_identity(config(), "data")["training"]


def test_what_only_wsd_reads_is_part_of_the_identity_only_with_it():
    def run(*overrides):
        return run_identity(config(*overrides), "data", "tiny", 1e-3)

    assert run("training.decay_fraction=0.3") == run()
    assert run("training.schedule=wsd", "training.decay_fraction=0.3") != run("training.schedule=wsd")
