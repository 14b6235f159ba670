"""The engine without DeepSpeed: one process, or several whose gradients are summed (data parallel)."""

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
from redheart.engine.gradient_sum import GradientSum, broadcast_from_first
from redheart.engine.launch import Launch
from redheart.engine.resume_files import LossScale
from redheart.engine.shards import Shard, plain_shards
from redheart.model import Model


class PlainEngine(AcceleratedEngine):
    """Every process holds the whole model and the whole optimizer state."""

    def __init__(self, config: Config, launch: Launch, *, tracking_folder: Path | None = None) -> None:
        super().__init__(config, launch, plugin=None, tracking_folder=tracking_folder)
        self._is_unscaled = False
        self._sum_gradients: GradientSum | None = None

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
    def can_recut_batches(self) -> bool:
        return True

    @property
    def forward_is_local(self) -> bool:
        return True

    @property
    def is_compilable(self) -> bool:
        return True

    @property
    def goes_on_exactly(self) -> bool:
        return True

    def loads_older_state_of(self, kind: str, world_size: int) -> bool:
        return kind == self.kind  # it is whole, and fits any number of processes

    def _hand_over(self, model: Model, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        if self.world_size == 1:
            return super()._hand_over(model, optimizer)
        # As for evaluation, that is, without a wrapper that exchanges gradients amid the backward pass: see gradient_sum.py.
        prepared = self.accelerator.prepare_model(model, evaluation_mode=True)
        parameters = list(prepared.parameters())
        broadcast_from_first([*parameters, *prepared.buffers()])
        self._sum_gradients = GradientSum(parameters, self.device)
        return prepared, self.accelerator.prepare_optimizer(optimizer)

    def _inner_model(self) -> Model:
        return self.unwrapped  # it is prepared in place

    def _groups(self) -> list[tuple[int, list[nn.Parameter]]]:
        return [(number, group["params"]) for number, group in enumerate(self.optimizer.param_groups)]

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        if is_last and self.precision != "no":
            # No later pass reads the casts of weights: what the backward pass has used goes, as gradients come.
            torch.clear_autocast_cache()
        scaler = self.accelerator.scaler
        (scaler.scale(loss) if scaler is not None else loss).backward()

    def finish_backward(self, *, failed: bool = False) -> bool:
        return not failed if self._sum_gradients is None else self._sum_gradients(failed=failed)

    def keeping_casts(self) -> AbstractContextManager[Any]:
        if self.precision == "no":
            return contextlib.nullcontext()
        # The cache lives until the outermost context is left, on or off: off, the losses and the backward pass stay as they are.
        return torch.autocast(self.device.type, enabled=False)

    def gradients(self) -> Iterator[tuple[str, Tensor | None]]:
        self._unscale()
        for name, parameter in self._parameters.items():
            yield name, parameter.grad

    def _unscale(self) -> None:
        """Takes fp16's loss scale out of the gradients, once per step: a second time is an error of the scaler's."""
        if self.accelerator.scaler is not None and not self._is_unscaled:
            self.accelerator.scaler.unscale_(self.optimizer.optimizer)
            self._is_unscaled = True

    def step(self, norm: float | None = None) -> StepOutcome:
        gradients = [one for _, one in self.gradients() if one is not None]
        if norm is None:
            norm = float(torch.nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            self.skip_step()
            return StepOutcome(False, None)
        share = self.config.training.max_grad_norm / (norm + 1e-6)
        if share < 1.0:
            torch._foreach_mul_(gradients, share)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._is_unscaled = False
        return StepOutcome(True, norm)

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
        parameters, state = self._parameters, self.optimizer_state()
        for name in self._group_of:
            if name in steps:
                state[parameters[name]] = self._new_state(name, parameters[name], steps[name])
            else:
                state.pop(parameters[name], None)

    def make_missing_state(self) -> None:
        parameters, state = self._parameters, self.optimizer_state()
        if len(state) == len(self._group_of):
            return
        missing = [
            name for name in self._group_of if parameters[name].grad is not None and not state.get(parameters[name])
        ]
        # Put in place once all of it is there.
        state.update({parameters[name]: self._new_state(name, parameters[name], 0) for name in missing})

    def _new_state(self, name: str, parameter: nn.Parameter, steps: int) -> dict[str, Tensor]:
        """What AdamW's first step makes, after so many steps, with moments of zero."""
        group = self.optimizer.param_groups[self._group_of[name]]
        on_device = group.get("fused") or group.get("capturable")
        return {
            "step": torch.tensor(float(steps), device=parameter.device if on_device else "cpu"),
            **{moment: torch.zeros_like(parameter, memory_format=torch.preserve_format) for moment in MOMENTS},
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
