"""One small interface over plain PyTorch and DeepSpeed, both behind Accelerate.

The loop sees: forward, backward of a piece, the agreed end of a step, gradients and whole tensors by name. Which
engine runs is decided by ``accelerate launch --config_file launch/….yaml``; without it, one plain process.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redheart.batches.order import BatchGeometry
from redheart.config import Config
from redheart.engine.compiled import compile_forward
from redheart.engine.deepspeed_access import (
    drop_gradients,
    full_parameter_outside,
    held_gradients_are_finite,
    optimized_groups,
)
from redheart.engine.deepspeed_config import deepspeed_config_file, fill_deepspeed_config
from redheart.engine.deepspeed_extensions import extensions_to_build, load_extensions
from redheart.engine.shards import Shard, broadcast_zero_shards, plain_shards, zero_shards
from redheart.errors import ConfigError, MissingRequirement
from redheart.machine import Precision, choose_precision
from redheart.messages import info
from redheart.model import Model
from redheart.model.modules.activation_checkpointing import recompute_blocks
from redheart.storage import Scalar


def _possible_precision(config: Config) -> Precision:
    precision, _ = choose_precision(config)
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("training.precision fp16 needs a CUDA device; on CPU use 'no' or 'bf16'")
    return precision


def _is_data_parallel_on_cpu() -> bool:
    return (
        deepspeed_config_file() is None and int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()
    )


class Engine:
    """Model and optimizer in the hands of Accelerate; see the module's text.

    Attributes:
        model: call it for a forward pass.
        unwrapped: the model inside.
        kind: ``plain``, ``zero1``, ``zero2`` or ``zero3``.
    """

    def __init__(self, config: Config, *, tracking_folder: Path | None = None) -> None:
        from accelerate import Accelerator
        from accelerate.utils import DeepSpeedPlugin, DistributedType, InitProcessGroupKwargs, ProjectConfiguration

        self.config = config
        self.precision = _possible_precision(config)
        self._ds_file = deepspeed_config_file()
        self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self.geometry = BatchGeometry.resolve(config.training, self.world_size)
        on_cuda = torch.cuda.is_available()
        plugin = None
        if self._ds_file is not None:
            filled = fill_deepspeed_config(self._ds_file, self._deepspeed_values())
            plugin = DeepSpeedPlugin(hf_ds_config=filled)
            missing = extensions_to_build(filled, on_cuda=on_cuda)
            if missing and os.environ.get("RANK", "0") == "0":
                info("training.building", names=", ".join(missing))
            if not on_cuda:
                os.environ.setdefault("DS_ACCELERATOR", "cpu")
            load_extensions(filled, on_cuda=on_cuda)
        is_distributed = self._ds_file is not None or self.world_size > 1
        # Without a named backend Accelerate sees a single process under DeepSpeed on the CPU; and several without
        # DeepSpeed it takes for data parallel ones, whose gradients it averages, only where it is told of the CPU.
        handlers = [InitProcessGroupKwargs(backend="gloo")] if is_distributed and not on_cuda else []
        self.accelerator = Accelerator(
            cpu=_is_data_parallel_on_cpu(),
            mixed_precision=self.precision,
            deepspeed_plugin=plugin,
            kwargs_handlers=handlers,
            step_scheduler_with_optimizer=False,
            log_with="tensorboard" if tracking_folder else None,
            project_config=ProjectConfiguration(
                project_dir=str(tracking_folder or "."), logging_dir=str(tracking_folder or ".")
            ),
        )
        is_alone = self.accelerator.distributed_type == DistributedType.NO
        if self.accelerator.num_processes != self.world_size or is_alone != (not is_distributed):
            raise MissingRequirement(
                f"the launcher started {self.world_size} processes but Accelerate sees "
                f"{self.accelerator.num_processes} ({self.accelerator.distributed_type.value}): "
                f"start with `accelerate launch --config_file launch/….yaml`"
            )
        self.kind = "plain" if plugin is None else f"zero{plugin.zero_stage}"
        self.model: Any = None
        self.unwrapped: Model
        self.optimizer: Any = None
        self._group_of: dict[str, int] = {}
        self._is_unscaled = False

    def _deepspeed_values(self) -> dict[str, Scalar]:
        training, geometry = self.config.training, self.geometry
        return {
            "train_micro_batch_size_per_gpu": geometry.micro_batch_size,
            "gradient_accumulation_steps": geometry.gradient_accumulation_steps,
            "train_batch_size": geometry.global_batch_size,
            "gradient_clipping": training.max_grad_norm,
            "bf16.enabled": self.precision == "bf16",
            "fp16.enabled": self.precision == "fp16",
            "zero_optimization.offload_optimizer.pin_memory": torch.cuda.is_available(),
            "zero_optimization.offload_param.pin_memory": torch.cuda.is_available(),
        }

    def prepare(self, model: Model, optimizer: torch.optim.Optimizer) -> None:
        """Hands both over; after this, only the engine's own methods touch weights and gradients.

        Raises:
            ConfigError: ``training.compile`` under ZeRO-3.
            MissingRequirement: ``training.compile`` without a compiler.
        """
        self.unwrapped = model
        recompute_blocks(model, self.config.training.activation_checkpointing)
        if self.config.training.compile:
            self._compile(model)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        if self.kind != "plain":
            self.unwrapped = self.model.module
        if self.is_deepspeed:
            groups = optimized_groups(self.model.optimizer)
        else:
            groups = [(number, group["params"]) for number, group in enumerate(self.optimizer.param_groups)]
        number_of = {id(parameter): number for number, parameters in groups for parameter in parameters}
        self._group_of = {
            name: number_of[id(parameter)]
            for name, parameter in self.unwrapped.named_parameters()
            if id(parameter) in number_of
        }

    def _compile(self, model: Model) -> None:
        if self.kind == "zero3":
            # It gathers each layer's weights in hooks around the layer, which no single graph can hold.
            raise ConfigError(
                f"training.compile: the forward pass can't be compiled under ZeRO-3 ({self._ds_file}): "
                "launch with launch/zero2.yaml, or set training.compile=false"
            )
        compile_forward(model)

    @property
    def device(self) -> torch.device:
        return torch.device(self.accelerator.device)

    @property
    def rank(self) -> int:
        return int(self.accelerator.process_index)

    @property
    def is_main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    @property
    def is_deepspeed(self) -> bool:
        return self.kind != "plain"

    @property
    def held(self) -> Mapping[str, int]:
        """The parameters that the optimizer holds, as it says itself: name -> number of its parameter group."""
        return self._group_of

    def decay_of_step(self) -> list[float]:
        """By parameter group: what AdamW's decay alone multiplies weights by in a step at the learning rate now set."""
        return [1.0 - group["lr"] * group["weight_decay"] for group in self.optimizer.param_groups]

    def barrier(self) -> None:
        self.accelerator.wait_for_everyone()

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Adds a piece's gradients.

        Args:
            loss: this piece's share of the global batch's loss: the shares of all pieces of all processes add up.
            is_last: whether this is the step's last piece on this process.
        """
        share = loss * self.world_size  # both engines average over processes, and the shares want the sum
        if self.is_deepspeed:
            self.model.set_gradient_accumulation_boundary(is_boundary=is_last)
            self.model.backward(share, scale_wrt_gas=False)
        else:
            self._plain_backward(share)

    def _plain_backward(self, share: Tensor) -> None:
        scaler = self.accelerator.scaler
        (scaler.scale(share) if scaler is not None else share).backward()

    def synchronise_only_last(self, *, is_last: bool) -> Any:
        """A context for forward and backward of a piece: gradients travel between processes with the last one only."""
        if self.is_deepspeed or self.world_size == 1 or is_last:
            return contextlib.nullcontext()
        return self.model.no_sync()

    def all_finite(self, loss: Tensor) -> bool:
        """Whether every process's loss of this step is finite: agreed by all."""
        flag = torch.isfinite(loss.detach()).all().to(torch.float32).reshape(1)
        return bool(self._reduce(flag, "min").item() > 0.5)

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """Element-wise sum over all processes, on every process."""
        return self._reduce(values, "sum")

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is set anywhere: agreed by all, so that all act alike."""
        if self.world_size == 1:
            return flag
        return bool(self._reduce(torch.tensor([float(flag)], device=self.device), "max").item() > 0.5)

    def _reduce(self, values: Tensor, how: str) -> Tensor:
        if self.world_size == 1:
            return values
        import torch.distributed as dist

        reduced = values.clone()
        dist.all_reduce(reduced, op={"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}[how])
        return reduced

    def gather(self, values: Tensor) -> Tensor:
        """Concatenation over processes along the first axis; every process must bring the same shape."""
        gathered: Tensor = self.accelerator.gather(values) if self.world_size > 1 else values
        return gathered

    def gradients(self) -> Iterator[tuple[str, Tensor | None]]:
        """Every parameter's whole gradient after a step's last backward, before its end. Collective under ZeRO."""
        if self.is_deepspeed:
            from deepspeed.utils import safe_get_full_grad

            for name, parameter in self.unwrapped.named_parameters():
                # Of what its optimizer does not hold DeepSpeed has no gradient to give.
                yield name, safe_get_full_grad(parameter) if name in self._group_of else parameter.grad
            return
        self._unscale()
        for name, parameter in self.unwrapped.named_parameters():
            yield name, parameter.grad

    def _unscale(self) -> None:
        """Takes fp16's loss scale out of the gradients, once a step: a second time is an error of the scaler's."""
        if self.accelerator.scaler is not None and not self._is_unscaled:
            self.accelerator.scaler.unscale_(self.optimizer.optimizer)
            self._is_unscaled = True

    def step(self) -> tuple[bool, float | None]:
        """Clips and updates; a step whose gradients are not finite is dropped instead.

        Returns:
            Whether the weights were updated – the same on every process – and the gradients' total norm before
            clipping, where the engine knows it and it is finite.
        """
        if self.is_deepspeed:
            return self._deepspeed_step()
        self._unscale()
        total = torch.nn.utils.clip_grad_norm_(self.unwrapped.parameters(), self.config.training.max_grad_norm)
        norm = float(total) if math.isfinite(float(total)) else None
        if norm is None and self.accelerator.scaler is None:
            self.skip_step()
            return False, None
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._is_unscaled = False
        return not self.accelerator.optimizer_step_was_skipped, norm

    def _deepspeed_step(self) -> tuple[bool, float | None]:
        # ZeRO-1 and 2 look for themselves; ZeRO-3 looks under fp16 only, and would clip every weight to NaN.
        if self.kind == "zero3" and self.precision != "fp16":
            flag = torch.tensor([float(held_gradients_are_finite(self.model.optimizer))], device=self.device)
            if self._reduce(flag, "min").item() < 0.5:
                self.skip_step()
                return False, None
        self.model.step()
        if not self.model.was_step_applied():
            return False, None
        norm = self.model.get_global_grad_norm()
        return True, None if norm is None or not math.isfinite(float(norm)) else float(norm)

    def skip_step(self) -> None:
        """Ends a step without an update: gradients are dropped, weights and optimizer state stay."""
        if self.is_deepspeed:
            drop_gradients(self.model)
            return
        self.optimizer.zero_grad(set_to_none=True)
        if self._is_unscaled:
            self.accelerator.scaler.update()  # or the scaler believes that the next gradients are unscaled already
            self._is_unscaled = False

    def full_state_dict(self, *, keep: bool = True) -> dict[str, Tensor]:
        """Every tensor of the model, whole, in fp32 for parameters. Collective; empty where ``keep`` is false."""
        state: dict[str, Tensor] = {}
        for name, parameter in self.unwrapped.named_parameters():
            full = self.full_parameter(name, parameter)
            if keep:
                state[name] = full.to("cpu", torch.float32, copy=True)
        if keep:
            state |= {name: buffer.detach().to("cpu", copy=True) for name, buffer in self.unwrapped.named_buffers()}
            persistent = set(self.unwrapped.state_dict().keys())
            state = {name: tensor for name, tensor in state.items() if name in persistent}
        return state

    def full_parameter(self, name: str, parameter: nn.Parameter) -> Tensor:
        """One parameter, whole, in fp32 where the engine keeps it so. Collective under ZeRO."""
        if not self.is_deepspeed:
            return parameter.detach()
        if name not in self._group_of:
            return full_parameter_outside(parameter)
        from deepspeed.utils import safe_get_full_fp32_param

        full: Tensor = safe_get_full_fp32_param(parameter)
        return full.detach().view(getattr(parameter, "ds_shape", parameter.shape))

    def weight_shapes(self) -> dict[str, list[int]]:
        """The shape of every parameter, whole."""
        return {name: list(getattr(one, "ds_shape", one.shape)) for name, one in self.unwrapped.named_parameters()}

    def weight_shards(self) -> dict[str, Shard]:
        """The fp32 weights that this process holds, by parameter: see ``shares.py``."""
        if not self.is_deepspeed:
            return plain_shards(self.unwrapped)
        held = {name: one for name, one in self.unwrapped.named_parameters() if name in self._group_of}
        return zero_shards(self.model.optimizer, held, stage=self._zero_stage, rank=self.rank)

    def broadcast_weights(self) -> None:
        """Lets the forward pass see what was written into ``weight_shards``. Collective under ZeRO."""
        if self.is_deepspeed:
            broadcast_zero_shards(self.model.optimizer, stage=self._zero_stage)

    @property
    def _zero_stage(self) -> int:
        return int(self.kind.removeprefix("zero"))

    def save_state(self, folder: Path) -> None:
        """Writes what resuming needs of weights, optimizer and random states. Collective."""
        self.accelerator.save_state(str(folder))

    def load_state(self, folder: Path) -> None:
        """Reads it back; the caller has checked that the files are this run's own. Collective."""
        self.accelerator.load_state(str(folder))


@contextlib.contextmanager
def wait_for_first_process() -> Iterator[None]:
    """The first process runs the body; the others wait for it and run it then, finding its files."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    from accelerate import PartialState
    from accelerate.utils import InitProcessGroupKwargs

    on_cuda = torch.cuda.is_available()
    settings = {} if on_cuda else InitProcessGroupKwargs(backend="gloo").to_kwargs()
    state = PartialState(cpu=_is_data_parallel_on_cpu(), **settings)
    with state.main_process_first():
        yield
