"""Batches that a thread makes ready: the same as without it, in order, and no thread is left however their use ends."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from redheart.batches.order import BatchGeometry, global_batches, micro_batches
from redheart.batches.prepared import AHEAD, PreparedBatch, prepare_batch, prepared_batches
from redheart.batches.table import SituationTable
from redheart.errors import StorageError

GEOMETRY = BatchGeometry(4, 2, 1)


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("batches")]


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    assert threads() == []
    yield
    assert threads() == []


@pytest.fixture
def batches(table: SituationTable) -> list[np.ndarray]:
    return global_batches(table.split_indices["train"], 8)


def same(one: PreparedBatch, other: PreparedBatch) -> bool:
    pairs = zip(one.pieces, other.pieces, strict=True)
    return (
        one.indices is other.indices
        and one.counts == other.counts
        and all(a.ids == b.ids and torch.equal(a.segments, b.segments) for a, b in pairs)
    )


def test_they_are_those_that_are_made_where_they_are_needed_in_their_order(
    table: SituationTable, batches: list[np.ndarray]
) -> None:
    found = list(prepared_batches(table, batches, GEOMETRY, 0))
    assert len(found) == len(batches) > AHEAD + 1
    for one, indices in zip(found, batches, strict=True):
        assert same(one, prepare_batch(table, indices, GEOMETRY, 0))


def test_only_a_few_are_made_ahead(
    table: SituationTable, batches: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    original = SituationTable.batch
    monkeypatch.setattr(SituationTable, "batch", lambda self, one: made.append(len(one)) or original(self, one))
    ahead = prepared_batches(table, batches * 4, GEOMETRY, 0)
    next(ahead)
    ahead.close()
    assert len(made) <= 2 * (AHEAD + 1), "two pieces each"


def test_an_error_comes_where_the_batch_is_taken_as_it_is(
    table: SituationTable, batches: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised, original = StorageError("the disk is gone"), SituationTable.batch
    third = {table.ids[int(one)] for one in batches[2]}

    def batch(self: SituationTable, indices: np.ndarray) -> object:
        made = original(self, indices)
        if set(made.ids) & third:
            raise raised
        return made

    monkeypatch.setattr(SituationTable, "batch", batch)
    taken = []
    with pytest.raises(StorageError) as found:
        for one in prepared_batches(table, batches, GEOMETRY, 0):
            taken.append(one)
    assert found.value is raised and len(taken) == 2


def test_a_caller_that_leaves_or_fails_leaves_no_thread(table: SituationTable, batches: list[np.ndarray]) -> None:
    for _ in prepared_batches(table, batches, GEOMETRY, 0):
        assert threads()
        break
    with pytest.raises(ZeroDivisionError):
        for _ in prepared_batches(table, batches, GEOMETRY, 0):
            raise ZeroDivisionError


@pytest.mark.parametrize("accumulation, world", list(itertools.product((1, 2, 4), (1, 2))))
def test_a_batch_that_is_cut_is_sorted_by_length_and_holds_the_same_situations(accumulation: int, world: int) -> None:
    lengths = np.random.default_rng(0).integers(4, 17, 200)
    batch = np.random.default_rng(1).permutation(200)[:32]
    geometry = BatchGeometry(32 // accumulation // world, accumulation, world)

    def pieces(*own: object) -> list[np.ndarray]:
        return [piece for rank in range(world) for piece in micro_batches(batch, geometry, rank, *own)]

    def padded(cut: list[np.ndarray]) -> int:
        return sum(len(piece) * int(lengths[piece].max()) for piece in cut)

    assert sorted(np.concatenate(pieces(lengths))) == sorted(batch)
    if accumulation * world == 1:
        assert (pieces(lengths)[0] == batch).all(), "nothing is cut, so nothing is sorted"
    else:
        assert padded(pieces(lengths)) < padded(pieces())


def test_a_batch_for_which_memory_ran_out_is_left_to_the_step_and_what_follows_is_made_ready(
    table: SituationTable, batches: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    gather = SituationTable.batch
    calls = itertools.count()

    def short(self: SituationTable, indices: np.ndarray) -> object:
        if next(calls) == 2:  # the first piece of the second batch
            raise MemoryError("Unable to allocate 2.00 GiB")
        return gather(self, indices)

    monkeypatch.setattr(SituationTable, "batch", short)
    found = list(prepared_batches(table, batches[:3], GEOMETRY, 0))
    assert [one is None for one in found] == [False, True, False]
