"""The check that a dataset suffices: enough situations in each split, and targets among them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from redheart.data.facts import DatasetFacts
from redheart.data.schema import FURTHER_TASKS
from redheart.data.splits import SPLITS, Split
from redheart.data.targets import varying
from redheart.errors import DataError
from redheart.messages import warn
from redheart.tasks import TASKS

#: Fewer than this and neither a metric nor a choice of epochs means anything.
MIN_SITUATIONS: dict[Split, int] = {"train": 8, "choose": 2, "judge": 2, "test": 2}


def warn_of_repeated_texts(facts: DatasetFacts, path: Path) -> None:
    """Says how many situations have another's text; nothing where none has."""
    repeated = facts.repeated
    if repeated:
        warn("data.repeated", path=path, count=len(repeated), total=len(facts), id=facts.ids[repeated[0]])


def warn_of_constant_targets(facts: DatasetFacts, path: Path) -> None:
    """Says of which tasks, or dimensions of one, the training split's annotations are all alike; nothing where none are."""
    training = facts.indices("train")
    for task in TASKS:
        values, mask = facts.targets.values[task.name][training], facts.targets.mask[task.name][training]
        varies, annotated = varying(values, mask), mask.sum(axis=0) > 1
        alike = annotated & ~varies
        if not alike.any() or (task.is_distribution and varies.any()):
            continue
        named = [f"{task.name}.{name}" for name, is_alike in zip(task.dimensions, alike, strict=True) if is_alike]
        is_whole = task.is_distribution or bool((alike == annotated).all())
        what = task.name if is_whole else ", ".join(named)
        warn("data.constant_targets", path=path, task=what, count=int(mask.any(axis=1).sum()))


def check_sufficient(facts: DatasetFacts, path: Path, *, needs: Collection[Split] = SPLITS) -> None:
    """Refuses a dataset that is too small, or has nothing to learn or to be scored by, in the splits ``needs``.

    Raises:
        DataError: naming each split, how many situations it has, and how many are wanted.
    """
    counts, texts, with_target = facts.counts, facts.counts_of_texts, facts.counts_with_target
    problems, further = [], "".join(f"{task.field}, " for task in FURTHER_TASKS)
    for split in SPLITS:
        if split in needs and texts[split] < MIN_SITUATIONS[split]:
            of_texts = "" if texts[split] == counts[split] else f" of {texts[split]} different texts"
            problems.append(
                f"split {split}: found {counts[split]} situations{of_texts}, wanted at least {MIN_SITUATIONS[split]}"
                f"{' different ones' if of_texts else ''}"
            )
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
