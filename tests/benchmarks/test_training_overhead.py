"""The benchmark of the training loop's cost: ratios are paired, and what is stored has enough turns on both presets."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.training_overhead import AIMS, RESULT, STEPS, Result, random_table, ratio


def test_ratios_are_paired_by_turn() -> None:
    peer = [1.0, 10.0, 2.0, 5.0] * 10
    found = ratio([1.1 * one for one in peer], peer)
    assert (found.low, found.median, found.high) == pytest.approx((1.1, 1.1, 1.1), abs=1e-3)


def test_situations_differ_in_length() -> None:
    counts = random_table(100).dataset.counts
    assert counts.min() >= 5 and counts.max() <= 16 and len(set(counts.tolist())) > 5


def test_the_stored_result_is_of_both_presets_beside_both_peers() -> None:
    stored = msgspec.json.decode(RESULT.read_bytes(), type=Result)
    assert stored.presets.keys() == STEPS.keys()
    for one in stored.presets.values():
        assert one.turns >= 40 and one.beside.keys() == one.processor.keys() == AIMS.keys()
        assert all(found.low <= found.median <= found.high for found in one.beside.values())
