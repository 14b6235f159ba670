"""PyTorch's lock of an extension: taken away where its holder was killed, waited for where it is held."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch.utils.file_baton
from torch.utils.file_baton import FileBaton

from redheart.engine.zero import extension_lock
from redheart.engine.zero.extension_lock import ABANDONED_AFTER, sole_loader
from redheart.errors import StorageError
from redheart.messages import set_language

#: PyTorch's own lock, without the rest of PyTorch.
BATON = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("file_baton", {torch.utils.file_baton.__file__!r})
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
baton = module.FileBaton(sys.argv[1])
"""
HOLD = f"{BATON}\nassert baton.try_acquire()\nprint('held', flush=True)\nsys.stdin.read()\nbaton.release()"
#: As a process of ours loads an extension; while it is at it, no other may be.
LOAD = f"""{BATON}
import os, pathlib, time
from redheart.messages import set_language
from redheart.engine.zero.extension_lock import sole_loader
set_language("en")
with sole_loader(pathlib.Path(sys.argv[1]).parent):
    assert baton.try_acquire(), "PyTorch would wait"
    time.sleep(0.05)
    baton.release()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of an extension."""
    made = tmp_path / "cpu_adam"
    made.mkdir()
    return made


@pytest.fixture(autouse=True)
def quick_and_english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(extension_lock, "_POLL_SECONDS", 0.05)
    set_language("en")
    yield
    set_language("ko")


def start_holder(lock: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    return holder


def load_in_thread(folder: Path) -> tuple[threading.Thread, list[float]]:
    """Someone who loads from the folder; the list gets the time at which its turn came."""
    turns: list[float] = []

    def load() -> None:
        with sole_loader(folder):
            turns.append(time.monotonic())

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    return thread, turns


def test_the_lock_of_a_killed_process_is_removed_with_a_warning_at_once(
    folder: Path, logged: Callable[[], str]
) -> None:
    lock = folder / "lock"
    holder = start_holder(lock)
    holder.kill()
    holder.wait()
    assert lock.exists() and not FileBaton(lock).try_acquire(), "or there is nothing to mend"
    with sole_loader(folder):
        baton = FileBaton(lock)
        assert baton.try_acquire()
        baton.release()
    assert f"{lock}: left behind by a process that was killed while it compiled; removed" in logged()


def test_the_lock_of_a_living_process_is_waited_for_and_named(folder: Path, logged: Callable[[], str]) -> None:
    lock = folder / "lock"
    holder = start_holder(lock)
    old = time.time() - 10 * ABANDONED_AFTER
    os.utime(lock, (old, old))  # who holds it may take as long as it likes
    thread, turns = load_in_thread(folder)
    thread.join(1.0)
    assert lock.exists() and turns == []
    said = logged()
    assert said.count("Waiting") == 1 and f"({holder.pid}) compiles" in said and f"{lock}." in said
    holder.communicate("")
    assert holder.returncode == 0, "its lock was there when it was done"
    thread.join(10.0)
    assert len(turns) == 1


@pytest.mark.parametrize("hidden", ["another host", "another user"])
def test_a_lock_whose_holder_would_not_be_seen_is_removed_once_nothing_has_changed_for_long(
    folder: Path, monkeypatch: pytest.MonkeyPatch, hidden: str, logged: Callable[[], str]
) -> None:
    if hidden == "another host":
        monkeypatch.setattr(extension_lock, "_LOCAL", frozenset({"none of these"}))
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    lock, compiled = folder / "lock", folder / "cpu_adam.o"
    lock.touch()
    compiled.touch()
    old = time.time() - ABANDONED_AFTER - 60
    os.utime(lock, (old, old))
    thread, turns = load_in_thread(folder)
    thread.join(0.5)
    assert lock.exists() and turns == [], "something was compiled just now"
    assert "removed after 10 minutes without a change" in logged()
    os.utime(compiled, (old, old))
    thread.join(10.0)
    assert len(turns) == 1 and not lock.exists()


def test_of_many_that_come_at_once_each_has_its_turn_and_one_removes_the_lock(folder: Path) -> None:
    lock = folder / "lock"
    lock.touch()
    command = [sys.executable, "-c", LOAD, str(lock)]

    def run(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(run, range(4)))
    assert [one.returncode for one in done] == [0] * 4, done
    assert sum("removed" in one.stderr for one in done) == 1 and not lock.exists()


def test_a_folder_that_takes_no_lock_is_an_error_that_says_what_to_do(folder: Path) -> None:
    (folder / "file").touch()
    with (
        pytest.raises(StorageError, match=r"could not lock: .*; set TORCH_EXTENSIONS_DIR"),
        sole_loader(folder / "file"),
    ):
        pass
