"""Whether a dataset has what training, choosing and judging need: situations in each split, and targets among them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from redheart.data.schema import Situation
from redheart.data.splits import SPLITS, Split, split_of
from redheart.errors import DataError

#: Fewer than this and neither a metric nor a choice of epochs means anything.
FEWEST: dict[Split, int] = {"train": 8, "choose": 2, "judge": 2, "test": 2}


def has_target(situation: Situation) -> bool:
    """Whether it trains or scores anything."""
    targets = (situation.emotions, situation.regret_factor, situation.label, situation.label_scores)
    return any(target is not None for target in targets) or bool(situation.bentham_scores or situation.surd_metrics)


def check_sufficient(situations: Sequence[Situation], path: Path, *, needs: Collection[Split] = SPLITS) -> None:
    """Refuses a dataset that is too small, or has nothing to learn or to be scored by, in the splits ``needs``.

    Raises:
        DataError: naming each split, how many situations it has, and how many are wanted.
    """
    counts = dict.fromkeys(SPLITS, 0)
    with_target = dict.fromkeys(SPLITS, 0)
    for situation in situations:
        split = split_of(situation.text)
        counts[split] += 1
        with_target[split] += has_target(situation)
    problems = []
    for split in SPLITS:
        if split in needs and counts[split] < FEWEST[split]:
            problems.append(f"split {split}: found {counts[split]} situations, wanted at least {FEWEST[split]}")
        elif split in needs and not with_target[split]:
            problems.append(
                f"split {split}: found no target in any of its {counts[split]} situations, wanted emotions, "
                "regret_factor, bentham_scores, surd_metrics, label or label_scores in some"
            )
    if problems:
        raise DataError(
            f"{path}: found {len(situations)} situations, too few or without targets "
            "(a hash of its text decides the split of each)",
            tuple(problems),
        )
