"""The candidates in the order in which they are scored. Another one is a function and a line: see docs/adding.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from redheart.config.schema import CrossoverConfig
from redheart.crossover import controls
from redheart.crossover.strategies import Recipe, crossover


@dataclass(frozen=True, kw_only=True)
class Material:
    """What recipes are made from.

    Attributes:
        epochs: those with a checkpoint, ascending.
        has_start: whether the model before training was kept, as epoch 0.
        chosen: the epoch that the analysis chose, by module.
        choose_loss: each epoch's recorded loss on ``choose``.
        measure: a recipe's loss on ``choose``; takes as long as an evaluation.
    """

    epochs: Sequence[int]
    has_start: bool
    chosen: Mapping[str, int]
    choose_loss: Mapping[int, float]
    measure: Callable[[Recipe], float]
    settings: CrossoverConfig
    seed: int

    @cached_property
    def soup(self) -> tuple[Recipe, list[controls.SoupStep]]:
        """The greedy soup, and what it tried: made once, and told of in ``candidates.json``."""
        return controls.greedy_soup(self.choose_loss, self.settings.average_last, self.measure)


def _last_epoch(material: Material) -> list[Recipe]:
    return [controls.last_epoch(material.epochs)]


def _start(material: Material) -> list[Recipe]:
    return [controls.start()] if material.has_start else []


def _best_epoch(material: Material) -> list[Recipe]:
    return [controls.best_epoch(material.choose_loss)]


def _last_average(material: Material) -> list[Recipe]:
    return [controls.last_average(material.epochs, material.settings.average_last)]


def _soup(material: Material) -> list[Recipe]:
    return [material.soup[0]]


def _crossover(material: Material) -> list[Recipe]:
    return [crossover("crossover", material.chosen)]


def _random_crossovers(material: Material) -> list[Recipe]:
    count = material.settings.random_controls
    return controls.random_crossovers(material.chosen, material.epochs, count, material.seed)


#: What makes recipes, none where it does not apply. The last epoch is first: all others are compared with it, and of equals
#: the earlier is delivered. Each recipe's name has its message ``crossover.name_<name>``.
CANDIDATES: tuple[Callable[[Material], list[Recipe]], ...] = (
    _last_epoch,
    _start,
    _best_epoch,
    _last_average,
    _soup,
    _crossover,
    _random_crossovers,
)


def recipes_of(material: Material) -> list[Recipe]:
    """All recipes, in the order of ``CANDIDATES``."""
    return [recipe for make in CANDIDATES for recipe in make(material)]
