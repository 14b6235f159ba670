"""The depth of each parameter: its distance from the output, in layers over the longest path, declared by the modules.

Each module knows in which order data passes its parts, and says so in ``place``. Nothing is read off a name: the digits
in ``heads.emotion.layers.0`` tell nothing of how deep that layer stands. A part that nobody has declared is an error.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias, runtime_checkable

from torch import nn


@runtime_checkable
class Placed(Protocol):
    """A module of several parts that says how deep each stands."""

    def place(self, depths: Depths, after: int) -> int:
        """Places all its parameters.

        Args:
            after: the distance from the output at which the module's last layer stands: the number of layers that
                what it gives has still to pass, over the longest way.

        Returns:
            The distance at which whatever feeds the module ends: one more than its first layer's.
        """


Part: TypeAlias = "nn.Module | nn.Parameter"


class Depths:
    """Collects distances while modules place their parts; a parameter has one place."""

    def __init__(self) -> None:
        self._distances: dict[nn.Parameter, int] = {}

    def chain(self, *layers: Part | tuple[Part, ...], after: int) -> int:
        """Places layers that data passes one after the other.

        Args:
            layers: from input to output; the parts of a tuple stand side by side. A norm belongs with what it feeds,
                and a residual block is one layer, as in Clark et al. 2020 (*ELECTRA*, arXiv 2003.10555) and Bao et al.
                2021 (*BEiT*, arXiv 2106.08254).
            after: the distance of the last.

        Returns:
            One more than the distance of the first; ``after`` if no layer has parameters.

        Raises:
            ValueError: a part holds others and does not declare where they stand, or was placed already.
        """
        for layer in reversed(layers):
            after = max(self._put(part, after) for part in (layer if isinstance(layer, tuple) else (layer,)))
        return after

    def _put(self, part: Part, after: int) -> int:
        if isinstance(part, nn.Parameter):
            self._set(part, after)
            return after + 1
        if isinstance(part, Placed):
            return part.place(self, after)
        if isinstance(part, nn.Sequential):
            return self.chain(*part, after=after)
        own = list(part.parameters(recurse=False))
        if len(own) < len(list(part.parameters())):
            raise ValueError(
                f"{type(part).__name__} has parts with parameters but no place() that says how deep they are"
            )
        for parameter in own:
            self._set(parameter, after)
        return after + 1 if own else after

    def _set(self, parameter: nn.Parameter, distance: int) -> None:
        if parameter in self._distances:
            raise ValueError(f"a parameter of shape {tuple(parameter.shape)} was placed twice")
        self._distances[parameter] = distance

    def by_name(self, model: nn.Module) -> dict[str, int]:
        """Each parameter's distance, by its name in ``model``.

        Raises:
            ValueError: naming parameters that no module has placed.
        """
        missing = [name for name, parameter in model.named_parameters() if parameter not in self._distances]
        if missing:
            raise ValueError(
                f"{len(missing)} parameters have no declared depth: {', '.join(missing[:5])}: "
                "the module that holds them must place them (see redheart/model/depth.py)"
            )
        return {name: self._distances[parameter] for name, parameter in model.named_parameters()}
