"""Slots: one worker per GPU, or per share of the cores."""

from __future__ import annotations

import os

import pytest

from redheart.machine.gpus import Gpu
from redheart.worker_pool.slots import plan_slots, visible_gpus


def test_slots_are_gpus_or_shares_of_the_cores() -> None:
    gpus = plan_slots({"CUDA_VISIBLE_DEVICES": "2,5"}, workers=None, tasks=5)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in gpus.environments] == ["2", "5"]
    cores = len(os.sched_getaffinity(0))
    cpu = plan_slots({"CUDA_VISIBLE_DEVICES": ""}, workers=None, tasks=5)
    assert len(cpu.environments) == min(cores, 5)
    one = plan_slots({"CUDA_VISIBLE_DEVICES": "-1"}, workers=1, tasks=5)
    assert one.environments[0]["OMP_NUM_THREADS"] == str(cores)
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-1a,GPU-2b"}) == ["GPU-1a", "GPU-2b"]


def test_more_workers_than_gpus_share_them_and_there_are_never_more_than_tasks() -> None:
    shared = plan_slots({"CUDA_VISIBLE_DEVICES": "0,1"}, workers=3, tasks=5)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in shared.environments] == ["0", "1", "0"]
    assert len(plan_slots({"CUDA_VISIBLE_DEVICES": "0,1"}, workers=3, tasks=1).environments) == 1
    assert len(plan_slots({"CUDA_VISIBLE_DEVICES": ""}, workers=8, tasks=2).environments) == 2


def test_gpus_are_those_that_the_machine_is_found_to_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redheart.worker_pool.slots.find_gpus", lambda: (Gpu("a GPU", 1 << 33, 1 << 33),) * 2)
    assert visible_gpus({}) == ["0", "1"] and visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
