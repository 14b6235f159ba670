"""A worker of the sweep: takes points of the current stage until it is complete, under a pool, srun or an array job.

It loads configuration and data once, for all its trials. Whoever finds a stage complete plans the next one; the plan is
created exclusively, so everyone works on the same. A worker that dies leaves a claim that stops beating, and another
takes its point.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from redheart.config import Config
from redheart.errors import Interrupted, OutOfMemory
from redheart.messages import Language, debug, info, set_language, set_up_logging, warn
from redheart.sweep.claims import Claims
from redheart.sweep.identity import Sweep
from redheart.sweep.learning_rate_keys import key_of
from redheart.sweep.planner import PlannedTrial, StagePlan, plan_stage
from redheart.sweep.store import CumulativeStore
from redheart.sweep.trials import EpochLosses, Trial, finite_or_none, in_words, trial_name
from redheart.worker_pool import Parent, run_as_worker

if TYPE_CHECKING:
    from redheart.training.callbacks.trial_curve import TrialOutcome

#: What runs a trial. Another one is given by tests of concurrency alone, where 25 real trainings would take too long.
REAL_RUNNER = "redheart.training.trial:TrialRunner"
POLL_EVERY = 0.2  # seconds between two checks of what the others have finished
HANG_AFTER = 1800.0  # seconds without a sign of life from a trial after which its claim is let go


class Runner(Protocol):
    """What a worker needs of ``redheart.training.trial.TrialRunner``."""

    def run(
        self, *, learning_rate: float, seed: int, should_stop: Callable[[], bool], heartbeat: Callable[[], None]
    ) -> TrialOutcome: ...


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told, in a form that travels to another process.

    Attributes:
        dataset: path of the ``.embedded.json``; ``results``: of the folder ``lr_sweep_results``.
        sweep: the name of the sweep.
        runner: ``module:class`` of what runs a trial.
    """

    config: Config
    dataset: str
    results: str
    sweep: str
    runner: str = REAL_RUNNER
    language: Language = "ko"


def make_runner(factory: str, config: Config, dataset: Path) -> Runner:
    module, _, attribute = factory.partition(":")
    runner: Runner = getattr(import_module(module), attribute)(config, dataset)
    return runner


def ensure_plan(config: Config, sweep: Sweep, store: CumulativeStore, stage: int) -> tuple[StagePlan, bool]:
    """The plan of ``stage``, written by this call (True) or by another (False). The stages before must be complete."""
    plan = sweep.plan(stage)
    if plan is not None:
        return plan, False
    earlier = [name for done in range(stage) for name in sweep.trial_names(done)]
    results = [store.trials.read(name).observation for name in earlier]
    plan = plan_stage(stage, config.sweep, config.seed, store.history(), results)
    if sweep.publish_plan(plan):
        return plan, True
    written = sweep.plan(stage)
    assert written is not None  # the name was taken, and plans are never removed
    return written, False


def announce_plan(plan: StagePlan) -> None:
    """Says what the resolution did to a plan that was just written."""
    points = ", ".join(key_of(trial.learning_rate) for trial in plan.trials)
    info("sweep.stage", stage=plan.stage, low=f"{plan.low:.3g}", high=f"{plan.high:.3g}", points=points)
    for trial in plan.trials:
        wanted, chosen = key_of(trial.wanted), key_of(trial.learning_rate)
        if trial.placement == "moved_tested":
            warn("sweep.adjusted", wanted=wanted, chosen=chosen)
        elif trial.placement == "moved_close":
            info("sweep.spread", wanted=wanted, chosen=chosen)
        elif trial.placement == "repeat":
            info("sweep.repeat", wanted=wanted, chosen=chosen, seed=trial.seed)


def finished_trial(
    outcome: TrialOutcome, planned: PlannedTrial, stage: int, sweep: Sweep, config: Config, *, after: int
) -> Trial:
    """A finished trial. A loss that is not a finite number is a divergence, whatever was said.

    Args:
        after: how many trials, of any sweep, there are by now.
    """
    val_loss = finite_or_none(outcome.val_loss)
    diverged = bool(outcome.diverged) or val_loss is None
    return _placed(planned, stage, sweep, config, after)(
        val_loss=None if diverged else val_loss,
        train_loss=finite_or_none(outcome.train_loss),
        accuracy=finite_or_none(outcome.accuracy),
        diverged=diverged,
        choose_count=outcome.choose_count,
        train_count=outcome.train_count,
        gradient_norm=finite_or_none(outcome.gradient_norm),
        seconds=finite_or_none(outcome.seconds),
        curve=tuple(
            EpochLosses(int(epoch["epoch"]), finite_or_none(epoch["val_loss"]), finite_or_none(epoch["train_loss"]))
            for epoch in outcome.curve
        ),
    )


