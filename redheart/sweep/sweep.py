"""The stage ``sweep``: from an embedded dataset to ``optimal_lr.json``, resumed, skipped or begun anew."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from redheart.config import Config
from redheart.errors import OutOfMemory, StorageError, TrainingError
from redheart.messages import debug, info, language, warn
from redheart.paths import OutputPaths
from redheart.sweep.evidence import Evidence
from redheart.sweep.identity import Sweep, open_sweep, sweep_identity
from redheart.sweep.learning_rate_keys import key_of
from redheart.sweep.optimal import OPTIMAL_FILE, coverage_of, read_optimal_lr, sweep_that_chose, write_optimal_lr
from redheart.sweep.pool import LOGS_FOLDER, Pool
from redheart.sweep.seed_effects import mean_losses
from redheart.sweep.store import CumulativeStore
from redheart.sweep.trials import Trial
from redheart.sweep.worker import REAL_RUNNER, Job, Worker, announce_plan
from redheart.training.identity import trial_identity
from redheart.worker_pool import FitWorkers, own_environment, plan_slots

RESULTS_FOLDER = OutputPaths.sweep.name
SUMMARY_PLOT = "hierarchical_lr_sweep.png"


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to.

    Attributes:
        learning_rate: the choice.
        trials: how many this call ran; 0 when skipped.
        skipped: the same sweep was complete already.
        evidence: how sure the choice is.
        optimal: the file that holds it.
    """

    learning_rate: float
    trials: int
    skipped: bool
    evidence: Evidence
    optimal: Path


def stage_plot(stage: int) -> str:
    return f"hierarchical_lr_sweep_stage{stage}.png"


def run_sweep(
    config: Config,
    dataset: Path,
    dataset_identity: str,
    output: Path,
    *,
    texts: str | None = None,
    asked: Config | None = None,
    force: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    environment: dict[str, str] | None = None,
    runner: str = REAL_RUNNER,
    fit: FitWorkers | None = None,
) -> SweepResult:
    """Runs the sweep on this machine: what is left of it, or a new one.

    Args:
        dataset: the ``.embedded.json`` that trials load; ``dataset_identity`` is its hash of content and encoder.
        texts: the identity of its texts, to be kept with a new sweep.
        output: the output root; everything lies in its ``lr_sweep_results/``.
        asked: the configuration before it was resolved, from which the sweep's identity is computed; None: ``config``.
        force: a new sweep against the whole history even if this one is complete.
        environment: of the worker processes; None: this process's.
        runner: a seam for tests of concurrency, ``module:class`` in place of the real trial.
        fit: how many workers memory holds, and what each trains with; None: as many as there are slots.

    Raises:
        OutOfMemory: not even one.
        Interrupted: by a signal or ``should_stop``; the same call goes on.
        TrainingError: workers died, or every trial diverged.
        StorageError: a file is damaged or can't be written.
    """
    results = output / RESULTS_FOLDER
    store = _load_history(results)
    sweep = _open(config, dataset, dataset_identity, results, asked=asked, texts=texts, force=force)
    done = _count_done(sweep, store)
    if done == sweep.total:
        info("sweep.complete", total=sweep.total)
        evidence = conclude(config, sweep, store)
        return SweepResult(evidence.best, 0, True, evidence, results / OPTIMAL_FILE)
    inherited = own_environment() if environment is None else environment
    slots = plan_slots(inherited, workers=config.sweep.workers, tasks=config.sweep.points)
    if fit is not None:
        count, config = fit(len(slots.environments))
        slots = plan_slots(inherited, workers=count, tasks=config.sweep.points)
    info(
        "sweep.start",
        name=sweep.name,
        stages=sweep.stages,
        points=sweep.points,
        slots=len(slots.environments),
        where=slots.where,
        epochs=config.trial_epochs,
    )
    if done:
        info("sweep.resume", done=done, total=sweep.total)
    job = Job(
        config=config,
        dataset=str(dataset.absolute()),
        results=str(results.absolute()),
        sweep=sweep.name,
        runner=runner,
        language=language(),
    )
    follower = _Follower(sweep, store)
    Pool(sweep, job, slots, inherited).run(should_stop, follower.poll)
    evidence = conclude(config, sweep, store, follower.plotted)
    return SweepResult(evidence.best, sweep.total - done, False, evidence, results / OPTIMAL_FILE)


