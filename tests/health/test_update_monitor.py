"""The update monitor sees what does not train, although weight decay moves it; and says nothing where nothing is."""

from __future__ import annotations

import pytest
import torch

from redheart.errors import TrainingError
from redheart.health.update_check import is_due
from redheart.health.update_monitor import UpdateMonitor
from redheart.health.weight_changes import sample_of
from redheart.model import UnifiedModel
from redheart.tasks import MODULES
from redheart.training import trainer as trainer_module
from redheart.training.optimizer import build_optimizer
from tests.training.runs import make_loop, metrics, same_bits, train, weights

PLANTED = "neural_analyzers.regret"
UPDATED = "✅ 파라미터 업데이트됨"


def freeze_gradient(monkeypatch, names, how) -> None:
    """Plants tensors that do not train: ``zero`` gradients, no gradient at all (``detached``), or not ``held`` by the optimizer."""
    if how == "not held":

        def build(model, learning_rate, config):
            optimizer = build_optimizer(model, learning_rate, config)
            chosen = {id(parameter) for name, parameter in model.named_parameters() if names(name)}
            for group in optimizer.param_groups:
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
            return optimizer

        monkeypatch.setattr(trainer_module, "build_optimizer", build)
        return
    original = UnifiedModel.__init__

    def init(self, config, statistics):
        original(self, config, statistics)
        for name, parameter in self.named_parameters():
            if names(name) and how == "zero":
                parameter.register_hook(torch.zeros_like)
            elif names(name):  # autograd leaves no trace of what was detached in the forward pass
                parameter.register_post_accumulate_grad_hook(lambda one: setattr(one, "grad", None))

    monkeypatch.setattr(UnifiedModel, "__init__", init)


@pytest.mark.parametrize("how", ["zero", "detached", "not held"])
def test_a_dead_tensor_is_named_although_weight_decay_shrinks_it(dataset, settings, tmp_path, monkeypatch, logged, how):
    names = [
        name for name, parameter in _tiny().named_parameters() if name.startswith(PLANTED) and parameter.dim() == 2
    ]
    dead = names[-1]
    freeze_gradient(monkeypatch, lambda name: name == dead, how)
    train(dataset, tmp_path / "out", settings(epochs=1, weight_decay=0.5, global_batch_size=8), learning_rate=3e-3)
    assert f"업데이트되지 않은 텐서 1개: {dead}\n" in logged()
    assert UPDATED in logged(), "its module as a whole did change"


@pytest.mark.parametrize("how", ["zero", "detached", "not held"])
def test_a_dead_module_is_named_and_no_success_is_claimed(dataset, settings, tmp_path, monkeypatch, logged, how):
    freeze_gradient(monkeypatch, lambda name: name.startswith(f"{PLANTED}."), how)
    train(dataset, tmp_path / "out", settings(epochs=1, weight_decay=0.5, global_batch_size=8), learning_rate=3e-3)
    assert f"업데이트되지 않은 모듈: {PLANTED}\n" in logged()
    assert UPDATED not in logged()
    update = metrics(tmp_path / "out")[0]["update"]["modules"]
    assert update[PLANTED] == {"relative": 0.0, "dead_fraction": 1.0}
    assert all(update[module]["relative"] > 1e-4 for module in MODULES if module != PLANTED)


def test_strict_stops_with_the_module_named(dataset, settings, tmp_path, monkeypatch):
    freeze_gradient(monkeypatch, lambda name: name.startswith(f"{PLANTED}."), "zero")
    with pytest.raises(TrainingError, match=PLANTED):
        train(dataset, tmp_path / "out", settings(epochs=1, strict=True))


def test_a_healthy_model_reports_all_modules_every_so_many_batches(dataset, settings, tmp_path, logged):
    train(dataset, tmp_path / "out", settings(epochs=2, global_batch_size=8, monitor_every=4, strict=True))
    said = [line for line in logged().splitlines() if UPDATED in line]
    assert len(said) == 4, "after batches 4 and 6 of each of the two epochs"
    assert all(f"{len(MODULES)}/{len(MODULES)}" in line for line in said)
    assert "업데이트되지 않은" not in logged()


