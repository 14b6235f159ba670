"""The start of a probe's processes by a launch file, and what they saw, summed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from redheart.config import Config
from redheart.errors import TrainingError
from redheart.launching.launch_file import find_launch_file
from redheart.launching.ports import free_port
from redheart.probe.process import Measured, PhaseMemory, Probe
from redheart.storage import write_json
from redheart.worker_pool.slots import environment_of_started, own_environment

#: Lines of a failed probe's output that are told.
_LAST_LINES = 5


@dataclass(frozen=True)
class ProbeResult:
    """By phase, host memory summed over the processes, of a GPU the fullest.

    Attributes:
        step_seconds: of the shortest step after the first; None: there was none.
    """

    phases: dict[str, PhaseMemory]
    step_seconds: float | None


def command_of(told: Path, *, launch_file: str | None, processes: int) -> list[str]:
    """What starts the processes of a probe that is described in ``told``."""
    launcher: list[str] = []
    if launch_file is not None:
        launcher = ["-m", "accelerate.commands.launch", "--config_file", str(find_launch_file(launch_file))]
        launcher += ["--num_processes", str(processes), "--main_process_port", str(free_port())]
    return [sys.executable, *launcher, "-m", "redheart.probe.process", str(told)]


def last_lines(said: str) -> str:
    """Of what a failed probe said."""
    return "\n".join(said.splitlines()[-_LAST_LINES:])


def measure(
    config: Config,
    *,
    launch_file: str | None,
    processes: int,
    segments: int,
    d_embed: int = 384,
    steps: int = 2,
    saves: bool = True,
    device_limit: int | None = None,
) -> ProbeResult:
    """Goes through the phases of a training; see ``process.py`` for what is asked.

    Args:
        config: with preset and precision settled.
        launch_file: None: one plain process.

    Raises:
        TrainingError: a process failed, with the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="redheart-probe-") as folder:
        told = Path(folder) / "probe.json"
        probe = Probe(
            config=config,
            folder=folder,
            segments=segments,
            d_embed=d_embed,
            steps=steps,
            saves=saves,
            device_limit=device_limit,
        )
        write_json(told, probe)
        done = subprocess.run(
            command_of(told, launch_file=launch_file, processes=processes),
            env=environment_of_started(own_environment()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise TrainingError(f"the probe ended with exit code {done.returncode}:\n{last_lines(done.stdout)}")
        found = [
            msgspec.json.decode((Path(folder) / f"rank_{rank}.json").read_bytes(), type=Measured)
            for rank in range(processes)
        ]
    phases = {
        phase: PhaseMemory(
            host=sum(one.phases[phase].host for one in found),
            host_peak=sum(one.phases[phase].host_peak for one in found),
            device_peak=max(one.phases[phase].device_peak for one in found),
        )
        for phase in found[0].phases
    }
    return ProbeResult(phases, found[0].step_seconds)
