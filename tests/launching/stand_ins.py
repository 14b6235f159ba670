"""Stand-ins for a launcher and the processes of a training: they start in a tenth of a second, and do what a test says.

``python stand_ins.py FOLDER COUNT PORT PROGRAM SETTING…`` is the launcher: like Accelerate's it starts each process in a session
of its own, ends the others when one has failed, and exits with 1 for any failure.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

#: What every process begins with; a program is what follows.
_BEGIN = """
import os, pathlib, signal, sys, time
from redheart.errors import *
from redheart.launching.outcome import LaunchFolder, Place
from redheart.launching.rank import reported, say_ready, exit_code_for_launcher
folder, rank, settings = pathlib.Path(sys.argv[1]), int(os.environ["RANK"]), sys.argv[2:]
start = len(list((folder / "starts").glob(f"{rank}.*")))
(folder / "starts" / f"{rank}.{start}").write_text(str(os.getpid()))
asked = []
def serve():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda n, _: (asked.append(n), (folder / f"asked.{rank}").write_text(str(asked))))
    say_ready()
def hang():
    time.sleep(60)
def state(number):
    (folder / "checkpoints" / "resume" / f"state_{number:06d}").mkdir(parents=True)
def short(micro, smaller):
    LaunchFolder(pathlib.Path(os.environ["REDHEART_LAUNCH_FOLDER"])).leave_place(
        rank, Place(step=7, micro_batch_size=micro, smaller_micro_batch_size=smaller))
    raise OutOfMemory("no room for 2 GiB", memory="device")
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def work():
"""
_END = """
try:
    with reported():
        work()
except RedHeartError as error:
    sys.exit(exit_code_for_launcher(error.exit_code))
"""


@dataclass
class StandIn:
    """A group of stand-ins, with the lines that each process carries out.

    Attributes:
        lines: what was started, with its settings.
    """

    folder: Path
    program: str
    processes: int = 2
    port: int | None = None
    needs_port: bool = False
    lines: list[list[str]] = field(default_factory=list)

    def line(self, port: int | None, *, overrides: list[str], is_forced: bool) -> list[str]:
        (self.folder / "starts").mkdir(exist_ok=True)
        path = self.folder / "program.py"
        body = "".join(f"    {line}\n" for line in self.program.strip().splitlines())
        path.write_text(_BEGIN + body + _END)
        settings = [*overrides, *(["--force"] if is_forced else [])]
        self.lines.append(settings)
        count = str(self.processes)
        return [sys.executable, __file__, str(self.folder), count, str(port or 0), str(path), *settings]

    def pids(self) -> list[int]:
        """Of all processes that were started, whatever became of them."""
        return [int(path.read_text() or 0) for path in sorted((self.folder / "starts").iterdir())]


def _launch(folder: str, count: int, port: int, program: str, settings: list[str]) -> int:
    if port:
        with socket.socket() as meeting:
            try:
                meeting.bind(("", port))
            except OSError:
                return 1
    workers = [
        subprocess.Popen(
            [sys.executable, program, folder, *settings],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(count)},
            start_new_session=True,
        )
        for rank in range(count)
    ]
    while None in (codes := [worker.poll() for worker in workers]):
        if any(codes):
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    return int(any(codes))


if __name__ == "__main__":
    _, FOLDER, COUNT, PORT, PROGRAM, *SETTINGS = sys.argv
    sys.exit(_launch(FOLDER, int(COUNT), int(PORT), PROGRAM, SETTINGS))
