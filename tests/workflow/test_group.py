"""A request to stop reaches the workers behind a launcher, and they save before they end."""

from __future__ import annotations

import sys
from pathlib import Path

from redheart.workflow.group import run_group

#: A launcher that is gone at once when it is signalled itself, without waiting for its worker.
LAUNCHER = """
import subprocess, sys
sys.exit(subprocess.run([sys.executable, "-c", sys.argv[1], *sys.argv[2:]]).returncode)
"""
WORKER = """
import pathlib, signal, sys, time
folder, asked = pathlib.Path(sys.argv[1]), []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
(folder / "started").touch()
give_up = time.monotonic() + 30
while not asked and time.monotonic() < give_up:
    time.sleep(0.01)
(folder / "saved").touch()
sys.exit(130)
"""


def test_a_request_to_stop_reaches_the_workers(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LAUNCHER, WORKER, str(tmp_path)]
    assert run_group(command, should_stop=(tmp_path / "started").exists) == (130, True)
    assert (tmp_path / "saved").exists()


def test_a_group_that_ends_by_itself_gives_its_exit_code() -> None:
    assert run_group([sys.executable, "-c", "raise SystemExit(3)"], should_stop=lambda: False) == (3, False)
    assert run_group([sys.executable, "-c", ""], should_stop=lambda: False) == (0, False)
