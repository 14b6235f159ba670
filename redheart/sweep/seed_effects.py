"""Seed effects: the part of each run's loss that is due to its seed, told from that due to its learning rate.

A mixed-effects model of two additive parts, learning rates fixed and seeds random. A pure function of the observations.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

#: Rounds of alternating means; with a handful of seeds that share learning rates a few dozen settle to 1e-12.
_ALTERNATIONS = 200

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Observation:
    """One finished trial as the planner sees it. ``val_loss`` is None for a diverged one; ``seed`` for an old record."""

    learning_rate: float
    val_loss: float | None
    seed: int | None = None


def mean_losses(results: Sequence[Observation]) -> dict[float, float]:
    """Mean validation loss per learning rate, what its runs owe to their seeds taken out.

    A seed's initial weights and order make all its trials better or worse together, and only the best rates are repeated
    under other seeds; plain means would compare seeds. See ``additive_parts``. A learning rate that diverged in any run
    is not in it and can't be chosen.
    """
    return additive_parts(results)[0]


def additive_parts(results: Sequence[Observation]) -> tuple[dict[float, float], dict[int | None, float]]:
    """The learning rates' and the seeds' parts of the losses; the most frequent seed's part is 0.

    loss = rate + seed + noise, the seeds a random effect: their parts are fitted by least squares and shrunk by how much
    of their spread the noise explains (best linear unbiased prediction with variances by the method of moments; Searle,
    Casella and McCulloch, Variance Components, 1992, chapters 4 and 7). So seeds that do nothing cost nothing.
    """
    diverged = {result.learning_rate for result in results if not _is_finite(result.val_loss)}
    runs = [
        (result.learning_rate, result.seed, result.val_loss)
        for result in results
        if result.learning_rate not in diverged and result.val_loss is not None
    ]
    counts = Counter(seed for _, seed, _ in runs)
    if len(counts) < 2:
        return _means((rate, loss) for rate, _, loss in runs), dict.fromkeys(counts, 0.0)
    whole = dict.fromkeys(counts, 1.0)
    rates, seeds = _alternate(runs, counts, whole)
    freedom = len(runs) - len(rates) - (len(counts) - 1)
    if freedom < 1:
        return rates, seeds  # nothing tells noise from seeds: compare within seeds, which never favours a lucky one
    noise = math.fsum((loss - rates[rate] - seeds[seed]) ** 2 for rate, seed, loss in runs) / freedom
    base, most = counts.most_common(1)[0]
    excess = [part**2 - noise * (1 / counts[seed] + 1 / most) for seed, part in seeds.items() if seed != base]
    spread = max(0.0, math.fsum(excess) / len(excess) / 2)
    if spread + noise == 0:
        return rates, seeds
    return _alternate(runs, counts, {seed: spread / (spread + noise / count) for seed, count in counts.items()})


def _alternate(
    runs: Sequence[tuple[float, int | None, float]], counts: Counter[int | None], kept: Mapping[int | None, float]
) -> tuple[dict[float, float], dict[int | None, float]]:
    """Rates and seeds in turn from what the other leaves, until they settle; of a seed's part, ``kept`` is kept."""
    base = counts.most_common(1)[0][0]
    seeds: dict[int | None, float] = dict.fromkeys(counts, 0.0)
    for _ in range(_ALTERNATIONS):
        rates = _means((rate, loss - seeds[seed]) for rate, seed, loss in runs)
        parts = _means((seed, loss - rates[rate]) for rate, seed, loss in runs)
        seeds = {seed: kept[seed] * (part - parts[base]) for seed, part in parts.items()}
    return _means((rate, loss - seeds[seed]) for rate, seed, loss in runs), seeds


def _means(pairs: Iterable[tuple[_Key, float]]) -> dict[_Key, float]:
    groups: dict[_Key, list[float]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: math.fsum(values) / len(values) for key, values in groups.items()}


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
