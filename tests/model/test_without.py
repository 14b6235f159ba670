"""The model with groups left out: whole in itself, nothing dead, nothing of the group left, the rest as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import nn

from redheart.model import (
    PRESETS,
    Batch,
    LinearModel,
    ModelDimensions,
    TargetStatistics,
    UnifiedModel,
    compute_losses,
    count_model,
    dimensions,
    meta_model,
    modules_of,
)
from redheart.model.losses import TERMS
from redheart.tasks import GROUPS, MODULES, TASKS
from tests.model.conftest import fit, make_batch
from tests.model.groups import by_group
from tests.model.test_depth import deepest_after
from tests.model.test_liveness import find_dead

ABSENT = ("neural_analyzers", "advanced_wrappers", "phases", "dsp_simulator", "kalman_filter")


def build(*without: str, dropout: float = 0.1) -> tuple[UnifiedModel, TargetStatistics, Batch]:
    torch.manual_seed(0)
    batch = make_batch()
    statistics = fit(batch)
    dims = replace(dimensions("tiny", d_embed=48, dropout=dropout), without=without)
    return UnifiedModel(dims, statistics), statistics, batch


@pytest.mark.parametrize("without", [*((group,) for group in GROUPS), GROUPS], ids=lambda groups: "-".join(groups))
def test_every_parameter_of_what_is_left_has_a_gradient_and_an_update(without: tuple[str, ...]) -> None:
    model, statistics, _ = build(*without)
    assert find_dead(model, statistics) == set()


def test_every_parameter_of_the_linear_path_alone_has_a_gradient_and_an_update() -> None:
    batch = make_batch()
    statistics = fit(batch)
    model = LinearModel(replace(dimensions("tiny", d_embed=48), centres=0), statistics)
    assert find_dead(model, statistics) == set()
    assert sum(parameter.numel() for parameter in model.parameters()) == (4 * 48 + 1) * sum(
        len(task.dimensions) for task in TASKS
    )


@pytest.mark.parametrize("without", list(combinations(GROUPS, 2)), ids=lambda pair: "-".join(pair))
def test_any_two_groups_can_be_left_out_together(without: tuple[str, ...]) -> None:
    model, statistics, batch = build(*without)
    outputs = model(*batch.inputs)
    compute_losses(outputs, batch, statistics).total.backward()
    assert [(name, tensor.shape[1]) for name, tensor in outputs.predictions.items()] == [
        (task.name, len(task.dimensions)) for task in TASKS
    ]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("group", GROUPS)
def test_the_count_falls_by_the_group_and_what_replaces_it_is_small(preset: str, group: str) -> None:
    dims = replace(PRESETS[preset], centres=0)  # the mean pool keeps the backbone's
    whole = count_model(meta_model(dims))
    left = count_model(meta_model(replace(dims, without=(group,))))
    removed, replacement = by_group(whole)[group], by_group(left).get(group, 0)
    assert left.total - replacement <= whole.total - removed
    assert (replacement == 0) == (group in ABSENT) and replacement < 0.35 * removed


@pytest.mark.parametrize("group", GROUPS)
def test_modules_and_terms_of_the_group_are_gone_and_no_others(group: str) -> None:
    model, statistics, batch = build(group)
    losses = compute_losses(model(*batch.inputs), batch, statistics)
    gone = group if group in ABSENT else "nothing"
    assert list(modules_of(model)) == [name for name in MODULES if not name.startswith(gone)]
    assert list(losses.terms) == [term.name for term in TERMS if not term.name.startswith(gone)]
    held = {f"{name}.{key}" for name, module in modules_of(model).items() for key in module.state_dict()}
    assert held == set(model.state_dict())


@pytest.mark.parametrize("without", [*((group,) for group in GROUPS), GROUPS], ids=lambda groups: "-".join(groups))
def test_declared_depths_are_those_of_what_is_left(without: tuple[str, ...]) -> None:
    model, _, _ = build(*without, dropout=0.0)
    distances = model.distances()
    for name, after in deepest_after(model, distances).items():
        assert distances[name] in (after, after + 1), (name, distances[name], after)
    assert set(distances.values()) == set(range(max(distances.values()) + 1))


@pytest.mark.parametrize("group", ABSENT)
def test_the_remaining_terms_keep_their_weights(group: str) -> None:
    model, statistics, batch = build(group)
    losses = compute_losses(model(*batch.inputs), batch, statistics)
    expected = sum(term.weight * losses.terms[term.name] for term in TERMS if not term.name.startswith(group))
    torch.testing.assert_close(losses.total, expected)
    assert sum(term.weight for term in TERMS if term.name in losses.terms) < 1.0


def _swapped(batch: Batch) -> tuple[torch.Tensor, ...]:
    segments = batch.segments.clone()
    segments[0, [1, 5]] = segments[0, [5, 1]]
    return segments, *batch.inputs[1:]


def test_without_backbone_the_story_is_a_set_of_segments() -> None:
    """An action and a window change places: nobody but the filters, which serve the emotions, can tell."""
    for without, tells in (((), True), (("backbone", "heads"), False)):
        model, _, batch = build(*without, dropout=0.0)
        one, other = (model(*inputs).predictions["regret"][0] for inputs in (batch.inputs, _swapped(batch)))
        assert torch.allclose(one, other, atol=1e-6) != tells


def test_without_heads_a_prediction_is_linear_in_the_normed_pool_and_knows_no_views() -> None:
    model, _, batch = build("heads", "advanced_wrappers", dropout=0.0)
    assert not any("linear" in name for name, _ in model.named_parameters())
    seen: list[torch.Tensor] = []
    model.heads["surd"].pool_norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    prediction = model(*batch.inputs).predictions["surd"]
    design = torch.cat((seen[0], torch.ones(len(batch), 1)), dim=1)
    read_out = model.heads["surd"].read_out
    torch.testing.assert_close(prediction, design @ torch.cat((read_out.weight.T, read_out.bias[None])))


def test_the_linear_path_alone_is_linear_in_the_views() -> None:
    batch = make_batch()
    model = LinearModel(replace(dimensions("tiny", d_embed=48), centres=0), fit(batch)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            nn.init.normal_(parameter)
    segments, *rest = batch.inputs
    # Only the direction of a segment counts, so the middle is taken of segments of unit mean square.
    unit = segments * segments.square().mean(-1, keepdim=True).clamp(min=1e-12).rsqrt()
    outputs = model(unit, *rest)
    assert outputs.auxiliary == {}
    flipped = model(-unit, *rest).predictions["bentham"]
    bias = model.heads["bentham"].linear.bias
    torch.testing.assert_close(outputs.predictions["bentham"] - bias, bias - flipped, atol=1e-4, rtol=1e-4)


def test_dimensions_without_groups_survive_json_and_older_manifests_load() -> None:
    dims = replace(PRESETS["tiny"], without=("backbone", "phases"))
    assert ModelDimensions.from_json(json.loads(json.dumps(dims.to_json()))) == dims
    older = PRESETS["tiny"].to_json()
    del older["without"], older["centres"]
    assert ModelDimensions.from_json(older) == replace(PRESETS["tiny"], centres=0)


@pytest.mark.parametrize("change", [{"view_weights": [1.0, 1.0, 1.0, 1.0]}, {"sharpness": 1.0}])
def test_weights_for_other_views_or_another_nearness_are_refused(change: dict[str, object]) -> None:
    stored = PRESETS["tiny"].to_json()
    with pytest.raises(ValueError, match="wanted those of this version"):
        ModelDimensions.from_json({**stored, **change})
    older = {name: value for name, value in stored.items() if name not in ("view_weights", "sharpness")}
    assert ModelDimensions.from_json(older) == PRESETS["tiny"]


@pytest.mark.parametrize("without", [("backbones",), ("phases", "phases"), ("phases", "backbone")])
def test_an_unknown_repeated_or_misplaced_group_is_refused(without: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="without"):
        replace(PRESETS["tiny"], without=without)
