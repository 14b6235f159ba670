"""Label smoothing and R-Drop in a training run: they act there, are said to, leave validation alone, and off is off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from redheart.batches.order import epoch_order
from redheart.data.splits import split_of
from redheart.evaluation.evaluate import evaluate_model
from redheart.model import Batch, compute_losses
from redheart.model.losses import TERMS
from redheart.storage import read_lines
from redheart.tasks import TASK_BY_NAME, TASKS
from tests.model.test_regularised_losses import apart, log_softmax
from tests.training import fixed_dropout
from tests.training.runs import furthest, make_loop, metrics, state_of, train, training_metrics
from tests.training.small_data import embedded_items, write_embedded

R_DROP_TERMS = [f"r_drop.{task.name}" for task in TASKS]


@pytest.fixture
def holes(tmp_path):
    """The small dataset with targets missing here and there."""
    items = embedded_items()
    for number, item in enumerate(items):
        for place, field in enumerate(("emotions", "regret_factor", "bentham_scores", "surd_metrics", "label")):
            if split_of(item["text"]) == "train" and (number + 3 * place) % 4 == 0:
                item.pop(field, None)
                if field == "label":
                    item.pop("label_scores", None)
    (tmp_path / "holes").mkdir()
    return write_embedded(tmp_path / "holes", items)


class Forwards:
    """Sees what the loop's forward passes get and give in training."""

    def __init__(self, loop):
        self.inputs, self.outputs = [], []
        loop.engine.unwrapped.register_forward_hook(self._see)

    def _see(self, model, inputs, outputs):
        if model.training:
            self.inputs.append(inputs)
            self.outputs.append(outputs)


def first_batch(loop) -> Batch:
    order = epoch_order(loop.train, seed=0, epoch=1)
    return loop.table.batch(order[: loop.config.global_batch_size])


def test_smoothing_reaches_the_steps_and_by_as_much_as_the_formula_says(table, settings):
    share = 0.3
    loop = make_loop(settings(label_smoothing=share), table)
    seen = Forwards(loop)
    step = next(loop.epoch(1))
    (outputs,) = seen.outputs
    batch = first_batch(loop)
    plain = compute_losses(outputs, batch, loop.statistics)
    expected = plain.total.item()
    for term in TERMS:
        if TASK_BY_NAME[term.task].is_distribution:
            head = term.name.startswith("heads.")
            prediction = outputs.predictions[term.task] if head else outputs.auxiliary[term.name]
            valid = batch.target_mask[term.target].numpy().all(axis=1)
            logs = log_softmax(prediction.detach().double().numpy()[valid])
            target = batch.targets[term.target].double().numpy()[valid]
            by = share * ((target - 1 / target.shape[1]) * logs).sum() / valid.sum()
            assert step.terms[term.name] == pytest.approx(plain.terms[term.name].item() + by, rel=1e-5)
            expected += term.weight * by
    assert step.loss == pytest.approx(expected, rel=1e-5) and abs(expected - plain.total.item()) > 1e-3


def test_r_drop_reaches_the_steps_and_by_as_much_as_the_formula_says(table, settings):
    weight = 0.7
    loop = make_loop(settings(r_drop=weight, dropout=0.3), table)
    seen = Forwards(loop)
    step = next(loop.epoch(1))
    ((segments, *_),), (outputs,) = seen.inputs, seen.outputs
    batch = first_batch(loop)
    assert len(segments) == 2 * len(batch) and torch.equal(*segments.chunk(2)), "one pass over the batch beside itself"
    both = compute_losses(outputs, batch.twice(), loop.statistics)
    expected = both.total.item()
    for task in TASKS:
        by = apart(task.name, outputs.predictions[task.name].detach().double().numpy(), batch)
        assert step.terms[f"r_drop.{task.name}"] == pytest.approx(by, rel=1e-4)
        assert by > 1e-4, "the two passes drew dropout of their own"
        expected += weight * 0.60 / 5 * by
    assert step.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("chosen", [{"label_smoothing": 0.2}, {"r_drop": 2.0}], ids=["smoothing", "r_drop"])
def test_they_change_what_is_learnt(table, settings, chosen):
    """By more than the draw of dropout does: that is the same in both."""
    states = []
    for extra in ({}, chosen):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nn.Dropout, "forward", fixed_dropout.forward)
            loop = make_loop(settings(dropout=0.1, **extra), table)
            list(loop.epoch(1))
            states.append(state_of(loop))
    assert furthest(*states) > 1e-4


