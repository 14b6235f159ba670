"""Presets, dimensions and the seventeen modules, counted without allocating."""

from __future__ import annotations

import json

import pytest
import torch

from redheart.model import PRESETS, ModelDimensions, count_parameters, dimensions, meta_model, modules_of
from redheart.tasks import MODULES
from tests.model.groups import by_group


@pytest.mark.parametrize(
    ("preset", "low", "high"), [("tiny", 2e6, 5e6), ("small", 30e6, 60e6), ("730m", 722.7e6, 737.3e6)]
)
@pytest.mark.parametrize("d_embed", [384, 768])
def test_each_preset_has_the_size_it_promises(preset: str, low: float, high: float, d_embed: int) -> None:
    assert low <= count_parameters(preset, d_embed).total <= high


def test_the_shares_of_730m_are_the_designs() -> None:
    groups = by_group(count_parameters("730m"))
    for group, wanted in {"backbone": 90, "heads": 65, "neural_analyzers": 365, "advanced_wrappers": 190}.items():
        assert groups[group] == pytest.approx(wanted * 1e6, rel=0.04), group


def test_counting_does_not_allocate() -> None:
    assert all(parameter.is_meta for parameter in meta_model(PRESETS["730m"]).parameters())


def test_a_model_of_shapes_draws_no_numbers_for_which_torch_would_load_its_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drawn(*args: object, **values: object) -> None:
        raise AssertionError("drawn")

    for name in ("normal_", "sign"):
        monkeypatch.setattr(torch.Tensor, name, drawn)
    assert meta_model(PRESETS["tiny"])


@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_modules_hold_each_parameter_exactly_once(preset: str) -> None:
    model = meta_model(PRESETS[preset])
    modules = modules_of(model)
    assert tuple(modules) == MODULES
    held = [id(parameter) for module in modules.values() for parameter in module.parameters()]
    assert len(held) == len(set(held))
    assert set(held) == {id(parameter) for parameter in model.parameters()}


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_modules_name_is_the_prefix_of_its_state(preset: str) -> None:
    model = meta_model(PRESETS[preset])
    rebuilt = {f"{name}.{key}" for name, module in modules_of(model).items() for key in module.state_dict()}
    assert rebuilt == set(model.state_dict())


@pytest.mark.parametrize("preset", list(PRESETS))
def test_dimensions_survive_json(preset: str) -> None:
    assert ModelDimensions.from_json(json.loads(json.dumps(PRESETS[preset].to_json()))) == PRESETS[preset]


def test_dimensions_with_an_unknown_or_missing_field_are_refused() -> None:
    data = PRESETS["tiny"].to_json()
    del data["layers"]
    with pytest.raises(ValueError, match=r"unknown \['depth'\], missing \['layers'\]"):
        ModelDimensions.from_json({**data, "depth": 3})


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="attention heads"):
        ModelDimensions.from_json({**PRESETS["tiny"].to_json(), "d_model": 130})


def test_dropout_zero_turns_every_dropout_off() -> None:
    assert dimensions("tiny", dropout=0.0).embedding_dropout == 0.0


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(KeyError, match="huge"):
        count_parameters("huge")
