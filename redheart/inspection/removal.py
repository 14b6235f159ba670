"""The removal of checkpoints: what is named elsewhere is refused, and what goes is renamed away first, so that none is half there."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redheart.checkpoint import epoch_folders, epochs_folder
from redheart.checkpoint.epoch import START, START_EPOCH
from redheart.errors import StorageError, UsageError
from redheart.inspection.references import needed_to_go_on, read_references, run_of
from redheart.inspection.resume_states import gone_on_from, stored_states
from redheart.inspection.sizes import size_of
from redheart.storage.atomic import sync_folder
from redheart.storage.names import reason_of
from redheart.training.run_folder import remove_left_overs_of_checkpoints

_WORD = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
EPOCHS_WANTED = "wanted an epoch such as 3, a range such as 3-7, or start"


@dataclass(frozen=True)
class Removal:
    """A folder that is to go.

    Attributes:
        reasons: why it should stay; empty where nothing speaks for it.
    """

    path: Path
    epoch: int | None
    bytes: int
    reasons: tuple[str, ...]


def epochs_named(words: Sequence[str]) -> list[range]:
    """What was typed, as ranges; the start is epoch 0.

    Raises:
        UsageError: a word is neither.
    """
    found = []
    for word in words:
        match = _WORD.fullmatch("0" if word == START else word)
        if match is None:
            raise UsageError(f"found '{word}'; {EPOCHS_WANTED}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UsageError(f"found '{word}', which ends before it begins; {EPOCHS_WANTED}")
        found.append(range(first, last + 1))
    return found


def plan_removal(output: Path, words: Sequence[str], *, states: bool) -> list[Removal]:
    """What would go: all generations of the epochs named, and with ``states`` all resume states.

    Raises:
        UsageError: a word names no epoch, or none that lies there.
    """
    wanted = epochs_named(words)
    there = [(epoch, path) for epoch, _, path in epoch_folders(output)]
    if (start := epochs_folder(output) / START).exists():
        there.insert(0, (START_EPOCH, start))
    for word, named in zip(words, wanted, strict=True):
        if not any(epoch in named for epoch, _ in there):
            names = ", ".join(path.name for _, path in there) or "none"
            raise UsageError(f"{epochs_folder(output)}: found no checkpoint of '{word}'; there: {names}")
    references, needed = read_references(output), needed_to_go_on(output)
    unknown = [f"what may name it can't be read: {fault}" for fault in references.faults]
    plan = []
    for epoch, path in there:
        if any(epoch in named for named in wanted):
            why = [*references.named(epoch).reasons(), *([needed[epoch]] if epoch in needed else []), *unknown]
            plan.append(Removal(path, epoch, size_of(path), tuple(why)))
    return plan + (_states(output) if states else [])


def _states(output: Path) -> list[Removal]:
    states, run = stored_states(output), run_of(output)
    newest = gone_on_from(states, run.run if run else None)
    found = []
    for one in states:
        needed = one is newest and run is not None and not run.finished
        why = ("the run is not finished, and goes on from it",) if needed else ()
        found.append(Removal(one.path, None, size_of(one.path), why))
    return found


def check_may_go(plan: Sequence[Removal]) -> None:
    """Whether nothing speaks for what is to go.

    Raises:
        UsageError: something does; names all of it, and why.
    """
    kept = [f"{one.path}: {'; '.join(one.reasons)}" for one in plan if one.reasons]
    if kept:
        lines = "\n".join(f"  - {line}" for line in kept)
        raise UsageError(
            f"nothing was removed: {len(kept)} of {len(plan)} are needed (--force removes them all the same)\n{lines}"
        )


def remove(output: Path, plan: Sequence[Removal]) -> None:
    """Removes what was planned; by whoever is alone in the folder.

    Raises:
        StorageError: nothing was removed; or what lies under a temporary name could not be, which the next start removes.
    """
    remove_left_overs_of_checkpoints(output)  # what a removal that was killed left
    away = _renamed(plan)
    for folder in sorted({path.parent for path in away}):
        sync_folder(folder)
    for path in away:
        try:
            path.unlink() if path.is_symlink() else shutil.rmtree(path)
        except OSError as error:
            raise StorageError(
                f"{error.filename or path}: could not be removed: {reason_of(error, path)}; what is left of it has the name "
                f"{path.name}, and is no checkpoint any more"
            ) from error


def _renamed(plan: Sequence[Removal]) -> list[Path]:
    """All folders under names that readers pass over and a start takes away; on a failure all have their own again."""
    done: list[tuple[Path, Path]] = []
    try:
        for one in plan:
            away = one.path.with_name(f".{one.path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
            done.append((one.path, away))
            one.path.rename(away)
    except BaseException as error:  # an interrupt too: what is renamed is as good as removed
        for path, away in reversed(done):
            with contextlib.suppress(OSError):  # of the one that failed there is nothing to undo
                away.rename(path)
        if not isinstance(error, OSError):
            raise
        path = done[-1][0]
        raise StorageError(f"{path}: could not be removed: {reason_of(error, path)}; nothing was removed") from error
    return [away for _, away in done]
