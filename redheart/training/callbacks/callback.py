"""The callback interface: the moments of a run at which something may happen beside its steps, and a list of callbacks.

A new callback is a file in this folder and a line in the list of ``Trainer``, or is handed to it as one of its ``callbacks``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.saving.resume_state import Kept
from redheart.training.step_result import Step


class Callback:
    """Does nothing at any moment; a callback overrides those that it is for.

    Callbacks are told in the order of their list, at every moment. Every process has the same list, and all moments but
    ``at_failure`` and ``close`` come to every process alike, so a callback may do what is collective in them; it must then
    do so on every process, and may not make it depend on what only one process knows. ``at_failure`` and ``close`` are
    local: the other processes may be elsewhere, or gone.

    The moments of a run, in time::

        before_run (before_epoch (before_step after_step)… after_epoch)… at_end close

    A run that is asked to stop has ``at_stop close`` after any ``after_step`` or ``after_epoch``, or instead of an
    ``after_epoch``; one that fails has ``at_failure close`` after whatever it was at.

    Attributes:
        name: under which ``state`` is kept in a resume state, for ever; empty for one that keeps nothing.
    """

    name: ClassVar[str] = ""

    def before_run(self, run: Run, kept: Kept | None) -> None:
        """The model is prepared and no step is taken, or a state is restored.

        Args:
            kept: what ``state`` gave when the state was saved that this run goes on from; None for a run that starts, or if
                it gave nothing.

        Raises:
            Interrupted: asked to stop; there is nothing to save yet, and ``close`` alone follows.
        """

    def before_epoch(self, run: Run) -> None:
        """An epoch starts, or goes on in its midst."""

    def before_step(self, run: Run) -> None:
        """A step is to be taken."""

    def after_step(self, run: Run, step: Step) -> None:
        """A step was taken or skipped, and ``run.position`` is after it."""

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        """An epoch was scored, with a finite loss, and ``run.position`` is at the start of the next."""

    def at_stop(self, run: Run) -> None:
        """The run was asked to stop, and all processes agree that it does here."""

    def at_end(self, run: Run) -> None:
        """All epochs are done."""

    def at_failure(self, run: Run, error: BaseException) -> None:
        """The run ends with ``error``. Local: nothing collective."""

    def close(self, run: Run) -> None:
        """The last moment, however the run ended, also where ``before_run`` never came. Local: nothing collective."""

    def state(self, run: Run) -> Kept | None:
        """What ``before_run`` needs when the run goes on from ``run.position``. Called on every process; the main one's is kept."""
        return None


class Callbacks:
    """The callbacks of a run, told in their order.

    Raises:
        ValueError: two of them keep their state under one name.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._all = tuple(callbacks)
        names = [one.name for one in self._all if one.name]
        if len(set(names)) < len(names):
            raise ValueError(f"two callbacks keep their state under one name: {', '.join(sorted(names))}")

    def before_run(self, run: Run, kept: Mapping[str, Kept]) -> None:
        for one in self._all:
            one.before_run(run, kept.get(one.name))

    def around_steps(self, run: Run) -> Iterator[Step]:
        """Takes the steps that the epoch has left, with their moments; yields each after all were told of it. Collective.

        Raises:
            TrainingError, MissingRequirement: see the loop; under ``strict`` also a callback's.
        """
        for one in self._all:
            one.before_epoch(run)
        steps = run.loop.epoch(run.position.epoch, start_batch=run.position.batches_done)
        with contextlib.closing(steps):  # however this ends, no thread gathers batches after it
            for _ in range(run.position.batches_done, run.loop.batches_an_epoch):
                for one in self._all:
                    one.before_step(run)
                step = next(steps)
                run.position = replace(run.position, batches_done=step.batch_index + 1)
                for one in self._all:
                    one.after_step(run, step)
                yield step

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        for one in self._all:
            one.after_epoch(run, end)

    def at_stop(self, run: Run) -> None:
        for one in self._all:
            one.at_stop(run)

    def at_end(self, run: Run) -> None:
        for one in self._all:
            one.at_end(run)

    def at_failure(self, run: Run, error: BaseException) -> None:
        for one in self._all:
            one.at_failure(run, error)

    def close(self, run: Run) -> None:
        for one in self._all:
            one.close(run)
