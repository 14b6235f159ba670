"""The checkpoints of a run as a table for people and as JSON, what verifying them found, and what a removal frees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from redheart.inspection.checkpoints import Checkpoint
from redheart.inspection.integrity import is_closed
from redheart.inspection.sizes import shown_size
from redheart.inspection.text_table import aligned, number, ranges, skill
from redheart.messages import text
from redheart.paths import OutputPaths
from redheart.tasks import MODULES

_COLUMNS = (
    "inspection.column_checkpoint",
    "inspection.column_size",
    "inspection.column_dtype",
    "inspection.column_state",
    "inspection.column_loss",
    "inspection.column_skill",
    "inspection.column_used_by",
)


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What ``redheart checkpoints ls`` tells.

    Attributes:
        faults: of the files that tell what is made of the checkpoints.
    """

    output: str
    bytes: int
    checkpoints: list[Checkpoint]
    faults: tuple[str, ...]


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint whose hashes were compared; ``cure``: what brings it back, where there are faults."""

    name: str
    path: str
    faults: tuple[str, ...]
    cure: str | None


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What ``redheart checkpoints verify`` tells."""

    output: str
    checkpoints: list[Verified]


def as_table(listing: Listing) -> str:
    """A row for each, the sum, and below it what is damaged."""
    found = listing.checkpoints
    rows = [[text(key) for key in _COLUMNS], *(_row(one) for one in found)]
    lines = aligned(rows, right=(1, 4, 5))
    lines.append("")
    lines.append(text("inspection.sum", count=len(found), size=shown_size(listing.bytes)))
    faults = [fault for one in found for fault in one.faults] + list(listing.faults)
    return "\n".join([*lines, *(text("inspection.fault", fault=fault) for fault in faults)])


def _row(one: Checkpoint) -> list[str]:
    numbers = [number(one.loss), skill(one.mean_skill)]
    return [one.name, shown_size(one.bytes), one.dtype or "–", _state(one), *numbers, _about(one)]


def _state(one: Checkpoint) -> str:
    if one.faults:
        return text("inspection.damaged")
    if one.is_superseded:
        return text("inspection.superseded")
    if one.thinned:
        return text("inspection.thinned", left=len(MODULES) - len(one.thinned), all=len(MODULES))
    return text("inspection.valid")


def _about(one: Checkpoint) -> str:
    """What names it, or for what is no epoch what it is."""
    if one.position is not None:
        key = "inspection.goes_on" if one.is_gone_on_from else "inspection.at"
        return text(key, epoch=one.position.epoch, batch=one.position.batches_done)
    if one.made_of is not None:
        return text("inspection.made_of", name=one.made_of[0], epochs=ranges(one.made_of[1]))
    if one.kind == "consolidated" and one.epoch is not None:
        return text("inspection.of_epoch", epoch=one.epoch)
    found = []
    if one.modules:
        found.append(text("inspection.by_analysis", count=len(one.modules)))
    if one.candidates:
        found.append(text("inspection.by_crossover", count=len(one.candidates)))
    if one.in_best_model:
        found.append(OutputPaths.best_model.name)
    return " ".join(found) or "–"


def verified_line(one: Checkpoint, faults: Sequence[str]) -> str:
    """One checkpoint's line: whole, undamaged and thinned, or what is damaged of it."""
    if not faults:
        size, left = shown_size(one.bytes), len(MODULES) - len(one.thinned)
        if one.thinned:
            return text("inspection.whole_of_thinned", name=one.name, left=left, all=len(MODULES), size=size)
        return text("inspection.whole", name=one.name, size=size)
    return text("inspection.not_whole", name=one.name, faults="; ".join(faults), cure=cure_of(one, faults))


def cure_of(one: Checkpoint, faults: Sequence[str] = ()) -> str:
    """What brings a damaged checkpoint back, or helps where it is only closed to this user."""
    if is_closed(faults):
        return text("inspection.cure_closed")
    path = Path(one.path)
    if one.kind == "state":
        return text("inspection.cure_state")
    if one.kind in ("start", "epoch"):
        output = OutputPaths(path.parents[1])
        what = "start" if one.kind == "start" else str(one.epoch)
        key = "inspection.cure_start" if one.kind == "start" else "inspection.cure_epoch"
        if one.is_superseded:
            key = "inspection.cure_superseded"
        return text(key, remove=output.command(f"checkpoints rm {what}"), train=output.training_command)
    words = "consolidate" if one.kind == "consolidated" else "crossover --force"
    return text("inspection.cure_written", command=OutputPaths(path.parent).command(words))
