"""The supervisor of a training: starts its group of processes, and again where that is the remedy; ends with our outcome.

===================  ======================================================================================================
a process …          and then
===================  ======================================================================================================
runs out of memory   again from the newest state, with half the micro-batch; the global batch stays. With a micro-batch of one
                     situation, or before any step, by the plan's next strategy that needs less of that memory
is killed            again from the newest state, a bounded number of times without a newer one in between
finds a port taken   again with a port that is free
fails otherwise      the end, with that process's exit code
===================  ======================================================================================================
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from redheart.errors import Interrupted, MissingRequirement, OutOfMemory, RedHeartError, StartAgain, TrainingError
from redheart.facts.launches import Cause, LaunchEvent, note_launch
from redheart.launching.group import GRACE, run_group
from redheart.launching.outcome import Place
from redheart.launching.ports import free_port
from redheart.launching.strategies import Start, StrategiesLeft
from redheart.launching.verdict import Verdict, judge
from redheart.messages import info, warn
from redheart.paths import OutputPaths
from redheart.worker_pool.slots import environment_of_started, own_environment

#: How often a killed process has the group started again, with no newer state in between.
RESTARTS = 3
#: How many ports are tried.
_PORTS = 5


class Command(Protocol):
    """How the group is started, see ``GroupCommand``."""

    @property
    def processes(self) -> int: ...

    @property
    def port(self) -> int | None: ...

    @property
    def needs_port(self) -> bool: ...

    def line(self, port: int | None, *, overrides: list[str], is_forced: bool) -> list[str]: ...


class Supervisor:
    """Runs one training in a group of processes.

    Args:
        output: of the training: its states tell whether it has come on.
        restarts: how often a killed process has the group started again without a newer state in between.
        stop_with: the signal by which it was asked to stop, which is handed on.
        grace: seconds that processes have to end after one of them has failed.
        strategies: what it may be started by besides, where memory does not suffice for ``command``.
        after: how it has ended in another place, before the first start.
    """

    def __init__(
        self,
        command: Command,
        output: Path,
        *,
        restarts: int = RESTARTS,
        should_stop: Callable[[], bool] = lambda: False,
        stop_with: Callable[[], int] = lambda: signal.SIGTERM,
        grace: float = GRACE,
        strategies: StrategiesLeft | None = None,
        after: Verdict | None = None,
    ) -> None:
        self._command, self._paths, self._restarts = command, OutputPaths(output), restarts
        self._should_stop, self._stop_with, self._grace = should_stop, stop_with, grace
        self._strategies, self._before = strategies, after
        self._strategy_settings: list[str] = []
        self._cut: list[str] = []
        self._port = (command.port or free_port()) if command.needs_port else None
        self._ports_tried = 1
        self._kills = 0
        self._run_before = _version(self._paths.run)
        self._state_before = self._state_at_last_kill = self._newest_state()

    def run(self) -> None:
        """Trains to the end.

        Raises:
            Interrupted: asked to stop, and all have saved.
            StartAgain: what helps is the same command again.
            RedHeartError: of the kind that the process had which failed.
        """
        if self._before is not None:
            self._take_remedy(self._before)
        while True:
            if self._should_stop():
                raise Interrupted("stopped before the training began; the same command starts it")
            verdict = self._start()
            if verdict.kind == "done":
                return
            self._take_remedy(verdict)

    def _start(self) -> Verdict:
        overrides = [*self._strategy_settings, *self._cut]
        line = self._command.line(self._port, overrides=overrides, is_forced=self._is_forced())
        count = self._command.processes
        command = " ".join(line[1:])
        if count > 1:
            info("workflow.launch", count=count, command=command)
        else:
            info("launching.start_one", command=command)
        ended = run_group(
            line,
            environment_of_started(own_environment()),
            should_stop=self._should_stop,
            stop_with=self._stop_with,
            grace=self._grace,
        )
        verdict = judge(ended, self._port)
        if ended.asked_to_stop:
            self._end_of_stop(verdict, began=ended.count > 0)
        return verdict

    def _end_of_stop(self, verdict: Verdict, *, began: bool) -> None:
        """What a group that was asked to stop ends with, but where it had done all, or failed for a reason of its own."""
        if verdict.kind == "stopped" or (not began and verdict.kind != "done"):
            raise Interrupted("stopped; the same command goes on from there")
        if verdict.kind in ("out_of_memory", "killed", "port_taken"):
            raise StartAgain(
                f"asked to stop, and {_who(verdict)} ended before it had saved ({verdict.message}); the same command goes on from the "
                "newest state"
            )

    def _take_remedy(self, verdict: Verdict) -> None:
        """Prepares the next start.

        Raises:
            RedHeartError: there is none.
        """
        if verdict.kind == "out_of_memory":
            self._take_less(verdict)
        elif verdict.kind == "killed":
            self._count_kill(verdict)
        elif verdict.kind == "port_taken":
            self._change_port(verdict)
        elif verdict.kind == "stopped":
            raise Interrupted("stopped; the same command goes on from there")
        else:
            raise error_of(verdict.code)(
                f"training in {self._command.processes} processes ended with exit code {verdict.code}: {_who(verdict)}; what it said "
                "is above"
                if self._command.processes > 1
                else f"training ended with exit code {verdict.code}; what it said is above"
            )

    def _take_less(self, verdict: Verdict) -> None:
        """Half the micro-batch; where that is a single situation, or no step was come to, the next strategy.

        Raises:
            OutOfMemory: none is left, with those that were tried.
        """
        place = verdict.place
        smaller = None if place is None else place.smaller_micro_batch_size
        if place is None or smaller is None:
            self._change_strategy(verdict)
            return
        self._note("out_of_memory", verdict, is_again=True)
        warn(
            "launching.again_smaller",
            rank=verdict.rank,
            message=verdict.message,
            before=place.micro_batch_size,
            after=smaller,
        )
        # The number of steps that are accumulated follows from it, whatever was asked for.
        self._cut = [f"training.micro_batch_size={smaller}", "training.gradient_accumulation_steps=null"]

    def _change_strategy(self, verdict: Verdict) -> None:
        place, strategies = verdict.place, self._strategies
        before = None if strategies is None else strategies.name
        start = None if strategies is None else strategies.after(verdict.memory, has_begun=place is not None)
        self._note("out_of_memory", verdict, is_again=start is not None, strategy=before, start=start)
        if start is None:
            tried = [] if strategies is None else strategies.tried
            raise OutOfMemory(f"{_who(verdict)} ran out of memory {_when(place)}: {verdict.message}{_tried(tried)}")
        warn(
            "launching.again_strategy",
            rank=verdict.rank,
            message=verdict.message,
            before=before,
            after=start.name,
            micro=start.micro_batch_size,
        )
        self._command, self._strategy_settings, self._cut = start.command, list(start.overrides), []
        self._port = (start.command.port or free_port()) if start.command.needs_port else None

    def _count_kill(self, verdict: Verdict) -> None:
        newest = self._newest_state()
        self._kills = 1 if newest != self._state_at_last_kill else self._kills + 1
        self._state_at_last_kill = newest
        is_again = self._kills <= self._restarts
        self._note("killed", verdict, is_again=is_again)
        if is_again:
            who = "–" if verdict.rank is None else verdict.rank
            count = self._kills
            warn("launching.again_killed", rank=who, message=verdict.message, count=count, most=self._restarts)
            return
        told = f"{_who(verdict)} was killed ({verdict.message}), {self._kills} times without a newer state in between"
        if newest is not None and newest != self._state_before:
            raise StartAgain(
                f"{told}; the run has come on since this command began: the same command goes on from there"
            )
        raise TrainingError(f"{told}; look at the memory of this machine, or launch with a smaller model.preset")

    def _change_port(self, verdict: Verdict) -> None:
        before, again = self._port, self._ports_tried < _PORTS
        self._note("port_taken", verdict, is_again=again)
        if not again:
            raise MissingRequirement(
                f"{_PORTS} ports were taken one after the other, the last {before}; wanted a free one"
            )
        self._ports_tried += 1
        self._port = free_port()
        warn("launching.again_port", port=before, new=self._port)

    def _note(
        self,
        cause: Cause,
        verdict: Verdict,
        *,
        is_again: bool,
        strategy: str | None = None,
        start: Start | None = None,
    ) -> None:
        place = verdict.place
        if strategy is None and self._strategies is not None:
            strategy = self._strategies.name
        event = LaunchEvent(
            time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            cause=cause,
            rank=verdict.rank,
            message=verdict.message,
            is_again=is_again,
            processes=self._command.processes,
            step=None if place is None else place.step,
            micro_batch_size=None if place is None else place.micro_batch_size,
            smaller_micro_batch_size=None if place is None else place.smaller_micro_batch_size,
            memory=verdict.memory,
            phase=None if place is None else place.phase,
            strategy=strategy,
            next_strategy=None if start is None else start.name,
            next_micro_batch_size=None if start is None else start.micro_batch_size,
        )
        note_launch(self._paths.root, event)

    def _is_forced(self) -> bool:
        """Whether ``--force`` still holds: a start has put the older run away once another one describes itself there."""
        now = _version(self._paths.run)
        return now is not None and now == self._run_before

    def _newest_state(self) -> tuple[str, int] | None:
        folder = self._paths.resume
        states = sorted((path for path in folder.glob("state_*")), key=lambda path: (len(path.name), path.name))
        version = _version(states[-1]) if states else None
        return None if version is None else (states[-1].name, version)


def _version(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _when(place: Place | None) -> str:
    if place is None:
        return "before the first step"
    with_one = f"with a micro-batch of one situation, at step {place.step}"
    return with_one if place.micro_batch_size == 1 else f"where smaller pieces do not help, at step {place.step}"


def _tried(strategies: Sequence[str]) -> str:
    if not strategies:
        return ""
    return (
        f"; tried: {', '.join(strategies)}; the plan knows of none that needs less here: choose a smaller model.preset"
    )


def _who(verdict: Verdict) -> str:
    return "the launcher" if verdict.rank is None else f"process {verdict.rank}"


def _classes(root: type[RedHeartError]) -> Iterator[type[RedHeartError]]:
    for one in root.__subclasses__():
        yield one
        yield from _classes(one)


def error_of(code: int) -> type[RedHeartError]:
    """The class of errors that ends with ``code``: the first in the tree; the root for a code that is none of ours."""
    return next((one for one in _classes(RedHeartError) if one.exit_code == code), RedHeartError)
