"""Starts processes as a user would, and ends them, with what they are at, when they have gone silent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

PROJECT = Path(__file__).resolve().parents[2]
LEARNING_RATE = 1e-3
OVERRIDES = ["training.epochs=2", "training.global_batch_size=24", "model.preset=tiny", "model.dropout=0.0"]
#: The same global batch, cut into pieces of processes and steps.
CUT = [*OVERRIDES, "training.gradient_accumulation_steps=2"]
#: Seconds without a word after which a group has hung; its slowest word, the first, comes after half a minute.
SILENCE = 150.0


def run_unless_silent(
    command: list[str], *, environment: dict[str, str], silence: float = SILENCE, first: Sequence[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run``; a group that says nothing for ``silence`` seconds fails with all that it said and its stacks.

    Args:
        first: folders of modules that are found before all others.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**environment, "PYTHONPATH": os.pathsep.join(map(str, (*first, PROJECT))), "PYTHONFAULTHANDLER": "1"},
            stdout=output,
            stderr=errors,
        )
        said, since = 0, time.monotonic()
        while process.poll() is None and time.monotonic() - since < silence:
            time.sleep(0.1)
            now = os.fstat(output.fileno()).st_size + os.fstat(errors.fileno()).st_size
            if now != said:
                said, since = now, time.monotonic()
        is_silent = process.poll() is None
        if is_silent:
            _end_with_stacks(process.pid)
            process.wait()
        output.seek(0)
        errors.seek(0)
        done = subprocess.CompletedProcess(command, process.returncode, output.read(), errors.read())
    if is_silent:
        raise AssertionError(f"nothing was said for {silence:.0f} s: {command}\n{done.stdout}\n{done.stderr}")
    return done


def compile_extensions(strategy: str = "zero2_offload") -> None:
    """What DeepSpeed compiles at its first use, silently and for minutes where others are at work: before anything else.

    Args:
        strategy: of ``ds_configs``; that of the default needs all there are.
    """
    program = (
        "import json, os; os.environ['DS_ACCELERATOR'] = 'cpu'\n"
        "from redheart.engine.zero.extensions import load_extensions\n"
        f"load_extensions(json.load(open('ds_configs/{strategy}.json')))"
    )
    done = run_unless_silent([sys.executable, "-c", program], environment=dict(os.environ), silence=500.0)
    assert done.returncode == 0, done.stderr


def _end_with_stacks(pid: int) -> None:
    """Ends a process and all below it; Python's say on standard error where they were."""
    started = psutil.Process(pid)
    below = started.children(recursive=True)
    for process in below:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGABRT)
    psutil.wait_procs(below, timeout=5)
    for process in [*below, started]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def launch(strategy: str, *program: str, processes: int = 2, **environment: str) -> subprocess.CompletedProcess[str]:
    """So many processes under ``launch/<strategy>.yaml`` or a file of one's own, started as a user would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = strategy if strategy.endswith(".yaml") else f"launch/{strategy}.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", path]
    command += ["--num_processes", str(processes), "--main_process_port", str(port), *program]
    return run_unless_silent(command, environment={**os.environ, "REDHEART_LANG": "en", **environment})


def launched(
    strategy: str,
    do: str,
    dataset: Path,
    output: Path,
    *,
    processes: int = 2,
    environment: dict[str, str] | None = None,
    **order: Any,
) -> subprocess.CompletedProcess[str]:
    """``tests/integration/launched.py`` in two processes, or as many as are asked for."""
    output.parent.mkdir(parents=True, exist_ok=True)
    spec = output.parent / f"{output.name}.order.json"
    common = {
        "do": do,
        "dataset": str(dataset),
        "output": str(output),
        "learning_rate": LEARNING_RATE,
        "overrides": CUT,
    }
    spec.write_text(json.dumps({**common, **order}))
    program = str(PROJECT / "tests" / "integration" / "launched.py")
    return launch(strategy, program, str(spec), processes=processes, **(environment or {}))
