"""The engine's contract: what every engine does for a training, and which calls are collective.

A method that is *collective* has to be called by every process of the group, in the same order, or the group waits for
ever. "Collective under ZeRO" means that it is so where ``shards_state`` is true: there no process holds a whole tensor.
Everything else is local. ``tests/engine/test_contract.py`` runs one suite of checks against every engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from redheart.batches.order import BatchGeometry
from redheart.config import Config
from redheart.engine.shards import Shard
from redheart.model import Model


class StepOutcome(NamedTuple):
    """What became of an optimizer step.

    Attributes:
        updated: the weights were updated: the same on every process.
        gradient_norm: over all parameters and processes, before clipping; None where the engine does not know it or it
            is not finite.
    """

    updated: bool
    gradient_norm: float | None


class Engine(Protocol):
    """Model and optimizer in the hands of one strategy, in one process or several.

    Attributes:
        config: what it was made of.
        precision: ``no`` (fp32), ``bf16`` or ``fp16``.
        world_size: processes in the group.
        geometry: how a global batch is cut; may be set anew only where ``can_recut_batches``.
        model: call it for a forward pass; set by ``prepare``.
        unwrapped: the model inside; set by ``prepare``.
        optimizer: as the strategy wraps it; its ``param_groups`` are the ones it was given. Set by ``prepare``.
    """

    config: Config
    precision: str
    world_size: int
    geometry: BatchGeometry
    model: Any
    unwrapped: Model
    optimizer: Any

    @property
    def kind(self) -> str:
        """``plain``, ``zero1``, ``zero2`` or ``zero3``: to be told and stored, not to be asked; see the properties below."""

    @property
    def device(self) -> torch.device:
        """Where this process computes."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks: the first."""

    @property
    def shards_state(self) -> bool:
        """Whether a process holds only a shard of weights and optimizer state, and no process a whole one."""

    @property
    def gradients_are_local(self) -> bool:
        """Whether whole gradients lie in every process, so that reading them sends nothing and costs little."""

    @property
    def can_recut_batches(self) -> bool:
        """Whether a batch for which memory ran out can be computed again in smaller micro-batches: no process waits for another
        before ``finish_backward``, where all agree."""

    @property
    def forward_is_local(self) -> bool:
        """Whether a forward pass sends nothing between processes, so that one that failed may be done again."""

    @property
    def scales_loss(self) -> bool:
        """Whether a gradient that overflows is first a loss scaler's affair, which skips the step and halves its scale."""

    @property
    def is_compilable(self) -> bool:
        """Whether the forward pass can be one graph."""

    @property
    def goes_on_exactly(self) -> bool:
        """Whether a run that is stopped and goes on under this engine repeats the undisturbed run bit by bit."""

    @property
    def held(self) -> Mapping[str, int]:
        """The parameters that the optimizer holds, as it says itself: name -> number of its parameter group."""

    def prepare(self, model: Model, optimizer: torch.optim.Optimizer) -> None:
        """Takes both over; after this, only the engine's own methods touch weights and gradients. Collective.

        Raises:
            ConfigError: ``training.compile`` where it is not ``is_compilable``.
            MissingRequirement: ``training.compile`` without a compiler.
        """

    def autocast(self) -> AbstractContextManager[Any]:
        """A context for forward passes, in which they compute in ``precision``."""

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Adds a micro-batch's gradients. Collective under ZeRO.

        Args:
            loss: (), this micro-batch's part of the global batch's loss, which is the sum over those of all processes.
            is_last: whether this is the step's last micro-batch on this process.
        """

    def finish_backward(self, *, failed: bool = False) -> bool:
        """Ends a step's passes: agrees whether all processes came through them, and if so sums their gradients. Collective.

        Args:
            failed: memory ran out in this process. Only where ``can_recut_batches``: elsewhere others wait amid their passes.

        Returns:
            Whether all came through; if not, nothing was exchanged.
        """

    def keeping_casts(self) -> AbstractContextManager[Any]:
        """A context around a step's micro-batches in which weights are cast to ``precision`` once, if casts can be kept.

        They take two bytes a parameter until it is left, which has to be before the weights change.
        """

    def make_missing_state(self) -> None:
        """Makes what the optimizer's step would make for parameters that have their first gradient, so that it allocates nothing.

        Where memory does not suffice, no part of it stays. Does nothing where the optimizer makes it elsewhere.
        """

    def gradients(self) -> Iterator[tuple[str, Tensor | None]]:
        """Every parameter's whole gradient, in the parameter's shape, after a step's last backward and before its end.

        None where there is none. Collective under ZeRO: every process goes through all of them.
        """

    def step(self, norm: float | None = None) -> StepOutcome:
        """Clips and updates; a step whose gradients are not finite is dropped instead. Collective.

        Args:
            norm: of all gradients, where ``gradients_are_local`` and it is known already.
        """

    def skip_step(self) -> None:
        """Ends a step without an update: gradients are dropped, weights and optimizer state stay."""

    def decay_of_step(self) -> list[float]:
        """By parameter group: what AdamW's decay alone multiplies weights by in a step at the learning rate now set."""

    def all_finite(self, loss: Tensor) -> bool:
        """Whether all numbers of ``loss``, of any shape, are finite on every process: agreed by all. Collective."""

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """Element-wise sum over all processes, on every process, in the shape of ``values``. Collective."""

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is set anywhere: agreed by all, so that all act alike. Collective."""

    def gather_objects(self, one: Any) -> list[Any]:
        """What each process gave, in the order of their ranks: little things, seldom. Collective."""

    def gather(self, values: Tensor) -> Tensor:
        """(world_size × rows, …) concatenation over processes of (rows, …), the same shape on each. Collective."""

    def barrier(self) -> None:
        """Waits for every process. Collective."""

    def full_parameter(self, name: str, parameter: nn.Parameter) -> Tensor:
        """One parameter, whole, in fp32 where the engine keeps it so. Collective under ZeRO."""

    def full_state_dict(self, *, keep: bool = True) -> dict[str, Tensor]:
        """Every tensor of the model, whole, on the CPU, in fp32 for parameters; empty where ``keep`` is false. Collective."""

    def weight_shapes(self) -> dict[str, list[int]]:
        """The shape of every parameter, whole."""

    def weight_shards(self) -> dict[str, Shard]:
        """The fp32 weights that this process holds, by parameter: see ``shards.py``."""

    def held_shards(self) -> dict[str, Shard]:
        """Those of ``weight_shards`` that the optimizer steps on."""

    def outside_tensors(self) -> dict[str, Tensor]:
        """What the optimizer does not hold: buffers that are saved and frozen parameters, whole, on the CPU. Collective."""

    def broadcast_weights(self) -> None:
        """Lets the forward pass see what was written into ``weight_shards``. Collective under ZeRO."""

    def save_state(self, folder: Path, beside: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Writes what resuming needs of weights, optimizer and random states, for any engine to go on: see ``resume_files.py``.

        Collective.

        Args:
            beside: by kind, what else is kept of the numbers of ``weight_shards``: ``(count,)`` by tensor.
        """

    def load_state(self, folder: Path, beside: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Reads it back, whichever engine wrote it. Collective.

        Args:
            beside: filled with what was kept.

        Raises:
            StorageError: a file is missing or does not hold what it should.
        """

    def loads_older_state_of(self, kind: str, world_size: int) -> bool:
        """Whether it can go on from a state in the form of before, which an engine of ``kind`` with ``world_size`` processes saved."""

    def load_older_state(self, folder: Path) -> None:
        """Reads a state in the form of before, which the libraries wrote; its hashes were checked. Collective."""

    def start_tracking(self, name: str, *, after_step: int = 0) -> None:
        """Opens the trackers' record of a run, if it was made with a folder for them.

        Args:
            after_step: from which the run goes on; what was told of later ones, before it was killed, counts no more.
        """

    def track(self, values: Mapping[str, float], *, step: int) -> None:
        """Tells the trackers, which are those of the main process."""

    def finish_tracking(self) -> None:
        """Closes the trackers' files; may be done twice."""

    def free(self) -> None:
        """Lets go of model and optimizer. Collective under ZeRO."""

    def end(self) -> None:
        """Ends the group of processes: nothing collective after this. Collective."""
