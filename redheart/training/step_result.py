"""The result of one training step: its numbers, and whether it counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from redheart.batches.order import Indices
from redheart.model.losses import TERMS

TERM_NAMES = tuple(term.name for term in TERMS)


@dataclass(frozen=True)
class StepVerdict:
    """What became of a batch's loss and gradients: the same on every process.

    Attributes:
        loss_is_finite: the loss is a number on every process.
        gradients_are_finite: all gradients are numbers, on every process; None where only the engine looked, in its step.
        scaler_may_skip: a gradient that overflows is still the loss scaler's affair (fp16), and not the model's.
        is_dry_run: no step is taken whatever was found.
        updated: the optimizer's step was taken.
    """

    loss_is_finite: bool
    gradients_are_finite: bool | None
    scaler_may_skip: bool
    is_dry_run: bool
    updated: bool = False

    @property
    def may_update(self) -> bool:
        """Whether nothing that is known before the optimizer's step speaks against it, a dry run aside."""
        return self.loss_is_finite and (self.gradients_are_finite is not False or self.scaler_may_skip)

    @property
    def is_complete(self) -> bool:
        """Whether all was done that was to be done."""
        return self.updated or self.is_dry_run

    @property
    def is_nonfinite(self) -> bool:
        """Whether it counts as one of the steps of which only so many are borne in a row."""
        return not self.may_update or not (self.is_complete or self.scaler_may_skip)

    @property
    def is_watched(self) -> bool:
        """Whether its gradients were seen by whoever watches gradients, are finite, and count."""
        return self.is_complete and self.gradients_are_finite is True


@dataclass(frozen=True)
class Step:
    """One global batch.

    Attributes:
        batch_index: within the epoch, from 0; ``batches`` of them.
        global_step: over the run, from 1 after the first.
        batch: positions of its situations in the table.
        loss, terms: of this batch before the step, over all processes.
        gradient_norm: before clipping; None where it was not measured.
        module_norms: gradient norm per module; empty where it was not measured.
    """

    epoch: int
    batch_index: int
    batches: int
    global_step: int
    batch: Indices
    loss: float
    terms: dict[str, float]
    learning_rate: float
    verdict: StepVerdict
    gradient_norm: float | None
    module_norms: dict[str, float] = field(default_factory=dict)

    @property
    def situations(self) -> int:
        return len(self.batch)

    @property
    def updated(self) -> bool:
        """Whether an optimizer step was taken."""
        return self.verdict.updated
