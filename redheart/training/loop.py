"""The optimizer steps of an epoch, the same for the main training and for a trial of the sweep.

The loop yields after every global batch; what is done with a step – a progress bar, a checkpoint, a heartbeat – is its
caller's business. It never drops a batch: one that does not fit into memory is computed again in smaller micro-batches.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from redheart.batches.order import Indices, epoch_order, global_batches, micro_batches
from redheart.batches.table import SituationTable
from redheart.engine.contract import Engine, StepOutcome
from redheart.errors import OutOfMemory, TrainingError
from redheart.health.gradient_norms import GradientNorms, GradientWatcher, measure_gradients
from redheart.messages import warn
from redheart.model.batch import Batch
from redheart.model.losses import Losses, compute_losses, valid_counts
from redheart.model.r_drop import with_divergence
from redheart.model.statistics import TargetStatistics
from redheart.training.average import AVERAGE, WeightAverage
from redheart.training.out_of_memory import OomLog, is_out_of_memory
from redheart.training.schedule import learning_rate_at, set_learning_rate
from redheart.training.step_result import Step, StepVerdict

#: Steps in a row that fp16's loss scaler may skip: it starts at 2^16 and halves its scale with each of them. Where it has
#: come down to nothing, it is the gradient that is not finite.
MAX_OVERFLOWS = 40
#: Seeds that PyTorch's generators have. Seed, step and process together are folded into them.
_SEEDS = 1 << 64


class TrainingLoop:
    """Runs epochs of one model.

    Args:
        engine: prepared.
        train: the training situations' positions in ``table``.
        total_epochs: what the schedule is stretched over.
        norms_every: gradient norms per module are measured every so many steps (and at an epoch's first and last).
        last_good: what a run that can't go on has to show, in words, such as its newest checkpoint.

    Attributes:
        watchers: see the gradients of every step while there are any; their owner takes them away when they have seen enough.
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
        self.watchers: list[GradientWatcher] = []
        self.average = WeightAverage(engine, self.config.ema_decay) if self.config.ema_decay else None
        self._norms_every = norms_every
        self._last_good = last_good
        self._overflows_in_a_row = 0

    def evaluated_weights(self) -> contextlib.AbstractContextManager[None]:
        """While it is entered, the model's weights are those that are evaluated and kept: their average where there is one."""
        return contextlib.nullcontext() if self.average is None else self.average.swapped_in()

    def kept_values(self) -> Mapping[str, Tensor]:
        """This process's shard of the weights that are evaluated and kept, ``(count,)`` by parameter: the memory itself."""
        if self.average is not None:
            return self.average.shards
        return {name: shard.values for name, shard in self.engine.weight_shards().items()}

    def average_by_kind(self) -> dict[str, dict[str, Tensor]]:
        """What a state keeps beside each process's shard of the weights: their average, where there is one."""
        return {} if self.average is None else {AVERAGE: self.average.shards}

    def epoch(self, epoch: int, *, start_batch: int = 0) -> Iterator[Step]:
        """The steps of ``epoch`` (1-based), from batch ``start_batch`` on.

        Raises:
            TrainingError: too many losses in a row were not finite.
            OutOfMemory: a single situation does not fit into memory, or one of several processes ran out of it.
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
        is_told = index in (0, len(batches) - 1) or self.global_step % self._norms_every == 0
        verdict, measured = self._check_gradients(loss, is_told=is_told)
        verdict, norm = self._end_step(verdict, epoch)
        if measured is not None:
            norm = measured.total
        self._overflows_in_a_row = 0 if verdict.is_complete else self._overflows_in_a_row + 1
        if verdict.is_nonfinite:
            self._count_nonfinite(batch, epoch, index)
        else:
            self.nonfinite_in_a_row = 0
        is_sound = not verdict.is_nonfinite and (norm is None or math.isfinite(norm))
        self.global_step += 1
        return Step(
            epoch=epoch,
            batch_index=index,
            batches=len(batches),
            global_step=self.global_step,
            batch=batch,
            loss=float(loss),
            terms=terms,
            learning_rate=rate,
            verdict=verdict,
            gradient_norm=norm if is_sound else None,
            module_norms=measured.modules if measured is not None and is_told and is_sound else {},
        )

    def _check_gradients(self, loss: Tensor, *, is_told: bool) -> tuple[StepVerdict, GradientNorms | None]:
        """What is known before the optimizer's step; gradients are walked over where their norms are told or watched."""
        verdict = StepVerdict(
            loss_is_finite=self.engine.all_finite(loss),
            gradients_are_finite=None,
            scaler_may_skip=self.engine.scales_loss and self._overflows_in_a_row < MAX_OVERFLOWS,
            is_dry_run=self.config.no_param_update,
        )
        if not verdict.loss_is_finite or not (is_told or self.watchers):
            return verdict, None
        measured = measure_gradients(self.engine, self.watchers)
        # A gradient may overflow where the loss did not.
        are_finite = self.engine.all_finite(torch.tensor(measured.total, device=self.engine.device))
        return replace(verdict, gradients_are_finite=are_finite), measured

    def _end_step(self, verdict: StepVerdict, epoch: int) -> tuple[StepVerdict, float | None]:
        """Takes the optimizer's step or skips it; the gradients' norm where the engine knows it."""
        if verdict.is_dry_run or not verdict.may_update:
            self.engine.skip_step()
            return verdict, None
        updated, norm = self._update(epoch)
        if updated and self.average is not None:
            self.average.update()
        return replace(verdict, updated=updated), norm

    def _update(self, epoch: int) -> StepOutcome:
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
            raise OutOfMemory(
                f"out of memory in the optimizer's step on process {engine.rank} ({message}): its state takes twice the "
                "memory of the weights. Choose a smaller model.preset, or launch with launch/zero3_offload.yaml"
            ) from error

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
            raise OutOfMemory(
                f"out of memory with a micro-batch of one situation ({message}): "
                "choose a smaller model.preset, or launch with launch/zero3_offload.yaml"
            )
        if not engine.can_recut_batches:
            # The other processes are inside a collective operation already and can't be told.
            raise OutOfMemory(
                f"out of memory on process {engine.rank} ({message}): start again with "
                f"training.micro_batch_size={smaller.micro_batch_size}; the global batch stays, by accumulation"
            )
        warn("training.smaller_micro_batch", before=engine.geometry.micro_batch_size, after=smaller.micro_batch_size)
        engine.skip_step()
        engine.geometry = smaller
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _accumulate(self, batch: Indices) -> tuple[Tensor, dict[str, float]]:
        """Forward and backward of this process's micro-batches; the batch's loss and terms over all processes."""
        engine = self.engine
        counts = {name: count.to(engine.device) for name, count in self._valid_counts(batch).items()}
        names: list[str] = []
        sums = torch.zeros(1, device=engine.device)
        parts = micro_batches(batch, engine.geometry, engine.rank)
        engine.model.train()
        # Dropout is a function of seed, step and process, so that a resumed run draws what it would have drawn.
        drawn = (self.seed * 1_000_003 + self.global_step) * 4_096 + engine.rank
        torch.manual_seed(drawn % _SEEDS)
        for number, micro_batch in enumerate(parts):
            is_last = number == len(parts) - 1
            data = self.table.batch(micro_batch).to(engine.device)
            with engine.synchronise_only_last(is_last=is_last):
                losses = self._losses(data, counts)
                engine.backward(losses.total, is_last=is_last)
            names = list(losses.terms)  # the same in every micro-batch: what the model has
            sums = sums + torch.stack([losses.total.detach(), *(term.detach() for term in losses.terms.values())])
        sums = engine.sum_over_processes(sums)
        return sums[0], dict(zip(names, sums[1:].tolist(), strict=True))

    def _losses(self, data: Batch, counts: dict[str, Tensor]) -> Losses:
        """Forward pass of a micro-batch – under R-Drop two – and its share of the batch's loss."""
        r_drop, smoothing = self.config.r_drop, self.config.label_smoothing
        passed = data.twice() if r_drop else data
        with self.engine.autocast():
            outputs = self.engine.model(*passed.inputs)
        if not r_drop:
            return compute_losses(outputs, data, self.statistics, counts, label_smoothing=smoothing)
        twice = {name: 2 * count for name, count in counts.items()}
        losses = compute_losses(outputs, passed, self.statistics, twice, label_smoothing=smoothing)
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
