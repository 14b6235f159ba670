"""The liveness check: in the first steps, whether every tensor of the model gets a gradient and moves."""

from __future__ import annotations

from redheart.health.liveness import LivenessProbe, LivenessState
from redheart.health.liveness_check import announce_liveness
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run
from redheart.training.saving.resume_state import Kept
from redheart.training.step_result import Step


class LivenessCheck(Callback):
    """Watches ``training.liveness_steps`` steps, or as many as the run has, and says what it found. Off at 0.

    A probe compares with the weights that a run started from: one that was stopped within these steps gets back what was
    measured, and one that was stopped later is not watched again.
    """

    name = "liveness"

    def __init__(self) -> None:
        self._probe: LivenessProbe | None = None

    def before_run(self, run: Run, kept: Kept | None) -> None:
        steps = run.config.training.liveness_steps
        if not steps or (run.is_resumed and kept is None):
            return
        self._probe = LivenessProbe(run.engine, run.loop.table, steps=steps)
        if kept is not None:
            self._probe.restore(kept.tensors, kept.read(LivenessState))
        run.loop.watchers.append(self._probe)

    def after_step(self, run: Run, step: Step) -> None:
        probe = self._probe
        if probe is None:
            return
        if step.verdict.is_watched:
            probe.add(step.batch, updated=step.updated)
        if probe.is_due or run.loop.global_step == run.loop.total_steps:
            run.loop.watchers.remove(probe)
            self._probe = None
            announce_liveness(probe, run.engine, strict=run.config.training.strict)

    def state(self, run: Run) -> Kept | None:
        if self._probe is None:
            return None
        tensors, values = self._probe.to_state()
        return Kept(values, tensors)
