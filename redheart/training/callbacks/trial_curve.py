"""The curve of a trial: its losses per epoch, whether it diverged, and the outcome that follows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from redheart.evaluation.evaluate import Evaluation
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.step_result import Step

#: A validation loss this many times its first value has diverged, whatever it does later.
DIVERGENCE = 3.0


@dataclass(frozen=True)
class TrialOutcome:
    """What a learning rate did.

    Attributes:
        val_loss: on the whole ``choose`` half after the last epoch; None when the trial diverged.
        train_loss: mean over the last epoch.
        accuracy: share of ``choose`` whose verdict is the label with most votes.
        choose_count: situations that ``val_loss`` was computed on; 0 when it diverged before anything was.
        curve: ``epoch``, ``val_loss``, ``train_loss`` per epoch.
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


class TrialCurve(Callback):
    """Collects; keeps nothing across a stop, since a trial is never gone on with.

    Attributes:
        diverged: the trial has nothing more to show. Whoever sees it fail sets it too.
    """

    def __init__(self) -> None:
        self.diverged = False
        self._curve: list[dict[str, float]] = []
        self._losses: list[tuple[float, int]] = []
        self._norms: list[float] = []
        self._scored: Evaluation | None = None

    def before_epoch(self, run: Run) -> None:
        self._losses, self._norms = [], []

    def after_step(self, run: Run, step: Step) -> None:
        self._losses.append((step.loss, step.situations))
        if step.gradient_norm is not None:
            self._norms.append(step.gradient_norm)

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        self._scored = end.evaluation
        val_loss = end.evaluation.loss
        train_loss = sum(loss * count for loss, count in self._losses) / sum(count for _, count in self._losses)
        if not math.isfinite(val_loss) or not math.isfinite(train_loss):
            self.diverged = True
            return
        self._curve.append({"epoch": end.epoch, "val_loss": val_loss, "train_loss": train_loss})
        self.diverged = val_loss > DIVERGENCE * self._curve[0]["val_loss"]

    def outcome(self, *, train_count: int, seconds: float) -> TrialOutcome:
        """What came of it, in ``seconds``, on ``train_count`` situations."""
        last = None if self.diverged or not self._curve else self._curve[-1]
        scored = self._scored
        return TrialOutcome(
            val_loss=last["val_loss"] if last else None,
            train_loss=last["train_loss"] if last else None,
            accuracy=None if self.diverged or scored is None else scored.tasks["verdict"].accuracy,
            choose_count=0 if scored is None else scored.count,
            train_count=train_count,
            curve=self._curve,
            gradient_norm=float(np.mean(self._norms)) if self._norms and np.isfinite(self._norms).all() else None,
            diverged=self.diverged,
            seconds=seconds,
        )
