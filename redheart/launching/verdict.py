"""The verdict on how a group ended: of all that its processes said, what was the cause and what followed from it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from redheart.errors import Memory
from redheart.launching.group import Ended
from redheart.launching.outcome import Outcome, Place
from redheart.launching.ports import is_taken, tells_of_taken_port


@dataclass(frozen=True)
class Verdict:
    """What a group's end was.

    Attributes:
        code: the exit code that says so.
        rank: of the process whose end it was; None: the launcher, or all alike.
        memory: that ran out, where it is known.
    """

    kind: Literal["done", "stopped", "out_of_memory", "killed", "port_taken", "failed"]
    code: int = 0
    rank: int | None = None
    message: str = ""
    place: Place | None = None
    memory: Memory | None = None


def judge(ended: Ended, port: int | None) -> Verdict:
    """What the end was.

    A process that is killed makes the others fail in the operation that they had in common, and one that fails has the launcher
    end the others. So the causes come before what follows from them: memory, the port, a process that could say nothing, an
    error that explains itself, one that does not.

    Args:
        port: at which they were to meet.
    """
    short = [one for one in ended.outcomes if one.kind == "out_of_memory"]
    if short:
        return _of("out_of_memory", min(short, key=_room_left))
    failures = sorted((one for one in ended.outcomes if one.kind == "failed"), key=lambda one: one.at)
    if ended.code != 0 and _is_port_taken(ended, failures, port):
        return Verdict("port_taken", ended.code, message=f"port {port} is taken")
    if ended.lost:
        return Verdict("killed", ended.code, ended.lost[0], _how_killed(ended))
    if failures:
        return _of("failed", next((one for one in failures if one.is_told), failures[0]))
    return _without_failures(ended)


def _without_failures(ended: Ended) -> Verdict:
    """The end of a group of which no process failed: they stopped, or did all, or there were none."""
    if stopped := [one for one in ended.outcomes if one.kind == "stopped"]:
        return _of("stopped", stopped[0])
    if ended.code == 0 or (ended.outcomes and len(ended.outcomes) == ended.count):
        return Verdict("done")
    if ended.code < 0:
        return Verdict("killed", ended.code, None, _how_killed(ended))
    return Verdict("failed", ended.code, None, f"it ended with exit code {ended.code}")


def _of(kind: Literal["out_of_memory", "failed", "stopped"], outcome: Outcome) -> Verdict:
    return Verdict(kind, outcome.exit_code, outcome.rank, outcome.message, outcome.place, outcome.memory)


def _room_left(outcome: Outcome) -> tuple[int, bool]:
    """The next micro-batch of a process that ran out of memory; those that know of none come last, as do those that say less."""
    known = outcome.place.smaller_micro_batch_size if outcome.place is not None else None
    return 2**62 if known is None else known, outcome.memory is None


def _is_port_taken(ended: Ended, failures: list[Outcome], port: int | None) -> bool:
    if port is None:
        return False
    return any(tells_of_taken_port(one.message) for one in failures) or (ended.count == 0 and is_taken(port))


def _how_killed(ended: Ended) -> str:
    if ended.code < 0:
        name = signal.Signals(-ended.code).name
        return f"signal {name}" + (": out of host memory?" if name == "SIGKILL" else "")
    return "it ended without a word: out of host memory?"
