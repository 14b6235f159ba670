"""What meets in which batch, and who computes which part of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from redheart.batches.order import BatchGeometry, epoch_order, global_batches, micro_batches
from redheart.config import TrainingConfig
from redheart.errors import ConfigError
from redheart.training.schedule import learning_rate_at

TRAIN = np.arange(100, 147)


def test_what_is_left_open_follows_from_the_global_batch():
    assert BatchGeometry.resolve(TrainingConfig(global_batch_size=32), 2) == BatchGeometry(16, 1, 2)
    assert BatchGeometry.resolve(TrainingConfig(global_batch_size=64), 1) == BatchGeometry(32, 2, 1)
    assert BatchGeometry.resolve(TrainingConfig(global_batch_size=32, micro_batch_size=4), 2) == BatchGeometry(4, 4, 2)
    accumulated = TrainingConfig(global_batch_size=32, gradient_accumulation_steps=8)
    assert BatchGeometry.resolve(accumulated, 2) == BatchGeometry(2, 8, 2)


@pytest.mark.parametrize("total, world", [(7, 1), (33, 1), (46, 2), (1, 1), (100, 4)])
def test_a_resolved_geometry_always_multiplies_to_the_global_batch(total, world):
    assert BatchGeometry.resolve(TrainingConfig(global_batch_size=total), world).global_batch_size == total


@pytest.mark.parametrize(
    "setting, world, named",
    [
        (TrainingConfig(global_batch_size=32, micro_batch_size=4, gradient_accumulation_steps=4), 1, "4 × "),
        (TrainingConfig(global_batch_size=32, micro_batch_size=5), 1, "micro_batch_size 5"),
        (TrainingConfig(global_batch_size=32, gradient_accumulation_steps=5), 1, "accumulation_steps 5"),
        (TrainingConfig(global_batch_size=33), 2, "nearest that can: 32"),
    ],
)
def test_numbers_that_do_not_multiply_are_refused_by_name(setting, world, named):
    with pytest.raises(ConfigError, match=named):
        BatchGeometry.resolve(setting, world)


def test_halving_keeps_the_global_batch_and_ends_at_single_situations():
    geometry = BatchGeometry(12, 1, 2)
    sizes = []
    while geometry is not None:
        assert geometry.global_batch_size == 24
        sizes.append(geometry.micro_batch_size)
        geometry = geometry.halved()
    assert sizes == [12, 6, 3, 1]


def test_the_order_is_a_function_of_seed_and_epoch():
    first = epoch_order(TRAIN, seed=1, epoch=1)
    assert (first == epoch_order(TRAIN, seed=1, epoch=1)).all()
    assert sorted(first) == sorted(TRAIN)
    assert (first != epoch_order(TRAIN, seed=1, epoch=2)).any()
    assert (first != epoch_order(TRAIN, seed=2, epoch=1)).any()


@pytest.mark.parametrize("accumulation, world", itertools.product((1, 2, 3), (1, 2, 4)))
def test_pieces_cover_each_global_batch_exactly_once(accumulation, world):
    geometry = BatchGeometry(4, accumulation, world)
    batches = global_batches(epoch_order(TRAIN, seed=0, epoch=1), geometry.global_batch_size)
    assert sorted(np.concatenate(batches)) == sorted(TRAIN), "no situation is dropped or seen twice"
    for batch in batches:
        pieces = [micro_batches(batch, geometry, rank) for rank in range(world)]
        assert all(len(own) == accumulation for own in pieces), "every process takes part in every step"
        flat = [piece for own in pieces for piece in own]
        assert sorted(np.concatenate(flat)) == sorted(batch)
        assert max(len(piece) for piece in flat) <= geometry.micro_batch_size


def test_a_short_last_batch_leaves_some_pieces_empty():
    pieces = [micro_batches(TRAIN[:3], BatchGeometry(2, 2, 4), rank) for rank in range(4)]
    assert sorted(len(piece) for own in pieces for piece in own) == [0] * 5 + [1] * 3


def test_an_empty_piece_is_one_situation_whose_targets_all_are_masked(table):
    batch = table.batch(np.zeros(0, dtype=np.int64))
    assert len(batch) == 0 and batch.segments.shape[0] == 1 and bool(batch.segment_mask.any())
    assert not any(bool(mask.any()) for mask in batch.target_mask.values())


def test_the_rate_rises_to_its_peak_and_falls_to_its_end():
    config = TrainingConfig(warmup_fraction=0.1, final_lr_fraction=0.05)
    rates = [learning_rate_at(step, 100, 2.0, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and max(rates) == rates[9] == rates[10] == 2.0
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert learning_rate_at(100, 100, 2.0, config) == pytest.approx(0.1)