def _open(
    config: Config,
    dataset: Path,
    dataset_identity: str,
    results: Path,
    *,
    asked: Config | None,
    texts: str | None,
    force: bool = False,
) -> Sweep:
    return open_sweep(
        config,
        sweep_identity(asked or config, dataset_identity),
        results,
        trial=trial_identity(config, dataset_identity),
        data=dataset,
        texts=texts,
        force=force,
    )


def run_worker(
    config: Config,
    dataset: Path,
    dataset_identity: str,
    output: Path,
    *,
    texts: str | None = None,
    asked: Config | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    runner: str = REAL_RUNNER,
) -> SweepResult:
    """One worker in this process, for ``srun`` and array jobs: any number on any machines share the sweep.

    Returns when the sweep is complete, whoever completed it. Raises as ``run_sweep`` does.
    """
    results = output / RESULTS_FOLDER
    store = _load_history(results)
    sweep = _open(config, dataset, dataset_identity, results, asked=asked, texts=texts)
    done = _count_done(sweep, store)
    follower = _Follower(sweep, store)

    def announce(plan: object) -> None:
        follower.poll()

    Worker(config, dataset, sweep, should_stop, runner, on_plan=announce).work()
    follower.poll()
    evidence = conclude(config, sweep, store, follower.plotted)
    return SweepResult(evidence.best, sweep.total - done, done == sweep.total, evidence, results / OPTIMAL_FILE)


def rebuild(output: Path) -> int:
    """Makes ``lr_sweep_cumulative.json`` again from ``trials/``; says and returns how many learning rates it holds."""
    count = len(CumulativeStore(output / RESULTS_FOLDER).refold().entries)
    info("sweep.saved", count=count)
    return count


def conclude(config: Config, sweep: Sweep, store: CumulativeStore, plotted: Collection[int] = ()) -> Evidence:
    """Chooses, writes ``optimal_lr.json`` and the summary plot from a complete sweep. Done before: leaves the files.

    Args:
        plotted: stages whose plots were made a moment ago.

    Raises:
        TrainingError: every trial diverged, so there is nothing to choose.
    """
    from redheart.sweep.fit import fit_learning_rate

    trials = _trials(sweep, store, range(sweep.stages))
    evidence = fit_learning_rate(
        [trial.observation for trial in trials],
        samples=config.report.bootstrap_samples,
        confidence=config.report.confidence,
        seed=config.seed,
    )
    if evidence is None:
        if reasons := sorted({trial.reason for trial in trials if trial.reason is not None}):
            raise OutOfMemory(
                f"no trial of the sweep's {len(trials)} has a loss: {reasons[0]}; choose a smaller model.preset, or fewer sweep.workers, "
                "and start it anew with --force"
            )
        lowest = key_of(min(trial.learning_rate for trial in trials))
        raise TrainingError(
            f"all {len(trials)} trials of the sweep diverged, down to a learning rate of {lowest}: nothing to choose; "
            f"lower sweep.lr_min, or look for what is wrong with the data in {sweep.results / LOGS_FOLDER}"
        )
    with FileLock(
        sweep.results / ".conclude.lock"
    ):  # of workers that end together one does it; the others find it done
        _write_conclusion(sweep, store, trials, evidence, plotted)
    return evidence


