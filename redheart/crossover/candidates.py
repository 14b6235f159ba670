"""The candidates in the order in which they are scored. Another one is a file and a line: see docs/adding.md."""

from __future__ import annotations

from collections.abc import Callable

from redheart.crossover import controls
from redheart.crossover.material import Material
from redheart.crossover.strategies import Recipe, crossover


def _last_epoch(material: Material) -> list[Recipe]:
    return [controls.last_epoch(material.epochs)]


def _start(material: Material) -> list[Recipe]:
    return [controls.start()] if material.has_start else []


def _best_epoch(material: Material) -> list[Recipe]:
    return [controls.best_epoch(material.choose_loss)]


def _last_average(material: Material) -> list[Recipe]:
    return [controls.last_average(material.epochs, material.settings.average_last, material.thinned)]


def _soup(material: Material) -> list[Recipe]:
    return [material.soup[0]]


def _crossover(material: Material) -> list[Recipe]:
    return [crossover("crossover", material.chosen)]


def _random_crossovers(material: Material) -> list[Recipe]:
    count = material.settings.random_controls
    return controls.random_crossovers(material.chosen, material.kept, count, material.seed)


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


#: Those of them that evaluate models to be made.
_MEASURING = frozenset({_soup})


def recipes_of(material: Material) -> list[Recipe]:
    """All recipes, in the order of ``CANDIDATES``."""
    return [recipe for make in CANDIDATES for recipe in make(material)]


def recipes_known_before(material: Material) -> list[Recipe]:
    """The recipes that are known before anything is measured: where what is measured is one of them, it is not loaded again."""
    return [recipe for make in CANDIDATES if make not in _MEASURING for recipe in make(material)]
