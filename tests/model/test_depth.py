"""Declared depths: they are those of the way that gradients take, and what nobody declared is an error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from redheart.model import UnifiedModel, dimensions
from redheart.model.depth import Depths
from redheart.model.parameters import meta_model
from redheart.model.presets import PRESETS
from redheart.tasks import ANALYZED_TASKS, TASKS
from tests.model.conftest import fit, make_batch


def build() -> UnifiedModel:
    torch.manual_seed(0)
    return UnifiedModel(dimensions("tiny", d_embed=48, dropout=0.0), fit(make_batch()))


def deepest_after(model: UnifiedModel, distances: dict[str, int]) -> dict[str, int]:
    """By parameter, the largest distance of any other that the data passes after it, read off autograd's graph; −1: none.

    What is computed from parameters alone (a transposed weight, a filter's kernel) counts as a parameter of the operation
    in which it meets the data.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    batch = make_batch()
    batch.segments.requires_grad_(True)
    roots = {tensor.grad_fn for kind in model(*batch.inputs) for tensor in kind.values()}
    order: list[Any] = []  # every node after all that it was computed from
    seen: set[Any] = set()
    stack = [(root, False) for root in roots]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack += [(node, True), *((parent, False) for parent, _ in node.next_functions if parent is not None)]

    parameters: dict[Any, set[str]] = {}  # by a node that no data has reached: what it was computed from
    for node in order:
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        if getattr(node, "variable", None) is batch.segments or any(parent not in parameters for parent in parents):
            continue
        own = {names[node.variable]} if hasattr(node, "variable") else set()
        parameters[node] = own.union(*(parameters[parent] for parent in parents))

    found: dict[str, int] = {}
    passed = {node: -1 for node in order if node not in parameters}
    for node in reversed(order):
        if node in parameters:
            continue
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        own = set().union(*(parameters[parent] for parent in parents if parent in parameters))
        for name in own:
            found[name] = max(found.get(name, -1), passed[node])
        through = max([passed[node], *(distances[name] for name in own)])
        for parent in parents:
            if parent in passed:
                passed[parent] = max(passed[parent], through)
    assert found.keys() == distances.keys(), "the data meets every parameter"
    return found


def test_declared_distances_are_those_of_the_longest_way_that_gradients_take() -> None:
    model = build()
    distances = model.distances()
    for name, after in deepest_after(model, distances).items():
        # One further than the deepest that follows, or in the same layer with it.
        assert distances[name] in (after, after + 1), (name, distances[name], after)
    assert set(distances.values()) == set(range(max(distances.values()) + 1)), "no layer is left out"


@pytest.mark.parametrize("preset", PRESETS)
def test_distances_grow_layer_by_layer_in_every_preset(preset: str) -> None:
    dims = PRESETS[preset]
    distances = meta_model(dims).distances()
    head = 2 + dims.head_layers  # combine, layers, read_out
    wrapper = 3 + dims.wrapper_layers  # enter, blocks, combine, correct
    features = max(head, wrapper)
    # An analyzer's pool, blocks and entrance; or, longer where there are few blocks, phases' six layers.
    sequence = max(features + 1 + dims.analyzer_layers + 1, head + 6)
    expected = {
        "backbone.embed.weight": sequence + dims.layers,
        "backbone.kind.weight": sequence + dims.layers,
        "backbone.norm.bias": sequence,
        "backbone.pool.queries": head,
        "phases.enter.weight": head + 5,
        "dsp_simulator.source.0.weight": head + 3,
        "kalman_filter.transition": head + 1,
    }
    for layer in range(dims.layers):
        expected[f"backbone.blocks.{layer}.attention.out.weight"] = sequence + dims.layers - 1 - layer
    for name in ANALYZED_TASKS:
        for layer in range(dims.analyzer_layers):
            expected[f"neural_analyzers.{name}.blocks.{layer}.feed_forward.expand.weight"] = (
                features + dims.analyzer_layers - layer
            )
        expected[f"neural_analyzers.{name}.predict.weight"] = 0
        expected[f"advanced_wrappers.{name}.correct.weight"] = 0
        expected[f"advanced_wrappers.{name}.enter_sequence.weight"] = wrapper - 1
    for task in TASKS:
        expected[f"heads.{task.name}.linear.weight"] = expected[f"heads.{task.name}.read_out.weight"] = 0
        expected[f"heads.{task.name}.layers.0.contract.weight"] = dims.head_layers
        expected[f"heads.{task.name}.combine.weight"] = head - 1
    assert {name: distances[name] for name in expected} == expected


def test_heads_stand_nearer_the_output_than_anything_that_they_read() -> None:
    distances = build().distances()
    heads = [distance for name, distance in distances.items() if name.startswith("heads.")]
    assert min(heads) == 0
    read = [name for name in distances if name.startswith("backbone.") and "radial_basis" not in name]
    assert max(heads) < min(distances[name] for name in read)
    # Nearness passes a single layer after the centres, whatever else a head has.
    radial = [distance for name, distance in distances.items() if name.endswith(".radial.weight")]
    assert len(radial) == 5 and distances["backbone.radial_basis.centres"] == max(radial) + 1 == 1


def test_a_planted_module_without_a_declared_depth_is_named() -> None:
    model = build()
    model.heads["regret"].extra = nn.Linear(3, 3)
    model.backbone.blocks[1].extra = nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match=r"3 parameters .*backbone\.blocks\.1\.extra, heads\.regret\.extra\.weight"):
        model.distances()


def test_a_part_that_holds_others_must_say_how_deep_they_are() -> None:
    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

    with pytest.raises(ValueError, match=r"Silent .*no place\(\)"):
        Depths().chain(nn.Linear(2, 2), Silent(), after=0)


def test_a_parameter_has_one_place() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="placed twice"):
        Depths().chain(layer, layer, after=0)


def test_layers_count_from_the_output_and_what_has_no_parameters_counts_not() -> None:
    depths = Depths()
    first, last = nn.Linear(2, 2), nn.Linear(2, 2)
    model = nn.Sequential(first, nn.GELU(), last)
    assert depths.chain(model, after=3) == 5
    assert depths.by_name(model) == {"0.weight": 4, "0.bias": 4, "2.weight": 3, "2.bias": 3}


def test_of_parts_side_by_side_the_deepest_counts() -> None:
    depths = Depths()
    deep = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = nn.Linear(2, 2)
    assert depths.chain(before, (nn.Linear(2, 2), deep, nn.Linear(2, 2)), after=0) == 3
    assert depths.by_name(before) == {"weight": 2, "bias": 2}