def _placed(planned: PlannedTrial, stage: int, sweep: Sweep, config: Config, after: int) -> partial[Trial]:
    """What a trial is whatever came of it; ``after`` as in ``finished_trial``."""
    return partial(
        Trial,
        learning_rate=planned.learning_rate,
        timestamp=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        stage=stage,
        point=planned.point,
        sweep=sweep.name,
        seed=planned.seed,
        placement=planned.placement,
        epochs=config.trial_epochs,
        published_after=after,
    )


def failed_trial(reason: str, planned: PlannedTrial, stage: int, sweep: Sweep, config: Config, *, after: int) -> Trial:
    """A trial that could not be carried out: for the choice as one that diverged, which has no loss either."""
    return _placed(planned, stage, sweep, config, after)(
        diverged=True,
        choose_count=0,
        reason=reason,
    )


@dataclass
class Worker:
    """Works until the sweep is complete or ``should_stop`` says so.

    Attributes:
        on_plan: called with a plan that this worker wrote.
        on_fold: called with the number of learning rates after this worker folded a new result in.
    """

    config: Config
    dataset: Path
    sweep: Sweep
    should_stop: Callable[[], bool]
    factory: str = REAL_RUNNER
    claims: Claims | None = None
    on_plan: Callable[[StagePlan], None] = announce_plan
    on_fold: Callable[[int], None] = field(default=lambda count: info("sweep.saved", count=count))
    _runner: Runner | None = None

    def work(self) -> None:
        """Raises Interrupted when asked to stop; a result that was not whole by then is not published."""
        store = CumulativeStore(self.sweep.results)
        claims = self.claims or Claims(self.sweep.claims_folder)
        for stage in range(self.sweep.stages):
            plan, mine = ensure_plan(self.config, self.sweep, store, stage)
            if mine:
                self.on_plan(plan)
            while waiting := [trial for trial in plan.trials if not store.trials.exists(self._name(stage, trial))]:
                self._check()
                if not any(self._take(store, claims, stage, trial) for trial in waiting):
                    time.sleep(POLL_EVERY)

    def _name(self, stage: int, trial: PlannedTrial) -> str:
        return trial_name(self.sweep.name, stage, trial.point)

    def _check(self) -> None:
        if self.should_stop():
            raise Interrupted("the sweep was stopped; the same command goes on from the trials that are done")

    def _take(self, store: CumulativeStore, claims: Claims, stage: int, planned: PlannedTrial) -> bool:
        """Claims and runs one point. False: somebody else has it."""
        claim = claims.try_claim(f"stage{stage}_point{planned.point}")
        if claim is None:
            return False
        name = self._name(stage, planned)
        stopped = False
        last_sign = time.monotonic()

        def sign() -> None:
            nonlocal last_sign
            last_sign = time.monotonic()

        def stop() -> bool:
            nonlocal stopped
            sign()
            stopped = stopped or self.should_stop()
            return stopped

        with claim:
            if store.trials.exists(name):  # finished between the check and the claim
                return True
            claim.is_alive = lambda: time.monotonic() - last_sign < HANG_AFTER
            if self._runner is None:
                self._runner = make_runner(self.factory, self.config, self.dataset)
            sign()
            debug(f"trial {name}: learning rate {key_of(planned.learning_rate)}, seed {planned.seed}")
            there = len(store.trials.names())
            try:
                outcome = self._runner.run(
                    learning_rate=planned.learning_rate, seed=planned.seed, should_stop=stop, heartbeat=sign
                )
                trial = finished_trial(outcome, planned, stage, self.sweep, self.config, after=there)
            except OutOfMemory as error:  # it fails this trial, not the sweep
                warn("sweep.trial_without_memory", trial=name, reason=error)
                trial = failed_trial(str(error), planned, stage, self.sweep, self.config, after=there)
            if stopped:  # a runner that was told to stop and returned anyway has not finished its epochs
                self._check()
            if not store.trials.publish(name, trial):
                debug(f"trial {name}: another worker published it first; this result is dropped")
            else:
                names = store.trials.names()
                every = (one for stage in range(self.sweep.stages) for one in self.sweep.trial_names(stage))
                info(
                    "sweep.own_trial",
                    done=sum(one in names for one in every),
                    total=self.sweep.total,
                    trial=in_words(trial),
                )
        self.on_fold(len(store.refold().entries))
        return True


def _work(parent: Parent) -> None:
    job = msgspec.json.decode(parent.job, type=Job)
    set_language(job.language)
    set_up_logging(verbose=True, debug=True)
    sweep = Sweep(Path(job.results), job.sweep, job.config.sweep.stages, job.config.sweep.points)
    Worker(job.config, Path(job.dataset), sweep, parent.should_stop, job.runner).work()


def main() -> int:
    """Entry of a pool's worker process."""
    return run_as_worker(_work)


if __name__ == "__main__":
    sys.exit(main())
