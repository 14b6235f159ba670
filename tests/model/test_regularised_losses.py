"""Label smoothing and R-Drop against formulas written down a second time, in numpy."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from redheart.model import Batch, Outputs, TargetStatistics, UnifiedModel, compute_losses, dimensions, valid_counts
from redheart.model.losses import TERMS
from redheart.model.r_drop import with_divergence
from redheart.tasks import TASK_BY_NAME, TASKS
from tests.model.conftest import fit, make_batch

HEAD_WEIGHT = 0.60 / 5


@pytest.fixture
def partly() -> Batch:
    """A batch with holes, with NaN in their places."""
    batch = make_batch()
    generator = torch.Generator().manual_seed(7)
    for name, mask in batch.target_mask.items():
        shape = mask.shape if name in ("bentham", "surd", "regret") else (len(batch), 1)
        mask &= torch.rand(shape, generator=generator) < 0.6
        batch.targets[name][~mask] = math.nan
    return batch


def predicted(batch: Batch, passes: int = 1, dropout: float = 0.2) -> tuple[Outputs, TargetStatistics]:
    """What a model in training says, as leaves of the graph."""
    torch.manual_seed(0)
    statistics = fit(make_batch())
    model = UnifiedModel(dimensions("tiny", d_embed=48, dropout=dropout), statistics).train()
    outputs = model(*(batch.twice() if passes == 2 else batch).inputs)
    return Outputs(*({n: t.detach().requires_grad_(True) for n, t in kind.items()} for kind in outputs)), statistics


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


class TestLabelSmoothing:
    SHARE = 0.3

    def test_value_and_gradient_are_those_of_targets_mixed_with_the_uniform_distribution(self, partly):
        outputs, statistics = predicted(partly)
        losses = compute_losses(outputs, partly, statistics, label_smoothing=self.SHARE)
        losses.total.backward()
        smoothed = 0
        for term in TERMS:
            if not TASK_BY_NAME[term.task].is_distribution:
                continue
            smoothed += 1
            head = term.name.startswith("heads.")
            prediction = outputs.predictions[term.task] if head else outputs.auxiliary[term.name]
            valid = partly.target_mask[term.target].numpy().all(axis=1)
            target = partly.targets[term.target].double().numpy()[valid]
            target = (1 - self.SHARE) * target + self.SHARE / target.shape[1]
            logs = log_softmax(prediction.detach().double().numpy()[valid])
            assert losses.terms[term.name].item() == pytest.approx(-(target * logs).sum() / valid.sum(), rel=1e-5)
            expected = np.zeros(prediction.shape)
            expected[valid] = term.weight * (np.exp(logs) - target) / valid.sum()
            np.testing.assert_allclose(prediction.grad.numpy(), expected, rtol=1e-4, atol=1e-7, err_msg=term.name)
        assert smoothed == 8, "two heads, an analyzer, a wrapper, two levels, dsp and kalman"

    def test_numbers_are_not_smoothed_and_nothing_is_without_being_asked_for(self, partly):
        outputs, statistics = predicted(partly)
        plain = compute_losses(outputs, partly, statistics).terms
        smoothed = compute_losses(outputs, partly, statistics, label_smoothing=self.SHARE).terms
        for term in TERMS:
            same = torch.equal(plain[term.name], smoothed[term.name])
            assert same == (not TASK_BY_NAME[term.task].is_distribution), term.name
        off = compute_losses(outputs, partly, statistics, label_smoothing=0.0).terms
        assert all(torch.equal(plain[name], off[name]) for name in plain)


def divergence(task: str, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(batch,) the mean of KL(p‖q) and KL(q‖p), or (batch, dims) the squared difference."""
    if not TASK_BY_NAME[task].is_distribution:
        return (one - other) ** 2
    p, q = np.exp(log_softmax(one)), np.exp(log_softmax(other))
    return ((p * np.log(p / q)).sum(axis=1) + (q * np.log(q / p)).sum(axis=1)) / 2


def apart(task: str, prediction: np.ndarray, batch: Batch) -> float:
    """The mean divergence of a head's two predictions over what is annotated."""
    mask = batch.target_mask[task].numpy()
    valid = mask.all(axis=1) if TASK_BY_NAME[task].is_distribution else mask
    found = divergence(task, *np.split(prediction, 2))
    return float(found[valid].sum() / valid.sum())


