"""Starts of a training that end, or are ended: forks of this process, which has everything imported, or a launcher's workers.

Forks cost a tenth of a launch. What only the launcher can show – that it ends the other workers when one is killed, and passes a
signal on – is shown with it.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from tests.integration.interrupted import ITSELF, LAUNCHER, Interruption, Order, perform
from tests.integration.launching import PROJECT, launch
from tests.integration.resume_matrix import Group

#: Seconds until every process has to be gone, on a machine with much else to do: the launcher alone lets the others live for 30
#: after the first.
PATIENCE = 400.0
STOPPED = 130


#: What a training loads on its way, beside what is imported here.
_LOADED = ("redheart.workflow.stages", "accelerate", "torch.utils.tensorboard", "torch.distributed.nn", "scipy.stats")
_LOADED_BY_ZERO = ("deepspeed", "deepspeed.runtime.zero.stage3", "deepspeed.ops.adam", "ninja")


def load_beforehand(group: Group) -> None:
    """Imports what every fork would import for itself; and a fork is only one of a process with one thread."""
    for name in (*_LOADED, *(_LOADED_BY_ZERO if group.launch is not None else ())):
        importlib.import_module(name)
    assert psutil.Process().num_threads() == 1, "threads do not survive a fork"


@dataclass(frozen=True)
class Begun:
    """A start that is over: the exit codes, of forks each's own, and what was said."""

    codes: list[int]
    said: str
    is_launched: bool


def start(group: Group, order: Order, name: Path) -> Begun:
    """Starts, and waits until no process is left.

    Raises:
        AssertionError: some are.
    """
    planned = order.interruption
    by_launcher = group.launch is not None and planned is not None and _needs_launcher(planned)
    before = _pids(order, group)
    begun = _launched(group, order, name) if by_launcher else _forked(group, order, name)
    started = _pids(order, group) - before
    until = time.monotonic() + PATIENCE
    while left := [pid for pid in started if psutil.pid_exists(pid)]:
        assert time.monotonic() < until, f"processes {left} live on\n{begun.said[-3000:]}"
        time.sleep(0.05)
    return begun


def _needs_launcher(planned: Interruption) -> bool:
    return planned.to == LAUNCHER or (planned.way == "SIGKILL" and planned.to == ITSELF)


def _pids(order: Order, group: Group) -> set[int]:
    """All that ever began with this trail."""
    paths = [Path(f"{order.trail}.{rank}.jsonl") for rank in range(group.processes)]
    lines = [line for path in paths if path.exists() for line in path.read_bytes().splitlines()]
    return {found["start"] for line in lines if "start" in (found := msgspec.json.decode(line))}


def _launched(group: Group, order: Order, name: Path) -> Begun:
    assert group.launch is not None
    path = name.with_suffix(".json")
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(order, is_launched=True)))
    program = str(PROJECT / "tests" / "integration" / "interrupted.py")
    done = launch(group.launch, program, str(path), processes=group.processes, OMP_NUM_THREADS="1")
    return Begun([done.returncode], done.stderr, True)


def _forked(group: Group, order: Order, name: Path) -> Begun:
    log = name.with_suffix(".log")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sys.stdout.flush()
    children = {_fork(group, order, rank, port, log): rank for rank in range(group.processes)}
    codes: dict[int, int] = {}
    until = time.monotonic() + PATIENCE
    while len(codes) < len(children):
        for pid in children.keys() - codes.keys():
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            for pid in children.keys() - codes.keys():
                os.kill(pid, signal.SIGABRT)
        time.sleep(0.02)
    return Begun([codes[pid] for pid in children], log.read_text(errors="replace"), False)


def _fork(group: Group, order: Order, rank: int, port: int, log: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sink = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        if group.launch is not None:
            place = {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": group.processes,
                "LOCAL_WORLD_SIZE": group.processes,
            }
            os.environ |= {name: str(value) for name, value in place.items()}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_DEEPSPEED": "true"}
            os.environ["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = str(PROJECT / "ds_configs" / f"{group.launch}.json")
        code = perform(order)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def start_is_over(begun: Begun, planned: Interruption | None, *, is_finished: bool) -> None:
    """Whether it ended as it should.

    Raises:
        AssertionError: it did not.
    """
    codes, said = begun.codes, f"{begun.codes} by {planned}\n{begun.said[-3000:]}"
    if is_finished:
        assert planned is not None or set(codes) == {0}, f"ended with {said}"
        return
    assert planned is not None, f"nobody ended it, and it ended with {said}"
    if planned.way == "SIGKILL":
        assert 0 not in codes, f"killed, and ended with {said}"
        # What a launcher answers for a worker of its own is a failure's code, not the signal.
        killed = not begun.is_launched or planned.to != ITSELF
        assert not killed or -signal.SIGKILL in codes, f"killed, and ended with {said}"
    elif begun.is_launched:
        assert 0 not in codes and "the same command goes on from there" in begun.said, f"stopped, and ended with {said}"
    else:
        assert set(codes) == {STOPPED}, f"stopped, and ended with {said}"
