"""What these tests share: a folder in which a sweep of fake trials runs, and a way to kill its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE = "tests.sweep.fake_trial:FakeRunner"
RESULTS = "lr_sweep_results"

_PARENT = """
import sys
from pathlib import Path
from redheart.config import load_config
from redheart.errors import RedHeartError
from redheart.messages import set_up_logging
from redheart.sweep import run_sweep, run_worker

root, kind, *overrides = sys.argv[1:]
set_up_logging()
call = run_worker if kind == "worker" else run_sweep
try:
    result = call(load_config(None, overrides), Path(root) / "data.embedded.json", "data-1", Path(root),
                  runner="tests.sweep.fake_trial:FakeRunner", **({"force": True} if kind == "force" else {}))
except RedHeartError as error:
    print(type(error).__name__, error)
    sys.exit(error.exit_code)
print("chosen", result.learning_rate, result.trials, result.skipped)
"""


def start(root: Path, kind: str = "pool", *overrides: str) -> subprocess.Popen[str]:
    """A sweep of fake trials in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(root), kind, *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def started(root: Path) -> Counter[tuple[str, str]]:
    """How often each trial, by learning rate and seed, was begun."""
    path = root / "started"
    return Counter(tuple(line.split()[:2]) for line in path.read_text().splitlines()) if path.exists() else Counter()


def trial_files(root: Path) -> list[Path]:
    return sorted((root / RESULTS / "trials").glob("*.json"))


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]
