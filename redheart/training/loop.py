"""The optimizer steps of an epoch, the same for the main training and for a trial of the sweep.

The loop yields after every global batch; what is done with a step – a progress bar, a checkpoint, a heartbeat – is its
caller's business. It never drops a batch: one that does not fit into memory is computed again in smaller pieces.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from redheart.batches.order import Indices, epoch_order, global_batches, micro_batches
from redheart.batches.table import SituationTable
from redheart.engine.engine import Engine
from redheart.errors import MissingRequirement, TrainingError
from redheart.health.gradient_norms import GradientNorms, measure_gradients
from redheart.health.liveness import LivenessProbe
from redheart.messages import warn
from redheart.model.batch import Batch
from redheart.model.losses import TERMS, Losses, compute_losses, valid_counts
from redheart.model.r_drop import with_divergence
from redheart.model.statistics import TargetStatistics
from redheart.training.average import WeightAverage
from redheart.training.oom import OomLog, is_out_of_memory
from redheart.training.schedule import learning_rate_at, set_learning_rate

#: Steps in a row that fp16's loss scaler may skip: it starts at 2^16 and halves its scale with each of them.
MAX_OVERFLOWS = 40
TERM_NAMES = tuple(term.name for term in TERMS)


@dataclass(frozen=True)
class Step:
    """One global batch.

    Attributes:
        batch_index: within the epoch, from 0; ``batches`` of them.
        global_step: over the run, from 1 after the first.
        loss, terms: of this batch before the step, over all processes.
        gradient_norm: before clipping; None where it was not measured.
        module_norms: gradient norm a module; empty where it was not measured.
        updated: an optimizer step was taken.
    """

    epoch: int
    batch_index: int
    batches: int
    global_step: int
    situations: int
    loss: float
    terms: dict[str, float]
    learning_rate: float
    gradient_norm: float | None
    module_norms: dict[str, float] = field(default_factory=dict)
    updated: bool = True


class TrainingLoop:
    """Runs epochs of one model.

    Args:
        engine: prepared.
        train: the training situations' positions in ``table``.
        total_epochs: what the schedule is stretched over.
        norms_every: gradient norms a module are measured every so many steps (and at an epoch's first and last).
        last_good: what a run that can't go on has to show, in words, such as its newest checkpoint.

    Attributes:
        probe: told of every step while it is there; its owner takes it away when it has seen enough.
    """

    def __init__(
        self,
        engine: Engine,
        table: SituationTable,
        train: Indices,
        statistics: TargetStatistics,
        *,
        learning_rate: float,
        total_epochs: int,
        seed: int,
        norms_every: int = 1,
        oom: OomLog | None = None,
        last_good: Callable[[], str] | None = None,
    ) -> None:
        self.engine = engine
        self.table = table
        self.train = train
        self.statistics = statistics
        self.peak = learning_rate
        self.seed = seed
        self.config = engine.config.training
        self.batches_an_epoch = math.ceil(len(train) / self.config.global_batch_size)
        self.total_steps = self.batches_an_epoch * total_epochs
        self.global_step = 0
        self.nonfinite_in_a_row = 0
        self.oom = oom or OomLog()
        self.probe: LivenessProbe | None = None
        self.average = WeightAverage(engine, self.config.ema_decay) if self.config.ema_decay else None
        self._norms_every = norms_every
        self._last_good = last_good
        self._overflows_in_a_row = 0

    def evaluated_weights(self) -> contextlib.AbstractContextManager[None]:
        """While it is entered, the model's weights are those that are evaluated and kept: their average where there is one."""
        return contextlib.nullcontext() if self.average is None else self.average.swapped_in()

    def epoch(self, epoch: int, *, start_batch: int = 0) -> Iterator[Step]:
        """The steps of ``epoch`` (1-based), from batch ``start_batch`` on.

        Raises:
            TrainingError: too many losses in a row were not finite.
            MissingRequirement: a single situation does not fit into memory, or one of several processes ran out of it.
        """
        order = epoch_order(self.train, seed=self.seed, epoch=epoch)
        batches = global_batches(order, self.config.global_batch_size)
        for index in range(start_batch, len(batches)):
            yield self._step(epoch, index, batches)

    def learning_rate_at(self, step: int) -> float:
        """The schedule's, at an optimizer step of this run, from 0."""
        return learning_rate_at(step, self.total_steps, self.peak, self.config)

    def _step(self, epoch: int, index: int, batches: list[Indices]) -> Step:
        rate = self.learning_rate_at(self.global_step)
        set_learning_rate(self.engine.optimizer.param_groups, rate)
        batch = batches[index]
        loss, terms = self._accumulate_within_memory(batch, epoch)
        norms: dict[str, float] = {}
        measured: float | None = None
        found: GradientNorms | None = None
        finite = self.engine.all_finite(loss)
        wanted = index in (0, len(batches) - 1) or self.global_step % self._norms_every == 0
        if finite and (wanted or self.probe is not None):
            found = measure_gradients(self.engine, self.probe)
            norms, measured = found.modules if wanted else {}, found.total
            # A gradient may overflow where the loss did not.
            finite = (
                self.engine.all_finite(torch.tensor(measured, device=self.engine.device)) or self._scales_its_loss()
            )
        updated = False
        if finite and not self.config.no_param_update:
            updated, known = self._update(epoch)
            if updated and self.average is not None:
                self.average.update()
            measured = known if measured is None else measured
            finite = updated or self._scales_its_loss()
        else:
            self.engine.skip_step()
        is_complete = updated or self.config.no_param_update
        self._overflows_in_a_row = 0 if is_complete else self._overflows_in_a_row + 1
        if self.probe is not None and found is not None and is_complete and math.isfinite(found.total):
            self.probe.add(found.rows, batch, updated=updated)
        if finite:
            self.nonfinite_in_a_row = 0
        else:
            self._count_nonfinite(batch, epoch, index)
        if not finite or (measured is not None and not math.isfinite(measured)):
            norms, measured = {}, None
        self.global_step += 1
        return Step(
            epoch=epoch,
            batch_index=index,
            batches=len(batches),
            global_step=self.global_step,
            situations=len(batch),
            loss=float(loss),
            terms=terms,
            learning_rate=rate,
            gradient_norm=measured,
            module_norms=norms,
            updated=updated,
        )

    def _update(self, epoch: int) -> tuple[bool, float | None]:
        """The optimizer's step. Its state is made in the first one, and a step that failed half way can't be repeated."""
        engine = self.engine
        try:
            return engine.step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = (str(error) or type(error).__name__).splitlines()[0]
            size = engine.geometry.micro_batch_size
            self.oom.record(epoch=epoch, step=self.global_step, micro_batch_size=size, smaller=None, message=message)
            raise MissingRequirement(
                f"out of memory in the optimizer's step on process {engine.rank} ({message}): its state takes twice the "
                "memory of the weights. Choose a smaller model.preset, or launch with launch/zero3_offload.yaml"
            ) from error

    def _scales_its_loss(self) -> bool:
        """Under fp16 a gradient that overflows is the loss scaler's affair: it skips the step and halves its scale.

        Only so often: where the scale has come down to nothing, it is the gradient that is not finite.
        """
        return self.engine.precision == "fp16" and self._overflows_in_a_row < MAX_OVERFLOWS

    def _accumulate_within_memory(self, batch: Indices, epoch: int) -> tuple[Tensor, dict[str, float]]:
        while True:
            try:
                return self._accumulate(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                message = str(error).splitlines()[0]
            # Outside the handler: the exception's frames hold the tensors that have to go.
            self._shrink(message, epoch)

    def _shrink(self, message: str, epoch: int) -> None:
        engine = self.engine
        smaller = engine.geometry.halved()
        self.oom.record(
            epoch=epoch,
            step=self.global_step,
            micro_batch_size=engine.geometry.micro_batch_size,
            smaller=smaller.micro_batch_size if smaller else None,
            message=message,
        )
        if smaller is None:
            raise MissingRequirement(
                f"out of memory with a micro-batch of one situation ({message}): "
                "choose a smaller model.preset, or launch with launch/zero3_offload.yaml"
            )
        if engine.world_size > 1 or engine.is_deepspeed:
            # The other processes are inside a collective operation already and can't be told.
            raise MissingRequirement(
                f"out of memory on process {engine.rank} ({message}): start again with "
                f"training.micro_batch_size={smaller.micro_batch_size}; the global batch stays, by accumulation"
            )
        warn("training.oom", before=engine.geometry.micro_batch_size, after=smaller.micro_batch_size)
        engine.skip_step()
        engine.geometry = smaller
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _accumulate(self, batch: Indices) -> tuple[Tensor, dict[str, float]]:
        """Forward and backward of this process's pieces; the batch's loss and terms over all processes."""
        engine = self.engine
        counts = {name: count.to(engine.device) for name, count in self._valid_counts(batch).items()}
        names: list[str] = []
        sums = torch.zeros(1, device=engine.device)
        pieces = micro_batches(batch, engine.geometry, engine.rank)
        engine.model.train()
        # Dropout is a function of seed, step and process, so that a resumed run draws what it would have drawn.
        torch.manual_seed((self.seed * 1_000_003 + self.global_step) * 4_096 + engine.rank)
        for number, piece in enumerate(pieces):
            is_last = number == len(pieces) - 1
            data = self.table.batch(piece).to(engine.device)
            with engine.synchronise_only_last(is_last=is_last):
                losses = self._losses(data, counts)
                engine.backward(losses.total, is_last=is_last)
            names = list(losses.terms)  # the same in every piece: what the model has
            sums = sums + torch.stack([losses.total.detach(), *(term.detach() for term in losses.terms.values())])
        sums = engine.sum_over_processes(sums)
        return sums[0], dict(zip(names, sums[1:].tolist(), strict=True))

    def _losses(self, data: Batch, counts: dict[str, Tensor]) -> Losses:
        """Forward pass of a piece – under R-Drop two – and its share of the batch's loss."""
        r_drop, smoothing = self.config.r_drop, self.config.label_smoothing
        seen = data.twice() if r_drop else data
        with self.engine.accelerator.autocast():
            outputs = self.engine.model(*seen.inputs)
        if not r_drop:
            return compute_losses(outputs, data, self.statistics, counts, label_smoothing=smoothing)
        twice = {name: 2 * count for name, count in counts.items()}
        losses = compute_losses(outputs, seen, self.statistics, twice, label_smoothing=smoothing)
        return with_divergence(losses, outputs, data, counts, r_drop)

    def _valid_counts(self, batch: Indices) -> dict[str, Tensor]:
        empty = torch.empty(0)
        return valid_counts(Batch([], empty, empty, empty, empty, {}, self.table.target_masks(batch)))

    def _count_nonfinite(self, batch: Indices, epoch: int, index: int) -> None:
        self.nonfinite_in_a_row += 1
        ids = [self.table.ids[position] for position in batch]
        warn("training.nonfinite", epoch=epoch, batch=index + 1, ids=", ".join(ids))
        if self.nonfinite_in_a_row >= self.config.max_nonfinite_steps:
            left = f"; {self._last_good()}" if self._last_good else ""
            raise TrainingError(
                f"epoch {epoch}, batch {index + 1}: {self.nonfinite_in_a_row} steps in a row had a loss or gradient that is "
                f"not finite, at learning rate {self.peak:g}{left}. Lower the learning rate, or look at these "
                f"situations: {', '.join(ids[:8])}{', …' if len(ids) > 8 else ''}"
            )
