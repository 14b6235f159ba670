"""A trial of the sweep: a short training from given initial weights, scored on the whole ``choose`` half.

It uses the same model, optimizer, batch and loss as the main training; what differs is how long it lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import torch

from redheart.batches.out_of_memory import MemoryFailure, give_back_memory, is_out_of_memory
from redheart.batches.table import SituationTable
from redheart.config import Config
from redheart.data.splits import Split
from redheart.embedding import EmbeddedDataset
from redheart.engine.factory import make_engine
from redheart.errors import Interrupted, OutOfMemory, TrainingError
from redheart.evaluation.evaluate import Evaluation
from redheart.messages import text
from redheart.model import Model, ModelDimensions, TargetStatistics, UnifiedModel, dimensions
from redheart.plan.auto import choose_preset
from redheart.progress import Progress
from redheart.training.callbacks.callback import Callbacks
from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.callbacks.trial_curve import TrialCurve, TrialOutcome
from redheart.training.init_from import initialise, solves_start, statistics_with_source, without_what_trained
from redheart.training.linear_start import LinearStart, Stopping, apply_linear_start, centres_of, fit_linear_start
from redheart.training.loop import TrainingLoop
from redheart.training.optimizer import build_optimizer
from redheart.training.saving.resume_state import Position

Build = Callable[[ModelDimensions, TargetStatistics], Model]
#: Told of each epoch: its number, the evaluation on ``choose``, and a way to have the same weights evaluated elsewhere.
OnEpoch = Callable[[int, Evaluation, Callable[[Split], Evaluation]], None]


class TrialRunner:
    """Loads the data once and runs any number of trials on one device.

    Args:
        dataset: what ``redheart.embedding`` opened, or an ``.embedded.json``.
    """

    def __init__(self, config: Config, dataset: EmbeddedDataset | Path) -> None:
        # A trial always updates: a dry run is the main training's alone.
        training = msgspec.structs.replace(config.training, no_param_update=False)
        self.config = msgspec.structs.replace(config, training=training)
        self.table = SituationTable.open(dataset)
        train = self.table.split_indices["train"]
        if len(train) > config.sweep.max_situations:
            chosen = np.random.default_rng([config.seed, 0]).permutation(train)[: config.sweep.max_situations]
            train = np.sort(chosen)
        self.train = train
        self.statistics = self.table.statistics(train)
        if config.training.init_from is not None:
            self.statistics = statistics_with_source(
                Path(config.training.init_from), self.statistics, is_solved=solves_start(config.training)
            )
        self._linear_starts: dict[int, LinearStart] = {}
        preset, _ = choose_preset(config)
        self.dimensions = dimensions(preset, d_embed=self.table.d_embed, dropout=config.model.dropout)

    @cached_property
    def _judged_table(self) -> SituationTable:
        """What trials are scored on."""
        source = self.config.training.init_from
        return self.table if source is None else without_what_trained(Path(source), self.table, is_told=False)[0]

    def _linear_start(self, centres: int, stopping: Stopping) -> LinearStart:
        """The same for all trials; the ablation has models with and without centres."""
        if centres not in self._linear_starts:
            found = fit_linear_start(self.table, self.train, self.statistics, centres=centres, stopping=stopping)
            self._linear_starts[centres] = found
        return self._linear_starts[centres]

    def run(
        self,
        *,
        learning_rate: float,
        seed: int,
        should_stop: Callable[[], bool] = lambda: False,
        heartbeat: Callable[[], None] = lambda: None,
        build: Build = UnifiedModel,
        on_epoch: OnEpoch = lambda epoch, chosen_on, evaluate: None,
        score_start: bool = False,
    ) -> TrialOutcome:
        """Trains from the initial weights of ``seed`` at ``learning_rate``.

        Args:
            build: makes the model; the ablation has it leave a group out.
            score_start: also calls ``on_epoch`` before the first, for epoch 0.

        Raises:
            Interrupted: ``should_stop`` said so; nothing of the trial is kept.
            OutOfMemory: also with the smallest pieces.
        """
        try:
            return self._run(
                learning_rate, seed, should_stop, heartbeat, build=build, on_epoch=on_epoch, score_start=score_start
            )
        except (RuntimeError, MemoryError, OSError) as error:
            if not is_out_of_memory(error):
                raise
            failure = MemoryFailure.of(error, "trial")
        give_back_memory()
        raise OutOfMemory(f"a trial ran out of {failure.memory} memory ({failure.message})", memory=failure.memory)

    def _run(
        self,
        learning_rate: float,
        seed: int,
        should_stop: Callable[[], bool],
        heartbeat: Callable[[], None],
        *,
        build: Build,
        on_epoch: OnEpoch,
        score_start: bool,
    ) -> TrialOutcome:
        started = time.monotonic()

        def asked_to_stop() -> bool:
            heartbeat()
            return should_stop()

        loop = self._make_loop(build, learning_rate, seed, Stopping(asked_to_stop))
        run = Run(self.config, loop, self.config.trial_epochs, should_stop=asked_to_stop)
        curve = TrialCurve()
        what = text("progress.trial", learning_rate=f"{learning_rate:.3g}")
        try:
            with Progress(what, loop.total_steps, is_brief=True, unit="batch") as progress:
                if score_start:
                    on_epoch(0, run.score(), run.score)
                while run.position.epoch <= run.epochs and not curve.diverged:
                    self._run_epoch(run, curve, on_epoch, heartbeat, progress)
        except TrainingError:
            curve.diverged = True
        finally:
            loop.engine.free()
        return curve.outcome(train_count=len(self.train), seconds=time.monotonic() - started)

    def _run_epoch(
        self, run: Run, curve: TrialCurve, on_epoch: OnEpoch, heartbeat: Callable[[], None], progress: Progress
    ) -> None:
        callbacks, epoch = Callbacks([curve]), run.position.epoch
        for _ in callbacks.around_steps(run):
            progress.update()
            if run.is_asked_to_stop():
                raise Interrupted(f"the trial at learning rate {run.loop.peak:g} was stopped")
        with run.loop.evaluated_weights():
            scored = run.score()
            on_epoch(epoch, scored, run.score)
        heartbeat()
        run.position = Position(epoch + 1)
        callbacks.after_epoch(run, EpochEnd(epoch, scored))

    def _make_loop(self, build: Build, learning_rate: float, seed: int, stopping: Stopping) -> TrainingLoop:
        """From the initial weights of ``seed``."""
        torch.manual_seed(seed)
        engine = make_engine(self.config)
        model = build(self.dimensions, self.statistics)
        if self.config.training.init_from is not None:
            assert isinstance(model, UnifiedModel)  # the ablation refuses it
            initialise(model, Path(self.config.training.init_from), self.table.dataset, model.config)
        if solves_start(self.config.training):
            apply_linear_start(model, self._linear_start(centres_of(model), stopping))
        engine.prepare(model, build_optimizer(model, learning_rate, self.config.training))
        return TrainingLoop(
            engine,
            self._judged_table,
            self.train,
            self.statistics,
            learning_rate=learning_rate,
            total_epochs=self.config.trial_epochs,
            seed=seed,
            norms_every=10,
        )
