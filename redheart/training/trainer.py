"""The stage ``train``: epochs with real validation, checkpoints, metrics and the update monitor; resumable at any step."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor
from tqdm import tqdm

from redheart.batches.table import SituationTable
from redheart.checkpoint import Manifest, list_epochs, save_epoch, save_start
from redheart.checkpoint.epoch import EpochCheckpoint
from redheart.config import Config, resolved_yaml
from redheart.embedding import EmbeddedDataset
from redheart.engine.engine import Engine
from redheart.errors import Interrupted, TrainingError
from redheart.evaluation.evaluate import Evaluation, evaluate_model
from redheart.facts.model import DataFacts, EncoderFacts, Segmentation
from redheart.facts.scores import SplitScores
from redheart.health.data_coverage import DataCoverage
from redheart.health.liveness_check import announce_liveness
from redheart.health.untrainable import find_untrainable
from redheart.health.update_check import announce_updates, is_due
from redheart.health.update_monitor import UpdateMonitor
from redheart.machine import choose_preset
from redheart.messages import info
from redheart.model import UnifiedModel, count_model, dimensions
from redheart.paths import OutputPaths
from redheart.storage import write_text
from redheart.training.epoch_sums import EpochSums
from redheart.training.identity import run_identity
from redheart.training.linear_start import start_linear_paths
from redheart.training.loop import TrainingLoop
from redheart.training.oom import OomLog
from redheart.training.optimizer import build_optimizer, slower_tasks
from redheart.training.options import options_turned_on
from redheart.training.progress import (
    Progress,
    load_monitor,
    load_progress,
    newest_state,
    save_progress,
    watch_first_steps,
)
from redheart.training.records import EpochRecord, RunRecord, append_record
from redheart.training.run_folder import RunFolder


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
        asked: the configuration before it was resolved, from which the run's identity is computed; None: ``config``.
        should_stop: looked at after every step; a signal handler sets what it reads.
    """

    def __init__(
        self,
        config: Config,
        dataset: EmbeddedDataset | Path,
        output: Path,
        *,
        learning_rate: float,
        asked: Config | None = None,
        force: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        asked = config if asked is None else asked
        self.config, self.output, self.learning_rate = config, output, learning_rate
        self.paths = OutputPaths(output)
        self.force, self.should_stop = force, should_stop
        self.table = SituationTable.open(dataset)
        self.preset, self.why = choose_preset(asked)
        self.folder = RunFolder(output, run_identity(asked, self.table.identity, self.preset, learning_rate))
        self.oom = OomLog()

    def _describe_run(self, *, finished: bool, engine: Engine) -> None:
        self.folder.describe(
            finished=finished,
            engine=engine.kind,
            world_size=engine.world_size,
            device=str(engine.device),
            precision=engine.precision,
            dataset=str(self.table.path),
            counts=self.table.counts,
        )

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
        if not self.force and self.folder.is_finished(training.epochs):
            info("training.done_already", epochs=training.epochs)
            return replace(result, skipped=True)
        engine = Engine(self.config, tracking_folder=self.paths.tensorboard)
        if engine.is_main:
            self.folder.retire_other(force=self.force)
        engine.barrier()
        self._train(engine)
        return result

    def _announce(self, engine: Engine) -> None:
        training, geometry = self.config.training, engine.geometry
        info(
            "training.start",
            epochs=training.epochs,
            learning_rate=self.learning_rate,
            preset=self.preset,
            why=self.why,
            engine=engine.kind,
            precision="fp32" if engine.precision == "no" else engine.precision,
        )
        info(
            "training.geometry",
            micro=geometry.micro_batch_size,
            accumulation=geometry.gradient_accumulation_steps,
            world=geometry.world_size,
            total=geometry.global_batch_size,
        )
        info("training.splits", **self.table.counts)
        if options := options_turned_on(training):
            info("training.options", options=", ".join(options))
        if training.no_param_update:
            info("training.dry_run")

    def _train(self, engine: Engine) -> None:
        config, training, table = self.config, self.config.training, self.table
        self._announce(engine)
        torch.manual_seed(config.seed)
        train = table.split_indices["train"]
        statistics = table.statistics(train)
        shape = dimensions(self.preset, d_embed=table.d_embed, dropout=config.model.dropout)
        state = newest_state(self.output, self.folder.run, engine, shape)
        model = UnifiedModel(shape, statistics)
        if training.linear_start and state is None:  # a run that goes on has its weights, and the solving takes a while
            start_linear_paths(model, table, train, statistics)
        if training.rate_by_coverage and (slower := slower_tasks(statistics)):
            info("training.slower_tasks", tasks=", ".join(f"{task} {share:.0%}" for task, share in slower.items()))
        parameters = count_model(model).total
        engine.prepare(model, build_optimizer(model, self.learning_rate, training))
        loop = TrainingLoop(
            engine,
            table,
            train,
            statistics,
            learning_rate=self.learning_rate,
            total_epochs=training.epochs,
            seed=config.seed,
            norms_every=1 if engine.kind == "plain" else training.monitor_every,
            oom=self.oom,
            last_good=self._last_good,
        )
        self._manifest = Manifest(
            run=self.folder.run,
            dataset=table.identity,
            data=DataFacts(name=table.name, counts=table.counts),
            preset=self.preset,
            d_embed=table.d_embed,
            segmentation=Segmentation(
                window_word_pieces=config.embedding.window_word_pieces, max_segments=config.embedding.max_segments
            ),
            target_counts=table.target_counts(train),
            encoder=EncoderFacts(name=table.dataset.model_name, fingerprint=table.dataset.model_fingerprint),
            model=shape.to_json(),
            statistics=statistics.to_json(),
            seed=config.seed,
            learning_rate=self.learning_rate,
            ema_decay=training.ema_decay or None,
        )
        progress = Progress() if state is None else load_progress(state, engine, loop)
        if state is not None:
            self.oom.read(self.output)
        if engine.is_main:
            write_text(self.paths.settings, resolved_yaml(config))
            self._describe_run(finished=False, engine=engine)
        keeps_start = training.linear_start and not training.no_param_update and state is None
        scored, checkpoint = self._keep_start(engine, loop) if keeps_start else (None, None)
        if engine.is_main and loop.global_step == 0:
            (self.paths.metrics).unlink(missing_ok=True)
            append_record(
                self.paths.metrics,
                RunRecord(
                    run=self.folder.run,
                    config=config,
                    learning_rate=self.learning_rate,
                    preset=self.preset,
                    world_size=engine.world_size,
                    engine=engine.kind,
                    parameters=parameters,
                    dry_run=training.no_param_update,
                    counts=table.counts,
                    choose=scored,
                    checkpoint=checkpoint,
                ),
            )
        engine.accelerator.init_trackers("redheart")
        if scored is not None:
            engine.accelerator.log(_tracked(scored), step=0)
        monitor = UpdateMonitor(engine)
        if state is not None:
            load_monitor(state, monitor)
        watch_first_steps(loop, state)
        self._untrainable = find_untrainable(engine, table, DataCoverage.of(table, train)).whole()
        started = time.monotonic()
        bar = tqdm(
            total=loop.total_steps,
            initial=loop.global_step,
            unit="batch",
            disable=None if engine.is_main else True,
            dynamic_ncols=True,
        )
        try:
            with bar:
                while progress.epoch <= training.epochs:
                    self._run_epoch(engine, loop, monitor, progress, bar)
                    progress = Progress(progress.epoch + 1)
        finally:
            for tracker in engine.accelerator.trackers:
                tracker.finish()
            if self.oom.has_new:  # of a run that fails for it too, and from the process that it happened to
                self._write_oom_stats(engine)
        if engine.is_main:
            self._write_oom_stats(engine)
            self._describe_run(finished=True, engine=engine)
            info("training.done", epochs=training.epochs, seconds=time.monotonic() - started)
        engine.barrier()
        engine.accelerator.free_memory()  # ZeRO-3 needs the process group for it
        engine.accelerator.end_training()  # and with it the process group: nothing collective after this
        gc.collect()

    def _last_good(self) -> str:
        """The newest checkpoint of this run: no epoch whose loss on ``choose`` is not finite gets one."""
        epochs = list_epochs(self.output)
        if not epochs:
            return "no epoch was finished, so there is no checkpoint of one yet"
        return f"the last good checkpoint is {epochs[-1].path}"

    def _write_oom_stats(self, engine: Engine) -> None:
        micro_batch_size = engine.geometry.micro_batch_size
        path = self.oom.write(self.output, device=str(engine.device), micro_batch_size=micro_batch_size)
        info("training.oom_stats", path=path, count=len(self.oom.events))

    def _save(self, engine: Engine, loop: TrainingLoop, monitor: UpdateMonitor, progress: Progress) -> None:
        save_progress(self.output, self.folder.run, self._manifest, engine, loop, monitor, progress)

    def _stop_within(
        self, engine: Engine, loop: TrainingLoop, monitor: UpdateMonitor, progress: Progress
    ) -> Interrupted:
        """Saves the state in the midst of an epoch; the exception to raise."""
        self._save(engine, loop, monitor, progress)
        epoch, done = progress.epoch, progress.batches_done
        info("training.interrupted", epoch=epoch, batch=done)
        return Interrupted(f"stopped at epoch {epoch}, batch {done}; the same command goes on from there")

    def _run_epoch(
        self, engine: Engine, loop: TrainingLoop, monitor: UpdateMonitor, progress: Progress, bar: tqdm[Any]
    ) -> None:
        epoch, sums = progress.epoch, progress.sums
        training = self.config.training
        started = time.monotonic()
        seen = 0
        for step in loop.epoch(epoch, start_batch=progress.batches_done):
            sums.add(step)
            seen += step.situations
            if step.updated:
                monitor.stepped()
            rate = seen / (time.monotonic() - started)
            bar.set_description(f"epoch {epoch}/{training.epochs}")
            bar.set_postfix(loss=f"{step.loss:.4f}", lr=f"{step.learning_rate:.1e}", rate=f"{rate:.0f}/s")
            bar.update()
            engine.accelerator.log(
                {"train/loss": step.loss, "train/learning_rate": step.learning_rate}
                | ({"train/gradient_norm": step.gradient_norm} if step.gradient_norm is not None else {}),
                step=step.global_step,
            )
            if loop.probe is not None and (loop.probe.is_due or loop.global_step == loop.total_steps):
                probe, loop.probe = loop.probe, None
                announce_liveness(probe, engine, strict=training.strict)
            done = step.batch_index + 1
            if done % training.monitor_every == 0 or done == step.batches:
                report = monitor.look()
                sums.add_look(report)
                told = is_due(training.monitor_every, step.batches, epoch, done)
                announce_updates(report, training, self._untrainable, by_module=told)
            if done < step.batches and engine.any_rank(self.should_stop()):
                sums.seconds += time.monotonic() - started
                raise self._stop_within(engine, loop, monitor, Progress(epoch, done, sums))
        sums.seconds += time.monotonic() - started
        try:
            evaluation, state = self._evaluate(engine, loop)
        except Interrupted as stopped:
            done = loop.batches_an_epoch
            raise self._stop_within(engine, loop, monitor, Progress(epoch, done, sums)) from stopped
        self._end_epoch(engine, loop, epoch, sums, evaluation, state)
        self._save(engine, loop, monitor, Progress(epoch + 1))
        if epoch < training.epochs and engine.any_rank(self.should_stop()):
            info("training.interrupted", epoch=epoch + 1, batch=0)
            raise Interrupted(f"stopped after epoch {epoch}; the same command goes on from there")

    def _evaluate(self, engine: Engine, loop: TrainingLoop) -> tuple[Evaluation, dict[str, Tensor]]:
        """The model on ``choose``, and on the main process the tensors that were evaluated. Collective."""
        with loop.evaluated_weights():
            evaluation = evaluate_model(
                engine.model,
                self.table,
                "choose",
                statistics=loop.statistics,
                device=engine.device,
                rank=engine.rank,
                world_size=engine.world_size,
                gather=engine.gather,
                autocast=engine.accelerator.autocast,
                with_items=False,
                should_stop=lambda: engine.any_rank(self.should_stop()),
            )
            return evaluation, engine.full_state_dict(keep=engine.is_main)

    def _keep_start(self, engine: Engine, loop: TrainingLoop) -> tuple[SplitScores, str | None]:
        """Scores and saves the model before its first step as an epoch's end does, or its skill would look like training's.

        Collective. Returns its scores and, on the main process, its folder relative to the output root.
        """
        try:
            evaluation, state = self._evaluate(engine, loop)
        except Interrupted as stopped:
            raise Interrupted("stopped before the first step; the same command starts again") from stopped
        if not math.isfinite(evaluation.loss):
            raise TrainingError(
                "the loss on the validation half 'choose' is not finite before the first step; train with "
                "training.linear_start=false, or look at the vectors and targets"
            )
        scored = evaluation.scores()
        if not engine.is_main:
            return scored, None
        manifest = msgspec.structs.replace(self._manifest, global_step=0, metrics={"choose": scored})
        path = save_start(self.output, state=state, manifest=manifest)
        info("training.from", choose=evaluation.loss, count=evaluation.count, skill=_shown(evaluation.mean_skill))
        return scored, str(path.relative_to(self.output))

    def _end_epoch(
        self,
        engine: Engine,
        loop: TrainingLoop,
        epoch: int,
        sums: EpochSums,
        evaluation: Evaluation,
        state: dict[str, Tensor],
    ) -> None:
        """Writes the epoch's checkpoint of ``state`` and its line."""
        training = self.config.training
        if not math.isfinite(evaluation.loss):
            raise TrainingError(
                f"epoch {epoch}: the loss on the validation half 'choose' is not finite at learning rate "
                f"{self.learning_rate:g}; {self._last_good()}. Lower the learning rate"
            )
        scored = evaluation.scores()
        gradient = sums.gradient_record()
        if engine.is_main:
            saved = self._save_epoch(epoch, loop, state, scored)
            train = sums.train_record()
            record = EpochRecord(
                epoch=epoch,
                global_step=loop.global_step,
                learning_rate=loop.learning_rate_at(loop.global_step - 1),
                seconds=sums.seconds,
                updates=sums.updates,
                train=train,
                choose=scored,
                gradient=gradient,
                update=sums.update_record(),
                checkpoint=str(saved.path.relative_to(self.output)),
            )
            append_record(self.paths.metrics, record)
            info(
                "training.epoch",
                epoch=epoch,
                epochs=training.epochs,
                train=train.loss,
                choose=evaluation.loss,
                count=evaluation.count,
                norm="–" if gradient.total_norm_mean is None else f"{gradient.total_norm_mean:.3f}",
                skill=_shown(evaluation.mean_skill),
                rate=sums.situations / max(sums.seconds, 1e-9),
            )
            info("training.checkpoint", path=saved.path)
            engine.accelerator.log(_tracked(scored), step=loop.global_step)

    def _save_epoch(
        self, epoch: int, loop: TrainingLoop, state: dict[str, Tensor], scored: SplitScores
    ) -> EpochCheckpoint:
        manifest = msgspec.structs.replace(self._manifest, global_step=loop.global_step, metrics={"choose": scored})
        return save_epoch(self.output, epoch=epoch, state=state, manifest=manifest)


def _shown(skill: float | None) -> str:
    return "–" if skill is None else f"{skill:+.3f}"


def _tracked(scored: SplitScores) -> dict[str, float]:
    """What the trackers are told of an evaluation."""
    told = {"choose/loss": scored.loss} | {f"choose/{name}": task.skill for name, task in scored.tasks.items()}
    return {name: value for name, value in told.items() if value is not None}
