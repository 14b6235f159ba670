"""The largest micro-batch that fits: found by steps of a training on made-up situations of the greatest length, before it begins.

Each try is a group of processes of its own, so that whatever it took is given back when it ends.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from redheart.config import Config, with_settings
from redheart.errors import Interrupted, TrainingError
from redheart.probe.measure import command_of, last_lines
from redheart.probe.process import Measured, Probe
from redheart.storage import write_json
from redheart.worker_pool.slots import environment_of_started, own_environment

#: Seconds for one try: to start a group takes half a minute, and two steps of the largest model some seconds.
WITHIN = 300.0
_POLL_EVERY = 0.1
#: Passes of a try's steps: what later ones take besides the first is there in the second.
_PASSES = 2


def largest_that_fits(
    config: Config,
    *,
    launch_file: str | None,
    processes: int,
    segments: int,
    d_embed: int,
    within: float = WITHIN,
    should_stop: Callable[[], bool] = lambda: False,
) -> int | None:
    """Of the micro-batch of ``config`` and those that it can be cut into; None: not even one situation.

    Args:
        config: with preset, precision, micro-batch and global batch settled.
        launch_file: None: one plain process.
        within: seconds for one try.

    Raises:
        TrainingError: a try failed for another reason, or took too long.
        Interrupted: asked to stop.
    """
    size = config.training.micro_batch_size
    assert size is not None
    share = config.training.global_batch_size // processes
    while True:
        passes = min(_PASSES, share // size)
        cut = {"training.global_batch_size": size * passes * processes, "training.micro_batch_size": size}
        tried = with_settings(config, {**cut, "training.gradient_accumulation_steps": None})
        with tempfile.TemporaryDirectory(prefix="redheart-probe-") as folder:
            probe = Probe(config=tried, folder=folder, segments=segments, d_embed=d_embed, saves=False)
            found = _try(probe, Path(folder), launch_file, processes, within, should_stop)
        if found is not None:
            return found
        smaller = next((one for one in range(size // 2, 0, -1) if size % one == 0), None)
        if smaller is None or launch_file is None:  # a plain process came down to one situation by itself
            return None
        size = smaller


def _try(
    probe: Probe,
    folder: Path,
    launch_file: str | None,
    processes: int,
    within: float,
    should_stop: Callable[[], bool],
) -> int | None:
    """With what micro-batch a group came through; None: memory ran out."""
    told, said = folder / "probe.json", folder / "said"
    write_json(told, probe)
    with said.open("wb") as output:
        process = subprocess.Popen(
            command_of(told, launch_file=launch_file, processes=processes),
            env=environment_of_started(own_environment()),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = _wait(process, within, should_stop)
        finally:
            _end(process)
    if code and any(folder.glob("short_*.json")):
        return None
    if code:
        raise TrainingError(f"the probe ended with exit code {code}:\n{last_lines(said.read_text(errors='replace'))}")
    ranks = (folder / f"rank_{rank}.json" for rank in range(processes))
    return min(msgspec.json.decode(one.read_bytes(), type=Measured).micro_batch_size for one in ranks)


def _wait(process: subprocess.Popen[bytes], within: float, should_stop: Callable[[], bool]) -> int:
    give_up = time.monotonic() + within
    while (code := process.poll()) is None:
        if should_stop():
            raise Interrupted("stopped before the training began; the same command starts it")
        if time.monotonic() > give_up:
            raise TrainingError(f"the probe did not end within {within:.0f} s")
        time.sleep(_POLL_EVERY)
    return code


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of a group: a launcher's processes are not of its session."""
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(process.pid)
        found = [root, *root.children(recursive=True)]
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    psutil.wait_procs([one for one in found if one.pid != process.pid], timeout=10)
