"""The optimizer steps of an epoch, the same for the main training and for a trial of the sweep.

The loop yields after every global batch; what is done with a step – a progress bar, a checkpoint, a heartbeat – is its
caller's business. What the host has to know of a step comes to it in one copy where gradients lie whole in every process.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from redheart.batches.order import Indices, epoch_order, global_batches
from redheart.batches.out_of_memory import MemoryFailure, is_out_of_memory
from redheart.batches.prepared import PreparedBatch, prepared_batches
from redheart.batches.table import SituationTable
from redheart.engine.contract import Engine, StepOutcome
from redheart.errors import OutOfMemory, TrainingError
from redheart.evaluation.batch_size import EVALUATION_BATCH, BatchSize, evaluated_beside
from redheart.health.gradient_norms import GradientNorms, GradientWatcher, measure_gradients
from redheart.messages import warn
from redheart.model.statistics import TargetStatistics
from redheart.training.accumulation import Accumulation, BatchLoss
from redheart.training.average import AVERAGE, WeightAverage
from redheart.training.out_of_memory import Happened, OomLog
from redheart.training.schedule import learning_rate_at, set_learning_rate
from redheart.training.step_result import Step, StepVerdict

#: Steps in a row that fp16's loss scaler may skip: it starts at 2^16 and halves its scale with each of them. Where it has
#: come down to nothing, it is the gradient that is not finite.
MAX_OVERFLOWS = 40


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
        self._accumulation = Accumulation(engine, table, statistics, seed=seed, oom=self.oom)
        #: Of each evaluation of this run.
        self.evaluated_at_once = BatchSize(
            EVALUATION_BATCH if engine.forward_is_local else evaluated_beside(engine.geometry.micro_batch_size),
            agree=engine.any_rank,
            on_shrink=self._note_smaller_evaluation,
            on_end=self._note_end,
            is_fixed=not engine.forward_is_local,
        )
        self._prepared: PreparedBatch | None = None
        self._epoch = 0

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

    def epoch(self, epoch: int, *, start_batch: int = 0) -> Generator[Step, None, None]:
        """The steps of ``epoch`` (1-based), from batch ``start_batch`` on.

        Raises:
            TrainingError: too many losses in a row were not finite.
            OutOfMemory: a single situation does not fit into memory, or one of several processes ran out of it.
        """
        order = epoch_order(self.train, seed=self.seed, epoch=epoch)
        batches = global_batches(order, self.config.global_batch_size)
        engine = self.engine
        on_cuda = engine.device.type == "cuda"
        ahead = prepared_batches(self.table, batches[start_batch:], engine.geometry, engine.rank, pins=on_cuda)
        with contextlib.closing(ahead):
            for index, self._prepared in enumerate(ahead, start=start_batch):
                yield self._step(epoch, index, batches)

    def learning_rate_at(self, step: int) -> float:
        """The schedule's, at an optimizer step of this run, from 0."""
        return learning_rate_at(step, self.total_steps, self.peak, self.config)

    def _step(self, epoch: int, index: int, batches: list[Indices]) -> Step:
        rate = self.learning_rate_at(self.global_step)
        set_learning_rate(self.engine.optimizer.param_groups, rate)
        batch = batches[index]
        self._epoch = epoch
        is_told = index in (0, len(batches) - 1) or self.global_step % self._norms_every == 0
        loss, (verdict, values, norms) = self._accumulate_and_look(batch, is_told=is_told)
        verdict, norm = self._end_step(verdict, epoch, None if norms is None else norms.total)
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
            loss=values[0],
            terms=dict(zip(loss.names, values[1:], strict=True)),
            learning_rate=rate,
            verdict=verdict,
            gradient_norm=norm if is_sound else None,
            module_norms=norms.modules if norms is not None and is_told and is_sound else {},
        )

    def _accumulate_and_look(
        self, batch: Indices, *, is_told: bool
    ) -> tuple[BatchLoss, tuple[StepVerdict, list[float], GradientNorms | None]]:
        """Loss and gradients with what is known of them; taken again in smaller pieces where memory runs out while they are looked at."""
        while True:
            loss = self._accumulate(batch)
            try:
                return loss, self._look(loss, is_told=is_told)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = MemoryFailure.of(error, "gradients")
            engine = self.engine
            if engine.world_size > 1 or not engine.can_recut_batches:  # the others have gone on
                self._note_end(failure)
                raise OutOfMemory(
                    f"out of memory where gradients are measured on process {engine.rank} ({failure.message})",
                    memory=failure.memory,
                    phase=failure.phase,
                )
            self._accumulation.shrink(failure, self._epoch, self.global_step)

    def _look(self, loss: BatchLoss, *, is_told: bool) -> tuple[StepVerdict, list[float], GradientNorms | None]:
        """What is known before the optimizer's step, the loss and its terms, and norms where they are told, watched or at hand.

        Where gradients lie whole in every process all of it comes to the host in one copy, and is the same everywhere.
        """
        engine = self.engine
        is_local = engine.gradients_are_local
        # Who watches is shown no gradients of a loss that is no number.
        loss_is_finite = None if is_local and not self.watchers else engine.all_finite(loss.total)
        measured = None
        if loss_is_finite is not False and (is_told or self.watchers or is_local):
            measured = measure_gradients(engine, self.watchers)
        told = loss.sums if measured is None else torch.cat([loss.sums, measured.norms])
        values = told.tolist()
        values, each = values[: len(loss.sums)], values[len(loss.sums) :]
        norms = None if measured is None else GradientNorms.of(measured.names, each)
        if loss_is_finite is None:
            loss_is_finite = math.isfinite(values[0])
        gradients_are_finite = None
        if norms is not None and loss_is_finite:
            # A gradient may overflow where the loss did not.
            gradients_are_finite = math.isfinite(norms.total)
            if not is_local:
                gradients_are_finite = engine.all_finite(torch.tensor(norms.total, device=engine.device))
        verdict = StepVerdict(
            loss_is_finite=loss_is_finite,
            gradients_are_finite=gradients_are_finite,
            scaler_may_skip=engine.scales_loss and self._overflows_in_a_row < MAX_OVERFLOWS,
            is_dry_run=self.config.no_param_update,
        )
        return verdict, values, norms

    def _end_step(self, verdict: StepVerdict, epoch: int, norm: float | None) -> tuple[StepVerdict, float | None]:
        """Takes the optimizer's step or skips it; the gradients' norm, ``norm`` where it was measured."""
        if verdict.is_dry_run or not verdict.may_update:
            self.engine.skip_step()
            return verdict, norm
        updated, found = self._update(epoch, norm)
        if updated and self.average is not None:
            self.average.update()
        return replace(verdict, updated=updated), found if norm is None else norm

    def _update(self, epoch: int, norm: float | None) -> StepOutcome:
        """The optimizer's step. One that failed half way can't be repeated."""
        engine = self.engine
        try:
            return engine.step(norm)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = MemoryFailure.of(error, "optimizer")
            happened = Happened(epoch, self.global_step, engine.geometry.micro_batch_size, None)
            self.oom.record(failure, happened, rank=engine.rank)
            raise OutOfMemory(
                f"out of memory in the optimizer's step on process {engine.rank} ({failure.message}): its state takes twice the "
                "memory of the weights. Choose a smaller model.preset, or the strategy that `redheart plan` names",
                memory=failure.memory,
                phase=failure.phase,
            ) from error

    def _accumulate(self, batch: Indices) -> BatchLoss:
        """Loss and gradients of a global batch; see ``accumulation.py``."""
        prepared, self._prepared = self._prepared, None
        return self._accumulation.compute(batch, prepared, epoch=self._epoch, step=self.global_step)

    def _note_smaller_evaluation(self, failure: MemoryFailure | None, size: int, smaller: int | None) -> None:
        self.oom.record_together(failure, Happened(self._epoch, self.global_step, size, smaller), self.engine)

    def _note_end(self, failure: MemoryFailure) -> None:
        smaller = self.engine.geometry.halved()
        size = self.engine.geometry.micro_batch_size
        happened = Happened(self._epoch, self.global_step, size, None if smaller is None else smaller.micro_batch_size)
        self.oom.record(failure, happened, rank=self.engine.rank, ends=True)

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
