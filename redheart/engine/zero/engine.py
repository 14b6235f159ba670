"""The engine under DeepSpeed: ZeRO-1, 2 and 3, with or without offload, in one process or several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
from redheart.engine.shards import Shard, broadcast_zero_shards, flat_partitions, zero_shards
from redheart.engine.zero.config import check_filled, check_stage, fill_deepspeed_config
from redheart.engine.zero.extensions import provide_extensions
from redheart.engine.zero.host_allocator import give_back_what_is_freed, trim
from redheart.engine.zero.internals import (
    drop_gradients,
    full_parameter_outside,
    held_gradients_are_finite,
    link_optimizer_state,
    optimized_groups,
    set_parameter_outside,
)
from redheart.model import Model
from redheart.plan.zero_sizes import zero_sizes
from redheart.storage import Scalar


class DeepSpeedEngine(AcceleratedEngine):
    """Every process holds a shard of the optimizer state, under ZeRO-3 of the weights too.

    Args:
        file: the DeepSpeed JSON, whose ``"auto"`` is filled in from ``config``.

    Raises:
        ConfigError: the JSON contradicts ``config``.
        MissingRequirement: an extension of DeepSpeed's can't be built.
    """

    def __init__(self, config: Config, launch: Launch, file: Path, *, tracking_folder: Path | None = None) -> None:
        self._file = file
        plugin = _make_plugin(config, launch, file)
        self._zero_stage = int(plugin.zero_stage)
        give_back_what_is_freed()
        super().__init__(config, launch, plugin=plugin, tracking_folder=tracking_folder)

    def prepare(self, model: Model, optimizer: torch.optim.Optimizer) -> None:
        super().prepare(model, optimizer)
        trim()  # of each process's whole model only a shard is left

    @property
    def kind(self) -> str:
        return f"zero{self._zero_stage}"

    @property
    def shards_state(self) -> bool:
        return True

    @property
    def gradients_are_local(self) -> bool:
        return False

    @property
    def can_recut_batches(self) -> bool:
        return False  # DeepSpeed counts the micro-batches it was told of

    @property
    def forward_is_local(self) -> bool:
        return self._zero_stage < 3  # each layer's weights are gathered on its way

    @property
    def is_compilable(self) -> bool:
        # ZeRO-3 gathers each layer's weights in hooks around the layer, which no single graph can hold.
        return self._zero_stage < 3

    def _why_not_compilable(self) -> str:
        return (
            f"training.compile: the forward pass can't be compiled under ZeRO-3 ({self._file}): "
            "launch with launch/zero2.yaml, or set training.compile=false"
        )

    @property
    def goes_on_exactly(self) -> bool:
        # DeepSpeed's AdamW for the CPU keeps the powers of its betas as running products, outside any state.
        return type(self.model.optimizer.optimizer).__name__ != "DeepSpeedCPUAdam"

    def loads_older_state_of(self, kind: str, world_size: int) -> bool:
        return kind == self.kind and world_size == self.world_size  # the optimizer's is cut by the number of processes

    def _inner_model(self) -> Model:
        inner: Model = self.model.module
        return inner

    def _groups(self) -> list[tuple[int, list[nn.Parameter]]]:
        return optimized_groups(self.model.optimizer)

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        self.model.set_gradient_accumulation_boundary(is_boundary=is_last)
        # DeepSpeed averages gradients over processes; the parts of the loss have to be summed.
        self.model.backward(loss * self.world_size, scale_wrt_gas=False)

    def finish_backward(self, *, failed: bool = False) -> bool:
        assert not failed, "other processes are amid their passes, and can't be told"
        return True  # gradients travelled at the boundary that ``backward`` set

    def make_missing_state(self) -> None:
        """Nothing to do: DeepSpeed makes it when it is prepared, or in its first step."""

    def gradients(self) -> Iterator[tuple[str, Tensor | None]]:
        from deepspeed.utils import safe_get_full_grad

        for name, parameter in self.unwrapped.named_parameters():
            # Of what its optimizer does not hold DeepSpeed has no gradient to give.
            yield name, safe_get_full_grad(parameter) if name in self._group_of else parameter.grad

    def step(self, norm: float | None = None) -> StepOutcome:
        # ZeRO-1 and 2 check for themselves; ZeRO-3 checks under fp16 only, and would clip every weight to NaN.
        if self._zero_stage == 3 and not self.scales_loss:
            flag = torch.tensor([float(held_gradients_are_finite(self.model.optimizer))], device=self.device)
            if self._reduce(flag, "min").item() < 0.5:
                self.skip_step()
                return StepOutcome(False, None)
        self.model.step()
        if not self.model.was_step_applied():
            return StepOutcome(False, None)
        norm = self.model.get_global_grad_norm()
        return StepOutcome(True, None if norm is None or not math.isfinite(float(norm)) else float(norm))

    def skip_step(self) -> None:
        drop_gradients(self.model)

    def full_parameter(self, name: str, parameter: nn.Parameter) -> Tensor:
        if name not in self._group_of:
            return full_parameter_outside(parameter)
        from deepspeed.utils import safe_get_full_fp32_param

        full: Tensor = safe_get_full_fp32_param(parameter)
        return full.detach().view(getattr(parameter, "ds_shape", parameter.shape))

    def weight_shards(self) -> dict[str, Shard]:
        held = {name: one for name, one in self.unwrapped.named_parameters() if name in self._group_of}
        return zero_shards(self.model.optimizer, held, stage=self._zero_stage, rank=self.rank)

    def broadcast_weights(self) -> None:
        broadcast_zero_shards(self.model.optimizer, stage=self._zero_stage)

    def set_outside(self, parameter: nn.Parameter, value: Tensor) -> None:
        set_parameter_outside(parameter, value)

    def optimizer_state(self) -> Any:
        return self.model.optimizer.optimizer.state

    def make_optimizer_state(self, steps: Mapping[str, int]) -> None:
        optimizer, taken = self.model.optimizer, dict.fromkeys(self._flats(), 0)
        for name, shard in self.held_shards().items():
            assert shard.flat is not None
            taken[shard.flat] = max(taken[shard.flat], steps.get(name, 0))
        counts_in_python = not self.goes_on_exactly
        on_device = any(group.get("fused") or group.get("capturable") for group in optimizer.optimizer.param_groups)
        for flat, count in taken.items():
            if not steps:  # no step was taken yet
                self.optimizer_state().pop(flat, None)
                continue
            # One that holds nothing but padding too: as the first step would make it.
            count = count or max(steps.values())
            self.optimizer_state()[flat] = {
                "step": count
                if counts_in_python
                else torch.tensor(float(count), device=flat.device if on_device else "cpu"),
                **{moment: torch.zeros_like(flat, dtype=torch.float32) for moment in MOMENTS},
            }
        if steps and self._zero_stage < 3:
            link_optimizer_state(optimizer)

    def _flats(self) -> list[Tensor]:
        return flat_partitions(self.model.optimizer, stage=self._zero_stage)

    def loss_scale(self) -> LossScale | None:
        if not self.scales_loss:
            return None
        scaler = self.model.optimizer.loss_scaler
        if not hasattr(scaler, "cur_iter"):  # a fixed scale, which the JSON says
            return None
        good = scaler.cur_iter - scaler.last_overflow_iter - 1
        return LossScale(float(scaler.cur_scale), good, int(scaler.cur_hysteresis))

    def set_loss_scale(self, found: LossScale) -> None:
        scaler = self.model.optimizer.loss_scaler
        if self.scales_loss and hasattr(scaler, "cur_iter"):
            scaler.cur_scale, scaler.last_overflow_iter = found.scale, scaler.cur_iter - found.good_steps - 1
            # The JSON may have fewer by now than when the state was saved.
            scaler.cur_hysteresis = min(found.hysteresis or scaler.delayed_shift, scaler.delayed_shift)


def _make_plugin(config: Config, launch: Launch, file: Path) -> Any:
    """Accelerate's plugin of the filled-in JSON; what of DeepSpeed has to be compiled for it is so afterwards."""
    from accelerate.utils import DeepSpeedPlugin

    sizes = zero_sizes(on_gpu=torch.cuda.is_available()).by_key()
    filled = fill_deepspeed_config(file, _values(config, launch), sizes)
    check_filled(file, filled)
    check_stage(file, filled)
    plugin = DeepSpeedPlugin(hf_ds_config=filled)
    provide_extensions(filled)
    return plugin


def _values(config: Config, launch: Launch) -> dict[str, Scalar]:
    """What ``"auto"`` stands for in the JSON, by dotted key."""
    geometry, on_cuda = launch.geometry, torch.cuda.is_available()
    return {
        "train_micro_batch_size_per_gpu": geometry.micro_batch_size,
        "gradient_accumulation_steps": geometry.gradient_accumulation_steps,
        "train_batch_size": geometry.global_batch_size,
        "gradient_clipping": config.training.max_grad_norm,
        "bf16.enabled": launch.precision == "bf16",
        "fp16.enabled": launch.precision == "fp16",
        "zero_optimization.offload_optimizer.pin_memory": on_cuda,
        "zero_optimization.offload_param.pin_memory": on_cuda,
    }
