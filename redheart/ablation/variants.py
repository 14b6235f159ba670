"""Variants to train: the whole model, the model without each group or its radial paths, and the closed-form paths."""

from __future__ import annotations

from dataclasses import replace

import torch

from redheart.model import LinearModel, Model, ModelDimensions, TargetStatistics, UnifiedModel, meta_model
from redheart.tasks import GROUPS
from redheart.training.trial import Build

WHOLE = "whole"
#: What has no closed form removed at once: the transformer and all towers, what they are worth together.
PATHS = "paths"
#: Everything nonlinear removed at once.
LINEAR = "linear"
#: The heads' radial paths and their centres, which belong to two groups.
RADIAL = "radial"
VARIANTS: tuple[str, ...] = (WHOLE, *GROUPS, RADIAL, PATHS, LINEAR)
#: Variants that lack several groups at once.
SUMS = (PATHS, LINEAR)
LABELS = {PATHS: "all but linear, radial", LINEAR: "all but linear"}


def removed(variant: str) -> tuple[str, ...]:
    """The groups that a variant lacks; ``paths`` and ``linear`` lack all of them and are models of their own."""
    return (variant,) if variant in GROUPS else ()


def _reduced(variant: str, dims: ModelDimensions) -> ModelDimensions:
    return replace(dims, centres=0) if variant in (RADIAL, LINEAR) else replace(dims, without=removed(variant))


def builder(variant: str) -> Build:
    """What makes the variant's model of the dimensions of the whole.

    Weights that it shares with the whole model start as they do there. A part less would otherwise shift the random numbers
    of all that is built after it, and the two would differ by chance in what they have in common: on 96 stories each of
    three parts that the verdict does not read seemed to be worth 0.02 of its log-loss.

    Raises:
        KeyError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise KeyError(f"variant {variant!r}: wanted one of {', '.join(VARIANTS)}")

    def build(dims: ModelDimensions, statistics: TargetStatistics) -> Model:
        if variant in SUMS:
            return LinearModel(_reduced(variant, dims), statistics)
        whole = UnifiedModel(dims, statistics)
        if variant == WHOLE:
            return whole
        model = UnifiedModel(_reduced(variant, dims), statistics)
        start, own = whole.state_dict(), model.state_dict()
        shared = {name: start[name] for name in own if name in start and start[name].shape == own[name].shape}
        model.load_state_dict(shared, strict=False)
        return model

    return build


def shapes(variant: str, dims: ModelDimensions) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter by its name, without allocating one."""
    if variant in SUMS:
        with torch.device("meta"):
            model: Model = LinearModel(_reduced(variant, dims), TargetStatistics.neutral())
    else:
        model = meta_model(_reduced(variant, dims))
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
