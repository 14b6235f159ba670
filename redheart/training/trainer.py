"""The stage ``train``: epochs with real validation, resumable at any step; everything else is done by its callbacks."""

from __future__ import annotations

import functools
import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from redheart.batches.table import SituationTable
from redheart.batches.trained_on import Source, save_trained_on, with_texts
from redheart.checkpoint import Manifest, ResumeState
from redheart.config import Config, resolved_yaml
from redheart.embedding import EmbeddedDataset
from redheart.embedding.language.stored import unread_of
from redheart.engine.contract import Engine
from redheart.engine.factory import make_engine
from redheart.errors import Interrupted, TrainingError
from redheart.facts.learning_rate import RateOrigin
from redheart.facts.model import DataFacts, EncoderFacts, Segmentation
from redheart.messages import info
from redheart.model import ModelDimensions, TargetStatistics, UnifiedModel, count_model, dimensions
from redheart.paths import OutputPaths
from redheart.plan.auto import choose_preset
from redheart.storage import write_text
from redheart.training.announcement import announce_training
from redheart.training.callbacks.callback import Callback, Callbacks
from redheart.training.callbacks.epoch_checkpoints import EpochCheckpoints, last_good
from redheart.training.callbacks.liveness_check import LivenessCheck
from redheart.training.callbacks.memory_pressure import MemoryPressure
from redheart.training.callbacks.metrics import Metrics
from redheart.training.callbacks.oom_statistics import OomStatistics
from redheart.training.callbacks.progress_bar import ProgressBar
from redheart.training.callbacks.resume_states import ResumeStates
from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.callbacks.start import StartCheckpoint
from redheart.training.callbacks.tracker import Tracker
from redheart.training.callbacks.update_check import UpdateCheck
from redheart.training.identity import run_identity
from redheart.training.init_from import (
    check_source_stays,
    initialise,
    solves_start,
    statistics_with_source,
    without_what_trained,
)
from redheart.training.linear_start import Stopping, start_linear_paths
from redheart.training.loop import TrainingLoop
from redheart.training.optimizer import build_optimizer, slower_tasks
from redheart.training.records import RunRecord
from redheart.training.run_folder import RunFolder
from redheart.training.saving.resume_state import Cursor, Position, load_kept, load_progress, newest_state
from redheart.training.saving.snapshot import Snapshots


@dataclass(frozen=True)
class TrainingResult:
    """What came of it.

    Attributes:
        skipped: it had been done before with the same settings and data.
        dry_run: no optimizer step was taken.
    """

    output: Path
    epochs: int
    learning_rate: float
    preset: str
    skipped: bool
    dry_run: bool


