"""Memory that is nearly used up is said once, with what helps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from redheart.training.callbacks import memory_pressure
from redheart.training.callbacks.memory_pressure import MemoryPressure

RUN: Any = SimpleNamespace(engine=SimpleNamespace(is_main=True, geometry=SimpleNamespace(micro_batch_size=8)))
STEP: Any = None


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(memory_pressure, "warn", lambda key, **values: found.append((key, values)))
    monkeypatch.setattr(memory_pressure, "_LOOKS_EVERY", 0.0)
    return found


def test_each_is_said_once_and_what_was_there_before_does_not_count(
    said: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"retries": 3, "swapped": 1 << 30}
    monkeypatch.setattr(memory_pressure, "alloc_retries", lambda: now["retries"])
    monkeypatch.setattr(memory_pressure, "swapped", lambda: now["swapped"])
    callback = MemoryPressure()
    callback.before_run(RUN, None)
    callback.after_step(RUN, STEP)
    assert said == []
    now |= {"retries": 5, "swapped": (1 << 30) + (100 << 20)}
    for _ in range(3):
        callback.after_step(RUN, STEP)
    assert said == [("training.alloc_retries", {"count": 2, "size": 8}), ("training.swapping", {"mib": 100})]


def test_only_the_main_process_looks(said: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_pressure, "swapped", lambda: pytest.fail("it looked"))
    other: Any = SimpleNamespace(engine=SimpleNamespace(is_main=False))
    MemoryPressure().after_step(other, STEP)


def test_this_process_tells_what_of_it_is_swapped(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    status.write_text("VmRSS:\t 10 kB\nVmSwap:\t 2048 kB\n")
    monkeypatch.setattr(memory_pressure, "_STATUS", status)
    assert memory_pressure.swapped() == 2 << 20
    monkeypatch.setattr(memory_pressure, "_STATUS", tmp_path / "none")
    assert memory_pressure.swapped() == 0
