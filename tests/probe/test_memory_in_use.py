"""Memory now and at its most, seen on a tensor that comes and goes."""

from __future__ import annotations

import sys

import pytest
import torch

from redheart.probe.memory_in_use import forget_peak, host_now, host_peak

MIB = 1 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_a_peak_is_seen_after_it_has_gone_until_it_is_forgotten() -> None:
    forget_peak()
    before = host_now()
    tensor = torch.ones(64 * MIB)
    assert host_now() - before == pytest.approx(256 * MIB, abs=16 * MIB)
    del tensor
    assert host_now() - before < 32 * MIB
    assert host_peak() - before == pytest.approx(256 * MIB, abs=16 * MIB)
    forget_peak()
    assert host_peak() - before < 64 * MIB
