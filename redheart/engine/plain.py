"""The engine without DeepSpeed: one process, or several whose gradients are averaged (data parallel)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redheart.checkpoint.slices import MOMENTS
from redheart.config import Config
from redheart.engine.accelerated import AcceleratedEngine
from redheart.engine.contract import StepOutcome
from redheart.engine.launch import Launch
from redheart.engine.resume_files import LossScale
from redheart.engine.shards import Shard, plain_shards
from redheart.model import Model


class PlainEngine(AcceleratedEngine):
    """Every process holds the whole model and the whole optimizer state."""

    def __init__(self, config: Config, launch: Launch, *, tracking_folder: Path | None = None) -> None:
        super().__init__(config, launch, plugin=None, tracking_folder=tracking_folder)
        self._is_unscaled = False

    @property
    def kind(self) -> str:
        return "plain"

    @property
    def shards_state(self) -> bool:
        return False

    @property
    def gradients_are_local(self) -> bool:
        return True

    @property
    def waits_for_every_gradient(self) -> bool:
        return self.world_size > 1

    @property
    def can_recut_batches(self) -> bool:
        return self.world_size == 1

    @property
    def is_compilable(self) -> bool:
        return True

    @property
    def goes_on_exactly(self) -> bool:
        return True

    def loads_older_state_of(self, kind: str, world_size: int) -> bool:
        return kind == self.kind  # it is whole, and fits any number of processes

    def _inner_model(self) -> Model:
        return self.unwrapped  # data parallel training wraps the model itself, and prepares no copy

    def _groups(self) -> list[tuple[int, list[nn.Parameter]]]:
        return [(number, group["params"]) for number, group in enumerate(self.optimizer.param_groups)]

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        # Gradients are averaged over processes; the parts of the loss have to be summed.
        summed = loss * self.world_size
        scaler = self.accelerator.scaler
        (scaler.scale(summed) if scaler is not None else summed).backward()

    def synchronise_only_last(self, *, is_last: bool) -> AbstractContextManager[Any]:
        if self.world_size == 1 or is_last:
            return contextlib.nullcontext()
        found: AbstractContextManager[Any] = self.model.no_sync()
        return found

    def gradients(self) -> Iterator[tuple[str, Tensor | None]]:
        self._unscale()
        for name, parameter in self.unwrapped.named_parameters():
            yield name, parameter.grad

    def _unscale(self) -> None:
        """Takes fp16's loss scale out of the gradients, once per step: a second time is an error of the scaler's."""
        if self.accelerator.scaler is not None and not self._is_unscaled:
            self.accelerator.scaler.unscale_(self.optimizer.optimizer)
            self._is_unscaled = True

    def step(self) -> StepOutcome:
        self._unscale()
        total = torch.nn.utils.clip_grad_norm_(self.unwrapped.parameters(), self.config.training.max_grad_norm)
        norm = float(total) if math.isfinite(float(total)) else None
        if norm is None and self.accelerator.scaler is None:
            self.skip_step()
            return StepOutcome(False, None)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._is_unscaled = False
        return StepOutcome(not self.accelerator.optimizer_step_was_skipped, norm)

    def skip_step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self._is_unscaled:
            self.accelerator.scaler.update()  # or the scaler believes that the next gradients are unscaled already
            self._is_unscaled = False

    def full_parameter(self, name: str, parameter: nn.Parameter) -> Tensor:
        return parameter.detach()

    def weight_shards(self) -> dict[str, Shard]:
        return plain_shards(self.unwrapped)

    def broadcast_weights(self) -> None:
        """Nothing to do: the forward pass reads the shards themselves."""

    def optimizer_state(self) -> Any:
        return self.optimizer.optimizer.state

    def make_optimizer_state(self, steps: Mapping[str, int]) -> None:
        parameters, state = dict(self.unwrapped.named_parameters()), self.optimizer_state()
        groups = self.optimizer.param_groups
        for name, group in self._group_of.items():
            one = parameters[name]
            if name not in steps:
                state.pop(one, None)
                continue
            on_device = groups[group].get("fused") or groups[group].get("capturable")
            state[one] = {
                "step": torch.tensor(float(steps[name]), device=one.device if on_device else "cpu"),
                **{moment: torch.zeros_like(one, memory_format=torch.preserve_format) for moment in MOMENTS},
            }

    def loss_scale(self) -> LossScale | None:
        scaler = self.accelerator.scaler
        return None if scaler is None else LossScale(scaler.get_scale(), scaler.state_dict()["_growth_tracker"])

    def set_loss_scale(self, found: LossScale) -> None:
        scaler = self.accelerator.scaler
        if scaler is not None:
            # It grows at its interval exactly, and would never come to it from beyond.
            good = found.good_steps % scaler.get_growth_interval()
            now = {"scale": found.scale, "_growth_tracker": good}
            scaler.load_state_dict(scaler.state_dict() | now)
