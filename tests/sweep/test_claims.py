"""Claims: one owner at a time, alive while the counter moves, taken over once when it stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from redheart.sweep.claims import Claims


def test_a_claimed_point_is_not_claimed_again_while_its_owner_beats(tmp_path):
    mine = Claims(tmp_path, beat_every=0.05, stale_after=0.4)
    others = Claims(tmp_path, stale_after=0.4)
    claim = mine.try_claim("p")
    assert claim is not None
    with claim:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            assert others.try_claim("p") is None
            time.sleep(0.05)


def test_a_claim_whose_counter_stands_still_is_taken_over_by_exactly_one(tmp_path):
    assert Claims(tmp_path).try_claim("p") is not None  # never entered, so it never beats; its process lives
    others = [Claims(tmp_path, stale_after=0.2) for _ in range(4)]
    assert all(other.try_claim("p") is None for other in others)
    time.sleep(0.3)
    taken = [claim for other in others if (claim := other.try_claim("p")) is not None]
    assert len(taken) == 1
    assert taken[0].generation == 2


def test_a_dead_process_on_this_host_loses_its_claim_at_once(tmp_path):
    code = f"from pathlib import Path; from redheart.sweep.claims import Claims; Claims(Path({str(tmp_path)!r})).try_claim('p')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert Claims(tmp_path).try_claim("p") is not None


def test_a_reused_process_number_does_not_keep_a_claim_alive(tmp_path):
    claim = Claims(tmp_path).try_claim("p")
    assert claim is not None
    content = json.loads(claim.path.read_text())
    claim.path.write_text(json.dumps({**content, "started_after_boot": content["started_after_boot"] - 1000}))
    assert Claims(tmp_path).try_claim("p") is not None


def test_nor_does_it_with_a_claim_of_before_the_time_since_the_start_was_noted(tmp_path):
    claim = Claims(tmp_path).try_claim("p")
    assert claim is not None
    content = json.loads(claim.path.read_text())
    del content["started_after_boot"]
    claim.path.write_text(json.dumps(content))
    assert Claims(tmp_path).try_claim("p") is None, "its process lives"
    claim.path.write_text(json.dumps({**content, "started": content["started"] - 1000}))
    assert Claims(tmp_path).try_claim("p") is not None


@pytest.mark.parametrize("step", [-3600.0, -2.0, 2.0, 3600.0])
def test_a_clock_that_is_set_kills_no_living_claim(tmp_path, monkeypatch, step):
    assert Claims(tmp_path).try_claim("p") is not None
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + step)
    assert Claims(tmp_path).try_claim("p") is None


def test_a_process_of_another_host_is_judged_by_its_counter_alone(tmp_path):
    claim = Claims(tmp_path).try_claim("p")
    assert claim is not None
    content = json.loads(claim.path.read_text())
    claim.path.write_text(json.dumps({**content, "place": "elsewhere", "pid": 2**22 + 1}))
    other = Claims(tmp_path, stale_after=0.2)
    assert other.try_claim("p") is None
    time.sleep(0.3)
    assert other.try_claim("p") is not None


def test_a_released_claim_can_be_taken_at_once(tmp_path):
    claims = Claims(tmp_path)
    with pytest.raises(RuntimeError):
        claim = claims.try_claim("p")
        assert claim is not None
        with claim:
            raise RuntimeError
    assert claims.try_claim("p") is not None


def test_a_trial_that_hangs_stops_beating_although_its_process_lives(tmp_path):
    claim = Claims(tmp_path, beat_every=0.02).try_claim("p")
    assert claim is not None
    with claim:
        claim.is_alive = lambda: False
        time.sleep(0.1)
        counter = json.loads(claim.path.read_text())["counter"]
        time.sleep(0.2)
        assert json.loads(claim.path.read_text())["counter"] == counter


def test_what_a_process_claimed_is_known_after_somebody_took_over(tmp_path):
    claims = Claims(tmp_path)
    first = claims.try_claim("p")
    assert first is not None
    with first:
        pass
    content = json.loads(first.path.read_text())
    first.path.write_text(json.dumps({**content, "pid": 1}))
    assert claims.try_claim("p") is not None
    assert claims.of_process(1) == claims.of_process(os.getpid()) == ["p"]
