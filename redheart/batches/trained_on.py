"""The record of what a run was trained on, ``trained_on.json``, and what of other data may be judged by its models.

A hash of its text decides a situation's split. So a text that is edited after training may lie on another side than the one
it trained on: it is known again by its id, and left out where it would be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from redheart.batches.order import Indices
from redheart.batches.table import SituationTable
from redheart.data.splits import SPLITS, Split
from redheart.data.sufficiency import MIN_SITUATIONS
from redheart.errors import DataError
from redheart.facts.model import ModelFacts
from redheart.messages import warn
from redheart.paths import OutputPaths
from redheart.storage import fingerprint, read_struct, write_json
from redheart.storage.structs import Settings

FORMAT = 1
#: What helps where too little is left to judge on.
_ANEW = "train anew on this data (redheart train), or name the data that it was trained on with --data"
_OTHER_WEIGHTS = (
    "begin with other weights (training.init_from) or with none, or name data that these have not seen with --data"
)
#: Ids that a warning names.
_NAMED = 5


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """On which side of another run each situation was, with whose weights a run began; as in ``TrainedOn``."""

    run: str
    splits: dict[str, dict[str, str]]


class TrainedOn(msgspec.Struct, frozen=True, kw_only=True):
    """On which side of a run each situation was.

    Attributes:
        run, dataset, texts: identities of the run, of its data, and of the texts in it.
        splits: by split, ids and the hash of each one's text, 16 hex digits.
        sources: of a run that began with another one's weights, that one, and those that that one began with in turn.
    """

    format: int = FORMAT
    run: str
    dataset: str
    texts: str
    splits: dict[str, dict[str, str]]
    sources: list[Source] = []

    @property
    def texts_by_id(self) -> dict[str, str]:
        """The hash of each text, whatever its side."""
        return {name: text for texts in self.splits.values() for name, text in texts.items()}


def save_trained_on(output: Path, run: str, table: SituationTable, sources: Sequence[Source] = ()) -> None:
    """Writes the record, on one line: of thousands of texts nobody reads it.

    Args:
        sources: what the weights were trained on that the run began with.

    Raises:
        StorageError: it could not be written; an earlier one is intact.
    """
    hashes = _hashes(table)
    splits: dict[str, dict[str, str]] = {
        split: {table.ids[index]: hashes[index] for index in indices} for split, indices in table.split_indices.items()
    }
    record = TrainedOn(
        run=run,
        dataset=table.identity,
        texts=table.dataset.texts_identity,
        splits=splits,
        sources=list(sources),
    )
    write_json(OutputPaths(output).trained_on, record, indent=None)


def _hashes(table: SituationTable) -> list[str]:
    return [f"{int(one):016x}" for one in table.dataset.facts.text_hashes]


def find_trained_on(run: str | None, outputs: Iterable[Path]) -> TrainedOn | None:
    """The record of ``run`` in one of ``outputs``; None where there is none, as of a run of an earlier version.

    Raises:
        StorageError: one is damaged.
    """
    for output in outputs:
        found = _read(output)
        if found is not None and found.run == run:
            return found
    return None


def find_sources(run: str | None, outputs: Iterable[Path]) -> list[Source] | None:
    """What the weights of ``run`` were trained on, by it and by those before it; None where it has no record in ``outputs``.

    Raises:
        StorageError: one is damaged.
    """
    record = find_trained_on(run, outputs) if run else None
    if record is None:
        return None
    return list({one.run: one for one in (Source(run=record.run, splits=record.splits), *record.sources)}.values())


def _read(output: Path) -> TrainedOn | None:
    path = OutputPaths(output).trained_on
    if not path.is_file():
        return None
    return read_struct(path, TrainedOn, fix="put it back from a copy, or remove it to go on without it")


def with_texts(identity: Settings, output: Path, table: SituationTable) -> Settings:
    """A run's identity, told apart from that of a run in ``output`` which differs in texts that the data's identity misses.

    It has the texts by the keys of their vectors; those of vectors that a file brought don't change with a text. Runs of
    before keep the identity that they have.

    Raises:
        StorageError: the record there is damaged.
    """
    there, texts = _read(output), table.dataset.texts_identity
    told_apart: Settings = {**identity, "texts": texts}
    if there is None or there.run not in (fingerprint(identity), fingerprint(told_apart)):
        return identity
    return told_apart if there.run == fingerprint(told_apart) or there.texts != texts else identity


@dataclass(frozen=True)
class Judged:
    """What a model may be judged on.

    Attributes:
        table: without what is left out.
        left_out: by split, how many situations had a part in the making of the model before their texts were edited.
        is_edited: whether texts are known to be others than those of the run.
    """

    table: SituationTable
    left_out: dict[str, int]
    is_edited: bool = False


def leave_out_trained(
    table: SituationTable, model: ModelFacts, outputs: Iterable[Path], splits: Collection[Split]
) -> Judged:
    """``table`` without the situations of ``splits`` that made the model: those that lay on an earlier side of its run.

    What trained would be judged on what it has seen; and what chose or judged, by what it chose. A situation with a text that
    the run knew is not an edited one, whatever its id: ids that are numbers may have moved on. Texts that may be edits under
    other ids are warned of.

    Args:
        model: of which run it is, and the identity of the data that it was trained on.
        outputs: folders in which the record of the run may lie.

    Raises:
        DataError: too few are left.
        StorageError: a record is damaged.
    """
    record = find_trained_on(model.run, outputs) if model.run else None
    if record is None:
        if model.dataset != table.identity or table.dataset.sequences.has_older:
            warn("data.trained_on_unknown", path=table.path)
        return Judged(table, {})
    is_edited, found = record.texts != table.dataset.texts_identity, Judged(table, {})
    if is_edited:
        found = _without(table, [record.splits], splits, "data.trained_on_left_out")
        _warn_of_replaced(table, record, {split: found.table.split_indices[split] for split in splits})
    beside = leave_out_sources(found.table, record.sources, splits)
    counts = {
        split: count
        for split in map(str, splits)
        if (count := found.left_out.get(split, 0) + beside.left_out.get(split, 0))
    }
    return Judged(beside.table, counts, is_edited)


def leave_out_sources(
    table: SituationTable, sources: Iterable[Source], splits: Collection[Split], *, is_told: bool = True
) -> Judged:
    """``table`` without the situations of ``splits`` that trained, chose or judged the weights that a run began with.

    As ``leave_out_trained``; but the source's data may be other data, whose ids mean other situations: they count where some
    situation has its id and its text in both.

    Args:
        is_told: whether a warning is given.

    Raises:
        DataError: too few are left.
    """
    known = [one.splits for one in sources]
    return _without(table, known, splits, "data.source_left_out" if is_told else None, by_id=_has_same_ids)


_Sides = Mapping[str, Mapping[str, str]]


def _has_same_ids(table: SituationTable, sides: _Sides) -> bool:
    texts = {name: text for one in sides.values() for name, text in one.items()}
    return any(texts.get(name) == text for name, text in zip(table.ids, _hashes(table), strict=True))


def _without(
    table: SituationTable,
    runs: Sequence[_Sides],
    splits: Collection[Split],
    message: str | None,
    *,
    by_id: Callable[[SituationTable, _Sides], bool] = lambda table, sides: True,
) -> Judged:
    """``table`` without what had a part in one of ``runs``; said by ``message``, with counts and some ids.

    Args:
        by_id: whether a run's ids name the table's situations.

    Raises:
        DataError: too few are left.
    """
    kept = dict(table.split_indices)
    left_out: dict[Split, Indices] = {}
    knows_ids = [by_id(table, sides) for sides in runs]
    for split in splits:
        indices = table.split_indices[split]
        parts = [_had_part(table, sides, split, by_id=known) for sides, known in zip(runs, knows_ids, strict=True)]
        had_part = np.logical_or.reduce(parts) if parts else np.zeros(len(indices), np.bool_)
        if had_part.any():
            left_out[split] = indices[had_part]
            kept[split] = indices[~had_part]
    if not left_out:
        return Judged(table, {})
    named = [table.ids[index] for indices in left_out.values() for index in indices[:_NAMED]][:_NAMED]
    counts = {str(split): len(indices) for split, indices in left_out.items()}
    if message is not None:
        told = ", ".join(f"{split} {count}" for split, count in counts.items())
        warn(message, path=table.path, counts=told, ids=", ".join(named))
    _check_left(table, kept, counts, _ANEW if message == "data.trained_on_left_out" else _OTHER_WEIGHTS)
    return Judged(table.restricted(kept), counts)


def _had_part(table: SituationTable, sides: _Sides, split: Split, *, by_id: bool) -> NDArray[np.bool_]:
    """Which situations of ``split`` lay on an earlier side of a run, by their text, else by their id."""
    earlier = SPLITS[: SPLITS.index(split)]
    ids = {name for one in earlier for name in sides.get(one, {})} if by_id else set()
    texts = {text for one in earlier for text in sides.get(one, {}).values()}
    known, hashes = {text for one in sides.values() for text in one.values()}, _hashes(table)
    found = [
        hashes[index] in texts or (hashes[index] not in known and table.ids[index] in ids)
        for index in table.split_indices[split]
    ]
    return np.array(found, np.bool_)


def _warn_of_replaced(table: SituationTable, record: TrainedOn, judged: Mapping[Split, Indices]) -> None:
    """Warns where texts of an earlier side are gone with their ids, and new ones are judged under new ids: they may be edits.

    Only of what is the run's data by and large: beside other data all of it is gone.
    """
    then, now = record.texts_by_id, dict(zip(table.ids, _hashes(table), strict=True))
    texts_then, texts_now = set(then.values()), set(now.values())
    if 2 * len(texts_then & texts_now) < len(texts_then) or not judged:
        return
    earlier = SPLITS[: max(SPLITS.index(split) for split in judged)]
    gone = sum(
        text not in texts_now and (name not in now or now[name] in texts_then)
        for split in earlier
        for name, text in record.splits.get(split, {}).items()
    )
    ids = [table.ids[index] for indices in judged.values() for index in indices]
    new = sum(now[name] not in texts_then and (name not in then or then[name] in texts_now) for name in ids)
    if gone and new:
        warn("data.trained_on_replaced", path=table.path, gone=gone, new=new)


def _check_left(table: SituationTable, kept: Mapping[Split, Indices], left_out: Mapping[str, int], cure: str) -> None:
    problems = []
    for split in SPLITS:
        count, has_target = len(kept[split]), bool(table.dataset.facts.has_target[kept[split]].any())
        if split in left_out and (count < MIN_SITUATIONS[split] or not has_target):
            problems.append(
                f"split {split}: found {count} situations{'' if has_target else ', none with a target,'} beside "
                f"{left_out[split]} that the model was made with before their texts were edited; wanted at least "
                f"{MIN_SITUATIONS[split]} with targets among them"
            )
    if problems:
        raise DataError(
            f"{table.path}: nothing is left to judge the model on: {cure}",
            tuple(problems),
        )
