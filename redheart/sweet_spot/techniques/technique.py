"""A technique: how it votes, whose opinion its vote is, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from redheart.config.schema import SweetSpotConfig
from redheart.sweet_spot.choice import Vote
from redheart.sweet_spot.curves import ModuleCurve

#: The family of those that read how well a module predicts ``choose``: see ``redheart.sweet_spot.voting``.
PREDICTIONS = "predictions"


@dataclass(frozen=True, kw_only=True, slots=True)
class Technique:
    """One way to prefer an epoch of a module.

    Attributes:
        name: in files, for ever, and in its messages ``sweet_spot.report.{column,name,method}.<name>``.
        votes: one for each of the modules, whose curves it gets together.
        family: those that read the same numbers; a family counts as sure as its surest member. Without a vote of the family
            ``PREDICTIONS`` nothing is chosen.
        drawn_as: its name in plots.
        marker, colour: in plots (matplotlib's).
    """

    name: str
    votes: Callable[[Mapping[str, ModuleCurve], SweetSpotConfig], Mapping[str, Vote]]
    family: str
    drawn_as: str
    marker: str
    colour: str