def test_each_module_has_a_line_at_the_first_look_and_then_every_so_many_batches_of_short_epochs_too(
    dataset, settings, tmp_path, logged
):
    train(dataset, tmp_path / "out", settings(epochs=4, global_batch_size=8, monitor_every=12))  # epochs have 6 batches
    by_epoch = logged().split(UPDATED)[:-1]  # said after the modules' lines
    assert [part.count(": 상대 변화") for part in by_epoch] == [len(MODULES), len(MODULES), 0, len(MODULES)]


@pytest.mark.parametrize(
    ("every", "batches", "told"),
    [(100, 250, [100, 200, 350, 450, 500]), (100, 60, [60, 120]), (4, 6, [4, 10, 12]), (1, 2, [1, 2, 3, 4])],
)
def test_a_look_is_told_by_module_once_in_so_many_batches(every, batches, told):
    looks = [done for done in range(1, batches + 1) if done % every == 0 or done == batches]
    found = [(epoch - 1) * batches + done for epoch in (1, 2) for done in looks if is_due(every, batches, epoch, done)]
    assert found == told


def test_a_dry_run_changes_no_bit_and_claims_nothing(dataset, settings, tmp_path, logged):
    config = settings(epochs=2, no_param_update=True, weight_decay=0.5, strict=True)
    result = train(dataset, tmp_path / "out", config)
    assert result.dry_run and not result.skipped
    assert same_bits(weights(tmp_path / "out", 1), weights(tmp_path / "out", 2))
    assert same_bits(weights(tmp_path / "out"), _initial(dataset, config))
    assert UPDATED not in logged()
    for module in MODULES:
        assert module in logged()
    for line in metrics(tmp_path / "out"):
        assert line["updates"] == 0 and line["gradient"]["total_norm_mean"] > 0
        assert all(entry["relative"] == 0.0 for entry in line["update"]["modules"].values())


def test_dead_rows_are_counted(table, settings):
    loop = make_loop(settings(global_batch_size=8), table)
    name, parameter = next(
        (n, p)
        for n, p in loop.engine.unwrapped.named_parameters()
        if n.startswith("dsp_simulator.") and p.dim() == 2 and len(p) >= 8
    )
    rows = sum(min(len(p), 128) for n, p in loop.engine.unwrapped.named_parameters() if n.startswith("dsp_simulator."))
    half = len(parameter) // 2
    parameter.register_hook(lambda gradient: torch.cat([gradient[:half], torch.zeros_like(gradient[half:])]))
    monitor = UpdateMonitor(loop.engine)
    for _ in loop.epoch(1):
        monitor.stepped()
    report = monitor.check()
    assert report.dead_fraction["dsp_simulator"] == pytest.approx((len(parameter) - half) / rows, abs=0.02)
    assert name not in report.unchanged_tensors


def test_a_sample_spreads_over_the_whole_tensor_and_is_a_copy():
    weight = torch.arange(300 * 200, dtype=torch.float32).reshape(300, 200)
    sample = sample_of(weight)
    assert sample.shape == (128, 128) and sample[0, 0] == 0 and sample[-1, -1] == weight[-1, -1]
    weight.zero_()
    assert sample[-1, -1] != 0
    assert sample_of(torch.ones(5, 1)).shape == (5, 1)


def _tiny():
    from redheart.model import TargetStatistics, dimensions

    return UnifiedModel(dimensions("tiny", d_embed=16), TargetStatistics.neutral())


def _initial(dataset, config):
    """The weights that a run starts from."""
    from redheart.batches.table import SituationTable
    from tests.training.runs import state_of

    return state_of(make_loop(config, SituationTable.open(dataset)))