class Trainer:
    """One main training in one output folder.

    Args:
        config: what it trains with, and stores as ``config.yaml``.
        dataset: what ``redheart.embedding`` opened, or an ``.embedded.json``.
        learning_rate: the peak of the schedule.
        rate_origin: where that is from, to be kept with the run; None: it is not known.
        asked: the configuration before it was resolved, from which the run's identity is computed; None: ``config``.
        should_stop: looked at after every step; a signal handler sets what it reads.
        callbacks: told of the run too, after the trainer's own and before its state is saved.
        settle: gives the configuration as the engine is made with, which follows from this machine's memory and is not kept; called
            once it is clear that there is something to train.
    """

    def __init__(
        self,
        config: Config,
        dataset: EmbeddedDataset | Path,
        output: Path,
        *,
        learning_rate: float,
        rate_origin: RateOrigin | None = None,
        asked: Config | None = None,
        force: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        callbacks: Sequence[Callback] = (),
        settle: Callable[[Config], Config] = lambda config: config,
    ) -> None:
        asked = config if asked is None else asked
        self.config, self.output = config, output
        self.learning_rate, self.rate_origin = learning_rate, rate_origin
        self.paths = OutputPaths(output)
        self.force, self.should_stop, self.callbacks = force, should_stop, callbacks
        self._settle = settle
        self.table = SituationTable.open(dataset)
        self.train = self.table.split_indices["train"]
        self.preset, self.why = choose_preset(asked)
        identity = run_identity(asked, self.table.identity, self.preset, learning_rate)
        self.folder = RunFolder(output, with_texts(identity, output, self.table))

    @cached_property
    def statistics(self) -> TargetStatistics:
        """Of the training split; where the weights come from a source, what it was trained by."""
        own, source = self.table.statistics(self.train), self.config.training.init_from
        return (
            own
            if source is None
            else statistics_with_source(Path(source), own, is_solved=solves_start(self.config.training))
        )

    @cached_property
    def shape(self) -> ModelDimensions:
        """Of the model that is trained."""
        return dimensions(self.preset, d_embed=self.table.d_embed, dropout=self.config.model.dropout)

    def run(self) -> TrainingResult:
        """Trains, or goes on, or says that it was done.

        Raises:
            Interrupted: asked to stop; the state is saved.
            TrainingError: see the loop; under ``strict`` also a module that does not update.
            StorageError: a file could not be written; what was there before is intact.
        """
        training = self.config.training
        result = TrainingResult(
            self.output,
            training.epochs,
            self.learning_rate,
            self.preset,
            skipped=False,
            dry_run=training.no_param_update,
        )
        if training.init_from is not None:
            check_source_stays(Path(training.init_from), self.output)
        if not self.force and self.folder.is_finished(training.epochs):
            info("training.done_already", epochs=training.epochs)
            return replace(result, skipped=True)
        engine = make_engine(self._settle(self.config), tracking_folder=self.paths.tensorboard)
        whole, sources = self.table, list[Source]()
        if training.init_from is not None:
            self.table, sources = without_what_trained(Path(training.init_from), whole)
        if engine.is_main:
            self.folder.remove_left_overs()
            self.folder.retire_other(force=self.force)
        engine.barrier()
        self._train(engine, functools.partial(save_trained_on, self.output, self.folder.run, whole, sources))
        return result

    def _train(self, engine: Engine, save_record: Callable[[], None]) -> None:
        announce_training(
            self.config,
            engine,
            counts=self.table.counts,
            learning_rate=self.learning_rate,
            preset=self.preset,
            why=self.why,
        )
        torch.manual_seed(self.config.seed)
        state = newest_state(self.output, self.folder.run, engine, self.shape, lost=self.folder.lost)
        if state is None:
            engine.barrier()  # every process has looked for one
            if engine.is_main:
                self.folder.keep_aside()
            engine.barrier()
        model = self._build_model(engine, is_new=state is None)
        parameters = count_model(model).total
        engine.prepare(model, build_optimizer(model, self.learning_rate, self.config.training))
        if state is not None:
            self._cut_as_before(engine, state.cursor.micro_batch_size)
        loop = self._make_loop(engine)
        run = Run(
            self.config,
            loop,
            self.config.training.epochs,
            position=Position() if state is None else load_progress(state, loop),
            is_resumed=state is not None,
            should_stop=self.should_stop,
        )
        callbacks = self._list_callbacks(engine, parameters)
        run.callbacks = callbacks
        if engine.is_main:
            write_text(self.paths.settings, resolved_yaml(self.config))
            save_record()
            self._describe_run(finished=False, engine=engine)
        seconds = self._go_through(run, Callbacks(callbacks), state)
        if engine.is_main:
            self._describe_run(finished=True, engine=engine)
            info("training.done", epochs=run.epochs, seconds=seconds)
        engine.barrier()
        engine.free()  # ZeRO-3 needs the process group for it
        engine.end()
        gc.collect()

    def _build_model(self, engine: Engine, *, is_new: bool) -> UnifiedModel:
        """The model as a run begins with it; one that goes on has its weights, and solving for them takes a while."""
        training = self.config.training
        model = UnifiedModel(self.shape, self.statistics)
        if training.init_from is not None and is_new:
            initialise(model, Path(training.init_from), self.table.dataset, self.shape)
        if solves_start(training) and is_new:
            stopping = Stopping(self.should_stop, engine.any_rank if engine.world_size > 1 else None)
            start_linear_paths(model, self.table, self.train, self.statistics, stopping)
        if training.rate_by_coverage and (slower := slower_tasks(self.statistics)):
            info("training.slower_tasks", tasks=", ".join(f"{task} {share:.0%}" for task, share in slower.items()))
        return model

    def _cut_as_before(self, engine: Engine, before: int | None) -> None:
        """So that sums are taken in the same order, where memory holds as much and no other cut is asked for."""
        training, now = self.config.training, engine.geometry
        if (training.micro_batch_size, training.gradient_accumulation_steps) != (None, None) or before is None:
            return
        share = now.micro_batch_size * now.gradient_accumulation_steps
        if engine.can_recut_batches and before < now.micro_batch_size and share % before == 0:
            info("plan.cut_as_before", size=before, planned=now.micro_batch_size)
            engine.geometry = replace(now, micro_batch_size=before, gradient_accumulation_steps=share // before)

    def _make_loop(self, engine: Engine) -> TrainingLoop:
        training = self.config.training
        return TrainingLoop(
            engine,
            self.table,
            self.train,
            self.statistics,
            learning_rate=self.learning_rate,
            total_epochs=training.epochs,
            seed=self.config.seed,
            norms_every=1 if engine.gradients_are_local else training.monitor_every,
            last_good=lambda: last_good(self.output),
        )

    def _list_callbacks(self, engine: Engine, parameters: int) -> list[Callback]:
        """The callbacks of a training, in the order in which they are told."""
        manifest, output = self._manifest(), self.output
        snapshots = Snapshots(self.config.training.checkpoint_dtype)
        start = StartCheckpoint(output, manifest, snapshots)
        checkpoints = EpochCheckpoints(output, manifest, snapshots)
        metrics = Metrics(output, self._run_record(engine, parameters), start, checkpoints)
        return [
            start,
            Tracker(start),
            ProgressBar(),
            MemoryPressure(),
            LivenessCheck(),
            UpdateCheck(on_check=metrics.add_check),
            checkpoints,
            metrics,
            *self.callbacks,
            ResumeStates(
                output,
                self.folder.run,
                manifest,
                before_save=lambda: snapshots.wait(engine),
                on_saved=self.folder.note_save,
            ),
            OomStatistics(output),
        ]

    def _go_through(self, run: Run, callbacks: Callbacks, state: ResumeState[Cursor] | None) -> float:
        """All epochs that are left, however they end; how long they took, in seconds.

        Raises:
            Interrupted, TrainingError, StorageError: see ``run``.
        """
        try:
            names = [one.name for one in run.callbacks if one.name]
            callbacks.before_run(run, {} if state is None else load_kept(state, names))
            started = time.monotonic()
            while run.position.epoch <= run.epochs:
                self._run_epoch(run, callbacks)
            callbacks.at_end(run)
            return time.monotonic() - started
        except Interrupted:
            raise
        except BaseException as error:
            callbacks.at_failure(run, error)
            raise
        finally:
            callbacks.close(run)

    def _run_epoch(self, run: Run, callbacks: Callbacks) -> None:
        epoch = run.position.epoch
        for step in callbacks.around_steps(run):
            if step.batch_index + 1 < step.batches and run.is_asked_to_stop():
                raise self._stopped_within(run, callbacks)
        try:
            evaluation = run.evaluate()
        except Interrupted as stopped:
            raise self._stopped_within(run, callbacks) from stopped
        if not math.isfinite(evaluation.loss):
            raise TrainingError(
                f"epoch {epoch}: the loss on the validation half 'choose' is not finite at learning rate "
                f"{self.learning_rate:g}; {last_good(self.output)}. Lower the learning rate"
            )
        run.position = Position(epoch + 1)
        callbacks.after_epoch(run, EpochEnd(epoch, evaluation))
        if epoch < run.epochs and run.is_asked_to_stop():
            callbacks.at_stop(run)
            raise Interrupted(f"stopped after epoch {epoch}; the same command goes on from there")

    def _stopped_within(self, run: Run, callbacks: Callbacks) -> Interrupted:
        """Stops in the midst of an epoch; the exception to raise."""
        callbacks.at_stop(run)
        epoch, done = run.position.epoch, run.position.batches_done
        return Interrupted(f"stopped at epoch {epoch}, batch {done}; the same command goes on from there")

    def _describe_run(self, *, finished: bool, engine: Engine) -> None:
        self.folder.describe(
            finished=finished,
            engine=engine.kind,
            world_size=engine.world_size,
            device=str(engine.device),
            precision=engine.precision,
            dataset=str(self.table.path),
            counts=self.table.counts,
            rate_origin=self.rate_origin,
            micro_batch_size=engine.geometry.micro_batch_size,
        )

    def _manifest(self) -> Manifest:
        """What a checkpoint of this run says of itself."""
        config, table = self.config, self.table
        return Manifest(
            run=self.folder.run,
            dataset=table.identity,
            data=DataFacts(name=table.name, counts=table.counts, unread=unread_of(table.dataset)),
            preset=self.preset,
            d_embed=table.d_embed,
            segmentation=Segmentation(
                window_word_pieces=config.embedding.window_word_pieces, max_segments=config.embedding.max_segments
            ),
            target_counts=table.target_counts(self.train),
            encoder=EncoderFacts(
                name=table.dataset.model_name,
                fingerprint=table.dataset.model_fingerprint,
                prompt=config.embedding.prompt,
            ),
            model=self.shape.to_json(),
            statistics=self.statistics.to_json(),
            training_split=None if self.statistics.training_split is None else self.statistics.training_split.to_json(),
            seed=config.seed,
            learning_rate=self.learning_rate,
            ema_decay=config.training.ema_decay or None,
        )

    def _run_record(self, engine: Engine, parameters: int) -> RunRecord:
        """What the first line of ``metrics.jsonl`` says of the run."""
        return RunRecord(
            run=self.folder.run,
            config=self.config,
            learning_rate=self.learning_rate,
            preset=self.preset,
            world_size=engine.world_size,
            engine=engine.kind,
            parameters=parameters,
            dry_run=self.config.training.no_param_update,
            counts=self.table.counts,
        )
