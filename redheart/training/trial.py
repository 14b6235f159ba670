"""A trial of the sweep: a short training from given initial weights, scored on the whole ``choose`` half.

It uses the same model, optimizer, batch and loss as the main training; what differs is how long it lasts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch

from redheart.batches.table import SituationTable
from redheart.config import Config
from redheart.data.splits import Split
from redheart.embedding import EmbeddedDataset
from redheart.engine.engine import Engine
from redheart.errors import Interrupted, TrainingError
from redheart.evaluation.evaluate import Evaluation, evaluate_model
from redheart.machine import choose_preset
from redheart.model import Model, ModelDimensions, TargetStatistics, UnifiedModel, dimensions
from redheart.training.linear_start import LinearStart, apply_linear_start, centres_of, fit_linear_start
from redheart.training.loop import TrainingLoop
from redheart.training.optimizer import build_optimizer

#: A validation loss this many times its first value has diverged, whatever it does later.
DIVERGENCE = 3.0
Build = Callable[[ModelDimensions, TargetStatistics], Model]
#: Told of each epoch: its number, the evaluation on ``choose``, and a way to have the same weights evaluated elsewhere.
OnEpoch = Callable[[int, Evaluation, Callable[[Split], Evaluation]], None]


@dataclass(frozen=True)
class TrialOutcome:
    """What a learning rate did.

    Attributes:
        val_loss: on the whole ``choose`` half after the last epoch; None when the trial diverged.
        train_loss: mean over the last epoch.
        accuracy: share of ``choose`` whose verdict is the label with most votes.
        choose_count: situations that ``val_loss`` was computed on; 0 when it diverged before anything was.
        curve: ``epoch``, ``val_loss``, ``train_loss`` an epoch.
        gradient_norm: mean over the last epoch, before clipping.
    """

    val_loss: float | None
    train_loss: float | None
    accuracy: float | None
    choose_count: int
    train_count: int
    curve: list[dict[str, float]]
    gradient_norm: float | None
    diverged: bool
    seconds: float


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
        self._linear_starts: dict[int, LinearStart] = {}
        preset, _ = choose_preset(config)
        self.dimensions = dimensions(preset, d_embed=self.table.d_embed, dropout=config.model.dropout)

    def _linear_start(self, centres: int) -> LinearStart:
        """The same for all trials; the ablation has models with and without centres."""
        if centres not in self._linear_starts:
            found = fit_linear_start(self.table, self.train, self.statistics, centres=centres)
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
        """
        started = time.monotonic()
        torch.manual_seed(seed)
        engine = Engine(self.config)
        model = build(self.dimensions, self.statistics)
        if self.config.training.linear_start:
            apply_linear_start(model, self._linear_start(centres_of(model)))
        engine.prepare(model, build_optimizer(model, learning_rate, self.config.training))
        epochs = self.config.trial_epochs
        loop = TrainingLoop(
            engine,
            self.table,
            self.train,
            self.statistics,
            learning_rate=learning_rate,
            total_epochs=epochs,
            seed=seed,
            norms_every=10,
        )

        def asked_to_stop() -> bool:
            heartbeat()
            return should_stop()

        def evaluate(split: Split) -> Evaluation:
            return evaluate_model(
                engine.model,
                self.table,
                split,
                statistics=self.statistics,
                device=engine.device,
                autocast=engine.accelerator.autocast,
                with_items=False,
                should_stop=asked_to_stop,
            )

        curve: list[dict[str, float]] = []
        norms: list[float] = []
        accuracy: float | None = None
        diverged, choose_count = False, 0
        try:
            if score_start:
                on_epoch(0, evaluate("choose"), evaluate)
            for epoch in range(1, epochs + 1):
                losses, norms = [], []
                for step in loop.epoch(epoch):
                    if asked_to_stop():
                        raise Interrupted(f"the trial at learning rate {learning_rate:g} was stopped")
                    losses.append((step.loss, step.situations))
                    if step.gradient_norm is not None:
                        norms.append(step.gradient_norm)
                with loop.evaluated_weights():
                    scored = evaluate("choose")
                    on_epoch(epoch, scored, evaluate)
                heartbeat()
                choose_count = scored.count
                train_loss = sum(loss * count for loss, count in losses) / sum(count for _, count in losses)
                if not math.isfinite(scored.loss) or not math.isfinite(train_loss):
                    diverged = True
                    break
                curve.append({"epoch": epoch, "val_loss": scored.loss, "train_loss": train_loss})
                accuracy = scored.tasks["verdict"].accuracy
                if scored.loss > DIVERGENCE * curve[0]["val_loss"]:
                    diverged = True
                    break
        except TrainingError:
            diverged = True
        finally:
            engine.accelerator.free_memory()
        last = None if diverged or not curve else curve[-1]
        return TrialOutcome(
            val_loss=last["val_loss"] if last else None,
            train_loss=last["train_loss"] if last else None,
            accuracy=None if diverged else accuracy,
            choose_count=choose_count,
            train_count=len(self.train),
            curve=curve,
            gradient_norm=float(np.mean(norms)) if norms and np.isfinite(norms).all() else None,
            diverged=diverged,
            seconds=time.monotonic() - started,
        )