def test_validation_is_scored_without_them(dataset, settings, tmp_path):
    """With no step taken the weights are the same, and so is every number of validation."""
    lines = []
    for name, chosen in (("plain", {}), ("both", {"label_smoothing": 0.3, "r_drop": 1.0})):
        train(dataset, tmp_path / name, settings(epochs=1, dropout=0.1, no_param_update=True, **chosen))
        lines += metrics(tmp_path / name)
    plain, both = lines
    assert both["choose"] == plain["choose"]
    assert both["train"]["terms"]["heads.emotion"] > plain["train"]["terms"]["heads.emotion"] + 1e-3
    assert set(both["train"]["terms"]) - set(plain["train"]["terms"]) == set(R_DROP_TERMS)


def test_what_is_on_is_said_in_one_line_and_stored_and_what_is_off_is_absent(dataset, settings, tmp_path, logged):
    train(dataset, tmp_path / "off", settings(epochs=1, no_param_update=True))
    for word in ("켜진 설정", "R-Drop", "스무딩", "EMA", "WSD", "감쇠"):
        assert word not in logged()
    assert not any("r_drop" in name for line in metrics(tmp_path / "off") for name in line["train"]["terms"])
    chosen = {"label_smoothing": 0.1, "r_drop": 0.5, "ema_decay": 0.99, "layer_lr_decay": 0.9, "schedule": "wsd"}
    train(dataset, tmp_path / "on", settings(epochs=1, dropout=0.1, no_param_update=True, **chosen))
    (line,) = [line for line in logged().splitlines() if "켜진 설정" in line]
    for phrase in ("WSD 스케줄 (마지막 20% 감소)", "층별 LR 감쇠 0.9", "EMA 0.99", "레이블 스무딩 0.1", "R-Drop 0.5"):
        assert phrase in line
    stored = read_lines(tmp_path / "on" / "metrics.jsonl")[0]["config"]["training"]
    assert {key: stored[key] for key in chosen} == chosen


def test_off_costs_nothing(table, settings):
    """One pass over each situation, and the same bits whether they are absent or set to zero."""
    states = []
    for chosen in ({}, {"label_smoothing": 0.0, "r_drop": 0.0}):
        loop = make_loop(settings(dropout=0.2, **chosen), table)
        seen = Forwards(loop)
        list(loop.epoch(1))
        states.append(state_of(loop))
        assert sum(len(inputs[0]) for inputs in seen.inputs) == len(loop.train)
    assert furthest(*states) == 0.0


def test_the_cut_into_micro_batches_changes_neither_losses_nor_weights(holes, settings, tmp_path, monkeypatch):
    """With both on, annotations missing here and there, and two passes that differ however the batch is cut."""
    monkeypatch.setattr(nn.Dropout, "forward", fixed_dropout.forward)
    chosen = {"label_smoothing": 0.2, "r_drop": 1.5, "ema_decay": 0.5, "dropout": 0.1, "global_batch_size": 32}
    for size in (32, 4):
        train(holes, tmp_path / str(size), settings(epochs=1, micro_batch_size=size, **chosen))
    (whole,), (cut,) = (training_metrics(tmp_path / name) for name in ("32", "4"))
    assert cut["train"]["loss"] == pytest.approx(whole["train"]["loss"], rel=1e-5)
    assert cut["train"]["terms"] == pytest.approx(whole["train"]["terms"], rel=1e-4)
    assert all(whole["train"]["terms"][name] > 1e-6 for name in R_DROP_TERMS)
    assert cut["choose"]["loss"] == pytest.approx(whole["choose"]["loss"], rel=1e-5)
    assert cut["gradient"]["total_norm_mean"] == pytest.approx(whole["gradient"]["total_norm_mean"], rel=1e-4)


def test_an_evaluation_in_between_is_the_plain_loss(table, settings):
    loop = make_loop(settings(label_smoothing=0.3, r_drop=1.0, dropout=0.2), table)
    list(loop.epoch(1))
    model = loop.engine.unwrapped.eval()
    batch = table.batch(table.split_indices["choose"])
    with torch.no_grad():
        predictions = model(*batch.inputs).predictions
    found = evaluate_model(loop.engine.model, table, "choose", statistics=loop.statistics)
    for task in ("emotion", "verdict"):
        logs = log_softmax(predictions[task].double().numpy())
        expected = -(batch.targets[task].double().numpy() * logs).sum(axis=1).mean()
        assert batch.target_mask[task].all() and found.terms[f"heads.{task}"] == pytest.approx(expected, rel=1e-5)
    assert not any(name.startswith("r_drop") for name in found.terms)


def test_fixed_dropout_is_what_its_text_says():
    layer = nn.Dropout(0.5)
    x = torch.ones(4, 2)
    assert fixed_dropout.forward(layer, x)[:, 0].tolist() == pytest.approx([1.1, 1.1, 0.9, 0.9])
    assert np.array_equal(fixed_dropout.forward(layer.eval(), x), x)
