"""The material of the crossover's candidates: what a run left behind, and how a recipe is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from redheart.config.schema import CrossoverConfig
from redheart.crossover.controls import SoupStep, greedy_soup
from redheart.crossover.strategies import Recipe


@dataclass(frozen=True, kw_only=True)
class Material:
    """What recipes are made from.

    Attributes:
        epochs: those with a checkpoint of the whole model, ascending.
        kept: by module those that its weights are kept of, ascending; more than ``epochs`` where some were thinned.
        thinned: those of which the files of some modules were given up.
        has_start: whether the model before training was kept, as epoch 0.
        chosen: the epoch that the analysis chose, by module.
        choose_loss: each epoch's recorded loss on ``choose``.
        measure: a recipe's loss on ``choose``; takes as long as an evaluation.
    """

    epochs: Sequence[int]
    kept: Mapping[str, Sequence[int]]
    thinned: Sequence[int]
    has_start: bool
    chosen: Mapping[str, int]
    choose_loss: Mapping[int, float]
    measure: Callable[[Recipe], float]
    settings: CrossoverConfig
    seed: int

    @cached_property
    def soup(self) -> tuple[Recipe, list[SoupStep]]:
        """The greedy soup, and what it tried: made once, and told of in ``candidates.json``."""
        return greedy_soup(self.choose_loss, self.settings.average_last, self.measure)