class TestRDrop:
    WEIGHT = 0.7

    def losses(self, outputs, batch, statistics, weight):
        counts = valid_counts(batch)
        both = compute_losses(outputs, batch.twice(), statistics, {name: 2 * count for name, count in counts.items()})
        return both, with_divergence(both, outputs, batch, counts, weight)

    def test_values_are_those_of_the_formula(self, partly):
        outputs, statistics = predicted(partly, passes=2)
        both, losses = self.losses(outputs, partly, statistics, self.WEIGHT)
        added = 0.0
        for task in TASKS:
            expected = apart(task.name, outputs.predictions[task.name].detach().double().numpy(), partly)
            assert expected > 1e-5, "dropout has told the passes apart"
            assert losses.terms[f"r_drop.{task.name}"].item() == pytest.approx(expected, rel=1e-4)
            added += self.WEIGHT * HEAD_WEIGHT * expected
        assert losses.total.item() == pytest.approx(both.total.item() + added, rel=1e-5)

    def test_gradients_are_those_of_the_formula(self, partly):
        """By central differences of the numpy formula, with respect to both passes."""
        outputs, statistics = predicted(partly, passes=2)
        both, losses = self.losses(outputs, partly, statistics, self.WEIGHT)
        (losses.total - both.total).backward()
        for task in TASKS:
            prediction = outputs.predictions[task.name].detach().double().numpy()
            for row in (0, 3, 16, 19, 21):
                for column in range(prediction.shape[1]):
                    step = np.zeros_like(prediction)
                    step[row, column] = 1e-5
                    slope = (
                        apart(task.name, prediction + step, partly) - apart(task.name, prediction - step, partly)
                    ) / 2e-5
                    found = outputs.predictions[task.name].grad[row, column].item()
                    assert found == pytest.approx(self.WEIGHT * HEAD_WEIGHT * slope, rel=1e-3, abs=1e-6)

    def test_the_loss_of_both_passes_is_the_mean_of_each_alone(self, partly):
        outputs, statistics = predicted(partly, passes=2)
        both, _ = self.losses(outputs, partly, statistics, self.WEIGHT)
        halves = [
            compute_losses(
                Outputs(*({n: t.chunk(2)[half] for n, t in kind.items()} for kind in outputs)), partly, statistics
            )
            for half in (0, 1)
        ]
        assert halves[0].total.item() != halves[1].total.item()
        assert both.total.item() == pytest.approx((halves[0].total.item() + halves[1].total.item()) / 2, rel=1e-5)

    def test_the_parts_of_a_batch_add_up_to_the_whole(self, partly):
        outputs, statistics = predicted(partly, passes=2)
        counts = valid_counts(partly)
        twice = {name: 2 * count for name, count in counts.items()}

        def total(start: int, stop: int) -> dict[str, torch.Tensor]:
            rows = [*range(start, stop), *range(len(partly) + start, len(partly) + stop)]
            part = Outputs(*({n: t[rows] for n, t in kind.items()} for kind in outputs))
            batch = partly.rows(start, stop)
            both = compute_losses(part, batch.twice(), statistics, twice)
            losses = with_divergence(both, part, batch, counts, self.WEIGHT)
            return {**losses.terms, "total": losses.total}

        whole = total(0, 16)
        for cuts in ([0, 8, 16], [0, 3, 4, 16]):
            parts = [total(start, stop) for start, stop in pairwise(cuts)]
            for name, value in whole.items():
                torch.testing.assert_close(torch.stack([part[name] for part in parts]).sum(), value, msg=name)

    def test_a_head_that_nobody_annotated_contributes_a_zero_with_a_graph(self):
        batch = make_batch()
        for name in ("regret", "emotion"):
            batch.target_mask[name][:] = False
            batch.targets[name][:] = math.nan
        outputs, statistics = predicted(batch, passes=2)
        _, losses = self.losses(outputs, batch, statistics, self.WEIGHT)
        losses.total.backward()
        for name in ("regret", "emotion"):
            assert losses.terms[f"r_drop.{name}"].item() == 0.0 and losses.terms[f"r_drop.{name}"].requires_grad
            assert outputs.predictions[name].grad.eq(0.0).all()

    def test_twice_puts_the_batch_beside_itself(self, partly):
        both = partly.twice()
        assert both.ids == partly.ids * 2 and len(both) == 32
        for part in (both.rows(0, 16), both.rows(16, 32)):
            assert all(torch.equal(a, b) for a, b in zip(part.inputs, partly.inputs, strict=True))
            for name, mask in partly.target_mask.items():
                assert torch.equal(part.target_mask[name], mask)
                assert torch.equal(part.targets[name][mask], partly.targets[name][mask])
