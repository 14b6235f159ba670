"""The check that a dataset suffices: enough situations in each split, and targets among them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from redheart.data.facts import DatasetFacts
from redheart.data.schema import FURTHER_TASKS
from redheart.data.splits import SPLITS, Split
from redheart.errors import DataError

#: Fewer than this and neither a metric nor a choice of epochs means anything.
MIN_SITUATIONS: dict[Split, int] = {"train": 8, "choose": 2, "judge": 2, "test": 2}


def check_sufficient(facts: DatasetFacts, path: Path, *, needs: Collection[Split] = SPLITS) -> None:
    """Refuses a dataset that is too small, or has nothing to learn or to be scored by, in the splits ``needs``.

    Raises:
        DataError: naming each split, how many situations it has, and how many are wanted.
    """
    counts, with_target = facts.counts, facts.counts_with_target
    problems, further = [], "".join(f"{task.field}, " for task in FURTHER_TASKS)
    for split in SPLITS:
        if split in needs and counts[split] < MIN_SITUATIONS[split]:
            problems.append(f"split {split}: found {counts[split]} situations, wanted at least {MIN_SITUATIONS[split]}")
        elif split in needs and not with_target[split]:
            problems.append(
                f"split {split}: found no target in any of its {counts[split]} situations, wanted emotions, "
                f"regret_factor, bentham_scores, surd_metrics, {further}label or label_scores in some"
            )
    if problems:
        raise DataError(
            f"{path}: found {len(facts)} situations, too few or without targets "
            "(a hash of its text decides the split of each)",
            tuple(problems),
        )
