"""The whole model: what may and what may not change a prediction."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from redheart.model import (
    Batch,
    Outputs,
    TargetStatistics,
    UnifiedModel,
    compute_losses,
    dimensions,
    natural_units,
    valid_counts,
)
from redheart.model.modules.views import linear_views
from redheart.tasks import ANALYZED_TASKS, TASKS
from tests.model.conftest import fit, make_batch


def build(dropout: float = 0.0) -> tuple[UnifiedModel, TargetStatistics, Batch]:
    torch.manual_seed(0)
    batch = make_batch()
    statistics = fit(batch)
    return UnifiedModel(dimensions("tiny", d_embed=48, dropout=dropout), statistics), statistics, batch


def assert_same(one: Outputs, other: Outputs, tolerance: float = 1e-5) -> None:
    for left, right in zip(one, other, strict=True):
        assert left.keys() == right.keys()
        for name in left:
            torch.testing.assert_close(left[name], right[name], atol=tolerance, rtol=tolerance, msg=name)


def test_every_task_and_every_auxiliary_has_its_shape() -> None:
    model, _, batch = build()
    outputs = model(*batch.inputs)
    assert {name: tuple(p.shape) for name, p in outputs.predictions.items()} == {
        task.name: (16, len(task.dimensions)) for task in TASKS
    }
    assert set(outputs.auxiliary) == {
        *(f"{group}.{name}" for group in ("neural_analyzers", "advanced_wrappers") for name in ANALYZED_TASKS),
        *("phases.self", "phases.empathy", "phases.community", "dsp_simulator", "kalman_filter"),
    }


def test_padding_changes_nothing_whatever_stands_in_it() -> None:
    model, _, batch = build()
    longer = (
        F.pad(batch.segments, (0, 0, 0, 7), value=torch.nan),
        F.pad(batch.segment_mask, (0, 7), value=False),
        F.pad(batch.kinds, (0, 7), value=2),
        F.pad(batch.positions, (0, 7), value=3),
    )
    assert_same(model(*batch.inputs), model(*longer))


def test_a_neighbour_in_the_batch_changes_nothing() -> None:
    model, _, batch = build()
    whole = model(*batch.inputs)
    alone = model(*batch.rows(3, 4).inputs)
    rows = Outputs(*({name: tensor[3:4] for name, tensor in part.items()} for part in whole))
    assert_same(rows, alone)


def test_a_filler_row_without_segments_is_finite_and_leaves_the_gradients_finite() -> None:
    model, statistics, batch = build()
    batch.segment_mask[5] = False
    for mask in batch.target_mask.values():
        mask[5] = False
    losses = compute_losses(model(*batch.inputs), batch, statistics)
    losses.total.backward()
    assert losses.total.isfinite()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_without_dropout_training_mode_is_deterministic_and_with_it_it_is_not() -> None:
    model, _, batch = build()
    assert_same(model.train()(*batch.inputs), model(*batch.inputs), tolerance=0.0)
    noisy, _, _ = build(dropout=0.1)
    one, other = (noisy.train()(*batch.inputs).predictions["bentham"] for _ in range(2))
    assert not torch.equal(one, other)


def test_the_length_of_an_encoders_vectors_does_not_matter() -> None:
    model, _, batch = build()
    segments, *rest = batch.inputs
    assert_same(model(segments, *rest), model(0.01 * segments, *rest), tolerance=1e-4)


def test_untrained_it_is_about_as_good_as_the_constant_predictor() -> None:
    model, statistics, batch = build()
    outputs = model(*batch.inputs)
    for task in TASKS:
        served = natural_units(task.name, outputs.predictions[task.name], statistics)
        one = statistics[task.name]
        constant = torch.tensor(one.prior if task.is_distribution else one.mean)
        scale = torch.ones(1) if task.is_distribution else torch.tensor(one.scale)
        assert ((served - constant) / scale).square().mean().sqrt() < 0.5, task.name


def test_linear_views_are_title_and_action_at_half_size_mean_of_the_windows_and_the_text_whole() -> None:
    batch = make_batch()
    segments, mask = batch.segments.numpy(), batch.segment_mask.numpy()
    loud = batch.segments.masked_fill(~batch.segment_mask.unsqueeze(-1), 1e3)  # padding is in no view
    views = linear_views(loud, batch.segment_mask, batch.kinds).numpy()
    assert views.shape == (16, 4 * 48)
    for item, count in enumerate(mask.sum(axis=1)):
        title, action, *windows, whole = segments[item, :count]
        wanted = np.concatenate([title / 2, action / 2, np.mean(windows, axis=0), whole])
        np.testing.assert_allclose(views[item], wanted, atol=1e-5)


def test_what_a_story_lacks_is_zeros_in_its_view() -> None:
    for place, kind in ((0, 0), (1, 1), (-1, 3)):
        batch = make_batch()
        batch.kinds[batch.kinds == kind] = 2
        views = linear_views(batch.segments, batch.segment_mask, batch.kinds).view(16, 4, 48)
        assert views[:, place].abs().max() == 0.0
        others = [view for view in range(4) if view != place % 4]
        assert views[:, others].abs().amax(dim=-1).min() > 0.0


def test_filter_and_smoother_hear_the_storys_course_and_not_the_text_whole() -> None:
    model, _, batch = build()
    whole = (batch.kinds == 3) & batch.segment_mask
    heard: dict[str, tuple[torch.Tensor, ...]] = {}
    for name in ("dsp_simulator", "kalman_filter"):
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: heard.__setitem__(name, inputs)
        )
    model(*batch.inputs)
    for name, (hidden, mask) in heard.items():
        module = model.get_submodule(name)
        other = torch.where(whole.unsqueeze(-1), 5 * torch.randn_like(hidden), hidden)
        for before, after in zip(module(hidden, mask), module(other, mask), strict=True):
            assert torch.equal(before, after), name
        window = torch.zeros_like(whole)
        window[:, 2] = True
        changed = torch.where(window.unsqueeze(-1), 5 * torch.randn_like(hidden), hidden)
        for before, after in zip(module(hidden, mask), module(changed, mask), strict=True):
            assert (before != after).any(dim=-1).all(), name
        # As if the text whole had never stood there.
        shorter = hidden[0, :8].unsqueeze(0), mask[0, :8].unsqueeze(0)
        for before, after in zip(module(hidden, mask), module(*shorter), strict=True):
            torch.testing.assert_close(before[:1], after, msg=name)


def test_the_text_whole_changes_predictions() -> None:
    model, _, batch = build()
    segments = torch.where((batch.kinds == 3).unsqueeze(-1), batch.segments.flip(0), batch.segments)
    one, other = model(*batch.inputs).predictions, model(segments, *batch.inputs[1:]).predictions
    for task in TASKS:
        assert not torch.allclose(one[task.name][0], other[task.name][0], atol=1e-5), task.name


def test_the_order_of_the_windows_matters() -> None:
    model, _, batch = build()
    segments = batch.segments.clone()
    segments[:, [2, 3]] = segments[:, [3, 2]]
    one, other = model(*batch.inputs).predictions, model(segments, *batch.inputs[1:]).predictions
    # The emotions know the order by dsp and kalman too; bentham only by the positions.
    for task in ("emotion", "bentham"):
        assert not torch.allclose(one[task][0], other[task][0], atol=1e-5), task


def test_each_module_has_a_say_in_what_counts() -> None:
    """Silencing any part changes a prediction: no part is there for its own loss alone."""
    model, _, batch = build()
    whole = model(*batch.inputs).predictions
    for name in ("phases", "dsp_simulator", "kalman_filter", "neural_analyzers.regret", "advanced_wrappers.surd"):
        silenced, _, _ = build()
        with torch.no_grad():
            for parameter in silenced.get_submodule(name).parameters():
                parameter.zero_()
        predictions = silenced(*batch.inputs).predictions
        assert any(not torch.allclose(whole[task], predictions[task], atol=1e-6) for task in whole), name


def test_a_bfloat16_forward_pass_stays_near_fp32() -> None:
    model, statistics, batch = build()
    exact = compute_losses(model(*batch.inputs), batch, statistics).total
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(*batch.inputs)
    assert all(tensor.dtype == torch.float32 for tensor in outputs.predictions.values())
    mixed = compute_losses(outputs, batch, statistics).total
    mixed.backward()
    torch.testing.assert_close(mixed, exact, atol=0.02, rtol=0.02)
    whole = model.to(torch.bfloat16)(*batch.inputs)
    torch.testing.assert_close(compute_losses(whole, batch, statistics).total, exact, atol=0.05, rtol=0.05)


def test_no_loss_has_a_floor_above_the_targets_entropy() -> None:
    """Sixteen items are learnt by heart: what remains is the entropy of the targets, and nothing of the regressions."""
    torch.manual_seed(0)
    batch = make_batch(longest=5)
    statistics = fit(batch)
    model = UnifiedModel(dimensions("tiny", d_embed=48, dropout=0.0), statistics)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(60):
        optimizer.zero_grad()
        losses = compute_losses(model(*batch.inputs), batch, statistics, valid_counts(batch))
        losses.total.backward()
        optimizer.step()
    entropy = {
        name: -(target * target.log()).sum(-1).mean().item()
        for name, target in batch.targets.items()
        if name in ("emotion", "votes")
    }
    floors = {"self": "emotion", "community": "votes", "dsp_simulator": "emotion", "kalman_filter": "emotion"}
    for name, term in losses.terms.items():
        last = name.rpartition(".")[2]
        target = "votes" if last == "verdict" else floors.get(last, last)
        assert term.item() - entropy.get(target, 0.0) < 0.05, name
