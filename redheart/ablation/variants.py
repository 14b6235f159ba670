"""What is trained: the whole model, the model without each group in turn, and the linear path alone."""

from __future__ import annotations

from dataclasses import replace

import torch

from redheart.model import LinearModel, Model, ModelDimensions, TargetStatistics, UnifiedModel, meta_model
from redheart.tasks import GROUPS
from redheart.training.trial import Build

WHOLE = "whole"
#: Everything nonlinear removed at once; not a group, but what all of them are worth together.
LINEAR = "linear"
VARIANTS: tuple[str, ...] = (WHOLE, *GROUPS, LINEAR)


def removed(variant: str) -> tuple[str, ...]:
    """The groups that a variant lacks; ``linear`` lacks all of them and is a model of its own."""
    return (variant,) if variant in GROUPS else ()


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
    if variant == LINEAR:
        return LinearModel

    def build(dims: ModelDimensions, statistics: TargetStatistics) -> Model:
        whole = UnifiedModel(dims, statistics)
        if variant == WHOLE:
            return whole
        model = UnifiedModel(replace(dims, without=removed(variant)), statistics)
        start, own = whole.state_dict(), model.state_dict()
        shared = {name: start[name] for name in own if name in start and start[name].shape == own[name].shape}
        model.load_state_dict(shared, strict=False)
        return model

    return build


def shapes(variant: str, dims: ModelDimensions) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter by its name, without allocating one."""
    if variant == LINEAR:
        with torch.device("meta"):
            model: Model = LinearModel(dims, TargetStatistics.neutral())
    else:
        model = meta_model(replace(dims, without=removed(variant)))
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
