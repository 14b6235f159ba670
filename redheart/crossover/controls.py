"""Controls of the crossover: the last epoch, the start, the best epoch, averages, and crossovers by chance.

No published evidence says that choosing epochs module by module beats averaging whole models; averages of the last
epochs (Kaddour, LAWA, arXiv 2209.14981) and greedy soups (Wortsman et al., arXiv 2203.05482) are the strong contenders.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from redheart.checkpoint import START_EPOCH
from redheart.crossover.strategies import Recipe, crossover, uniform
from redheart.tasks import MODULES


def last_epoch(epochs: Sequence[int]) -> Recipe:
    """What one has without choosing anything."""
    return uniform("last", [max(epochs)])


def start() -> Recipe:
    """What one has without training."""
    return uniform("start", [START_EPOCH])


def best_epoch(choose_loss: Mapping[int, float]) -> Recipe:
    """The single epoch with the lowest loss on ``choose``; the earliest of equals."""
    return uniform("best_epoch", [min(choose_loss, key=lambda epoch: (choose_loss[epoch], epoch))])


def last_average(epochs: Sequence[int], count: int, thinned: Collection[int] = ()) -> Recipe:
    """The uniform average of the last ``count`` epochs, or of as many as there are.

    Args:
        epochs: whole ones.
        thinned: epochs that no whole model is left of. Only what came after the last of them, up to the last whole one, is
            averaged: an earlier one that is whole was kept as one of the best, and is not one of the last.
    """
    last = max(epochs)
    since = max((epoch for epoch in thinned if epoch < last), default=0)
    return uniform("average", [epoch for epoch in sorted(epochs) if epoch > since][-count:])


@dataclass(frozen=True)
class SoupStep:
    """One ingredient that was tried: the loss on ``choose`` with it, and whether it stayed in."""

    epoch: int
    loss: float
    kept: bool


def greedy_soup(
    choose_loss: Mapping[int, float], count: int, measure: Callable[[Recipe], float]
) -> tuple[Recipe, list[SoupStep]]:
    """The greedy soup over the ``count`` best epochs (Wortsman et al. 2022, recipe 1).

    Ingredients are tried in the order of their own loss on ``choose``; one stays where the average with it has a lower
    loss on ``choose`` than the average without, so the soup is never worse there than its first ingredient.

    Args:
        choose_loss: each epoch's recorded loss on ``choose``.
        measure: a recipe's loss on ``choose``.
    """
    order = sorted(choose_loss, key=lambda epoch: (choose_loss[epoch], epoch))[:count]
    kept: list[int] = []
    best = float("inf")
    trail = []
    for epoch in order:
        loss = measure(uniform("soup", [*kept, epoch]))
        stays = not kept or loss < best
        if stays:
            kept.append(epoch)
            best = loss
        trail.append(SoupStep(epoch, loss, stays))
    return uniform("soup", kept), trail


def random_crossovers(
    choices: Mapping[str, int], kept: Mapping[str, Sequence[int]], count: int, seed: int
) -> list[Recipe]:
    """Crossovers of epochs drawn by chance, module by module: a control for the choice, not a baseline.

    Epochs are drawn uniformly between the earliest and the latest that the analysis chose: against draws from all
    epochs, untrained ones included, any choice would look good. Where the analysis chose one epoch for all modules, or a
    module has but one there, all of its epochs are drawn from.

    Args:
        kept: by module the epochs that its weights are there of: the choice had no others either.
    """
    earliest, latest = min(choices.values()), max(choices.values())
    pools = {}
    for module in MODULES:
        between = [epoch for epoch in kept[module] if earliest <= epoch <= latest]
        pools[module] = between if len(between) >= 2 else list(kept[module])
    drawing = random.Random(f"crossover controls {seed}")
    return [
        replace(
            crossover(f"random_{number}", {module: drawing.choice(pools[module]) for module in MODULES}),
            is_control=True,
        )
        for number in range(1, count + 1)
    ]