def _write_conclusion(
    sweep: Sweep, store: CumulativeStore, trials: list[Trial], evidence: Evidence, plotted: Collection[int]
) -> None:
    path = sweep.results / OPTIMAL_FILE
    if _is_of(path, sweep, evidence) and (sweep.results / SUMMARY_PLOT).exists():
        return
    from redheart.sweep.plots import plot_stage, plot_summary

    for stage in set(range(sweep.stages)) - set(plotted):  # another sweep's plots may lie under these names
        plan = sweep.plan(stage)
        assert plan is not None
        plot_stage(sweep.results / stage_plot(stage), plan, _trials(sweep, store, range(stage + 1)))
    plot_summary(sweep.results / SUMMARY_PLOT, [sweep.plan(stage) for stage in range(sweep.stages)], trials, evidence)
    write_optimal_lr(path, evidence, trials, sweep.name)
    info(
        "sweep.chosen",
        best=key_of(evidence.best),
        loss=f"{evidence.val_loss:.5g}",
        adjusted=f"{evidence.val_loss_seed_adjusted:.5g}",
        runs=evidence.runs,
        within=len(evidence.within_noise),
        path=path,
    )
    if evidence.at_edge:
        warn("sweep.at_edge", best=key_of(evidence.best))


def _is_of(path: Path, sweep: Sweep, evidence: Evidence) -> bool:
    """Whether the choice that lies there is this sweep's, with its interval at the coverage that is asked for."""
    if not path.exists():
        return False
    try:
        read_optimal_lr(path)
        return sweep_that_chose(path) == sweep.name and coverage_of(path) == evidence.confidence
    except StorageError as error:
        debug(f"{error}; it follows from the trials and is written again")
        return False


def _load_history(results: Path) -> CumulativeStore:
    store = CumulativeStore(results)
    fold = store.refold()
    if fold.imported:
        info("sweep.imported", count=fold.imported)
    if fold.entries:
        info("sweep.loaded", count=len(fold.entries))
    else:
        info("sweep.no_history")
    return store


def _count_done(sweep: Sweep, store: CumulativeStore) -> int:
    names = store.trials.names()
    return sum(name in names for stage in range(sweep.stages) for name in sweep.trial_names(stage))


def _trials(sweep: Sweep, store: CumulativeStore, stages: range) -> list[Trial]:
    return [store.trials.read(name) for stage in stages for name in sweep.trial_names(stage)]


class _Follower:
    """Says what becomes true while workers work: plans made, stages done, results saved; plots each stage as it ends."""

    def __init__(self, sweep: Sweep, store: CumulativeStore) -> None:
        self._sweep = sweep
        self._store = store
        self._planned = sum(sweep.plan_file(stage).exists() for stage in range(sweep.stages))
        self._ended = sum(self._is_done(stage) for stage in range(sweep.stages))
        self._sized = False
        self.plotted: set[int] = set()

    def _is_done(self, stage: int) -> bool:
        return all(self._store.trials.exists(name) for name in self._sweep.trial_names(stage))

    def poll(self) -> None:
        """Reads the folder once; cheap when nothing has changed."""
        sweep = self._sweep
        if self._ended < sweep.stages and not self._sized:
            self._say_sizes()
        for stage in range(sweep.stages):
            if stage == self._planned and (plan := sweep.plan(stage)) is not None:
                announce_plan(plan)
                self._planned += 1
            if stage == self._ended and self._is_done(stage):
                self._end_stage(stage)
                self._ended += 1

    def _say_sizes(self) -> None:
        for name in self._sweep.trial_names(0):
            trial = self._store.trials.read(name) if self._store.trials.exists(name) else None
            if trial is not None and trial.choose_count:  # one that diverged at once was scored on nothing
                info("sweep.sizes", train=trial.train_count, choose=trial.choose_count)
                self._sized = True
                return

    def _end_stage(self, stage: int) -> None:
        from redheart.sweep.plots import plot_stage

        trials = _trials(self._sweep, self._store, range(stage + 1))
        plan = self._sweep.plan(stage)
        assert plan is not None
        path = self._sweep.results / stage_plot(stage)
        plot_stage(path, plan, trials)
        self.plotted.add(stage)
        losses = mean_losses([trial.observation for trial in trials])
        best = min(losses, key=lambda rate: losses[rate]) if losses else None
        info(
            "sweep.stage_done",
            stage=stage,
            best="-" if best is None else key_of(best),
            loss="-" if best is None else f"{losses[best]:.5g}",
            plot=path,
        )
        info("sweep.saved", count=len(self._store.refold().entries))
