"""The part of the engine's contract that Accelerate keeps for every strategy: processes, states, trackers, full state dicts."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redheart.config import Config
from redheart.engine import resume_files
from redheart.engine.compiled import compile_forward
from redheart.engine.launch import Launch, is_data_parallel_on_cpu
from redheart.engine.resume_files import LossScale
from redheart.engine.shards import Shard
from redheart.errors import ConfigError, MissingRequirement
from redheart.model import Model
from redheart.model.modules.activation_checkpointing import recompute_blocks


class AcceleratedEngine(ABC):
    """What the engines have in common; ``contract.py`` says what each method is for.

    Args:
        plugin: Accelerate's ``DeepSpeedPlugin``; None for plain PyTorch.
        tracking_folder: where trackers write; None: there are none.

    Raises:
        MissingRequirement: Accelerate sees other processes than the launcher started.
    """

    def __init__(self, config: Config, launch: Launch, *, plugin: Any, tracking_folder: Path | None) -> None:
        self.config = config
        self.precision, self.world_size, self.geometry = launch.precision, launch.world_size, launch.geometry
        self.accelerator = _make_accelerator(launch, plugin, tracking_folder)
        self.model: Any = None
        self.unwrapped: Model
        self.optimizer: Any = None
        #: By name: to walk through the modules takes longer than a small model's norms.
        self._parameters: dict[str, nn.Parameter] = {}
        self._group_of: dict[str, int] = {}

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
    def scales_loss(self) -> bool:
        return self.precision == "fp16"

    @property
    def held(self) -> Mapping[str, int]:
        return self._group_of

    @property
    @abstractmethod
    def is_compilable(self) -> bool: ...

    def prepare(self, model: Model, optimizer: torch.optim.Optimizer) -> None:
        self.unwrapped = model
        recompute_blocks(model, self.config.training.activation_checkpointing)
        if self.config.training.compile:
            if not self.is_compilable:
                raise ConfigError(self._why_not_compilable())
            compile_forward(model)
        self.model, self.optimizer = self._hand_over(model, optimizer)
        self.unwrapped = self._inner_model()
        self._parameters = dict(self.unwrapped.named_parameters())
        number_of = {id(one): number for number, parameters in self._groups() for one in parameters}
        self._group_of = {name: number_of[id(one)] for name, one in self._parameters.items() if id(one) in number_of}

    def _hand_over(self, model: Model, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        """Both as the strategy wraps them."""
        model, optimizer = self.accelerator.prepare(model, optimizer)
        return model, optimizer

    def _why_not_compilable(self) -> str:
        return "training.compile: this engine can't compile the forward pass"

    @abstractmethod
    def _inner_model(self) -> Model:
        """The model inside ``model``, once it is prepared."""

    @abstractmethod
    def _groups(self) -> list[tuple[int, list[nn.Parameter]]]:
        """What the optimizer holds, with the number of the parameter group each belongs to."""

    def autocast(self) -> AbstractContextManager[Any]:
        found: AbstractContextManager[Any] = self.accelerator.autocast()
        return found

    def decay_of_step(self) -> list[float]:
        return [1.0 - group["lr"] * group["weight_decay"] for group in self.optimizer.param_groups]

    def barrier(self) -> None:
        self.accelerator.wait_for_everyone()

    def all_finite(self, loss: Tensor) -> bool:
        flag = torch.isfinite(loss.detach()).all().to(torch.float32).reshape(1)
        return bool(self._reduce(flag, "min").item() > 0.5)

    def sum_over_processes(self, values: Tensor) -> Tensor:
        return self._reduce(values, "sum")

    def any_rank(self, flag: bool) -> bool:
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

    def gather_objects(self, one: Any) -> list[Any]:
        if self.world_size == 1:
            return [one]
        import torch.distributed as dist

        gathered: list[Any] = [None] * self.world_size
        dist.all_gather_object(gathered, one)
        return gathered

    def keeping_casts(self) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def gather(self, values: Tensor) -> Tensor:
        gathered: Tensor = self.accelerator.gather(values) if self.world_size > 1 else values
        return gathered

    @abstractmethod
    def full_parameter(self, name: str, parameter: nn.Parameter) -> Tensor: ...

    def full_state_dict(self, *, keep: bool = True) -> dict[str, Tensor]:
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

    def weight_shapes(self) -> dict[str, list[int]]:
        return {name: list(getattr(one, "ds_shape", one.shape)) for name, one in self.unwrapped.named_parameters()}

    def held_shards(self) -> dict[str, Shard]:
        """The fp32 weights that this process's optimizer steps on."""
        return {name: shard for name, shard in self.weight_shards().items() if name in self._group_of}

    def outside_tensors(self) -> dict[str, Tensor]:
        """What the optimizer does not hold: buffers that are saved and frozen parameters, whole, on the CPU. Collective."""
        found: dict[str, Tensor] = {}
        for name, one in self.unwrapped.named_parameters():
            if name not in self._group_of:
                found[name] = self.full_parameter(name, one)
        saved = self.unwrapped.state_dict().keys()
        found |= {name: one.detach() for name, one in self.unwrapped.named_buffers() if name in saved}
        return {name: one.to("cpu", copy=True).contiguous() for name, one in found.items()}

    def set_outside_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse. Collective."""
        with torch.no_grad():
            for name, one in self.unwrapped.named_parameters():
                if name not in self._group_of:
                    self.set_outside(one, tensors[name])
            for name, buffer in self.unwrapped.named_buffers():
                if name in tensors:
                    buffer.copy_(tensors[name])

    def set_outside(self, parameter: nn.Parameter, value: Tensor) -> None:
        """Writes a parameter that the optimizer does not hold. Collective under ZeRO."""
        parameter.copy_(value)

    @abstractmethod
    def weight_shards(self) -> dict[str, Shard]: ...

    @abstractmethod
    def broadcast_weights(self) -> None: ...

    @property
    @abstractmethod
    def shards_state(self) -> bool: ...

    @abstractmethod
    def optimizer_state(self) -> Any:
        """What the torch optimizer inside keeps, by the tensor that it steps on."""

    @abstractmethod
    def make_optimizer_state(self, steps: Mapping[str, int]) -> None:
        """Makes what the optimizer's first step would make, zeros for both moments, without a step; of what has none, nothing.

        Args:
            steps: that were taken, by parameter.
        """

    @abstractmethod
    def loss_scale(self) -> LossScale | None:
        """fp16's; None under any other precision."""

    @abstractmethod
    def set_loss_scale(self, found: LossScale) -> None: ...

    def save_state(self, folder: Path, beside: Mapping[str, Mapping[str, Tensor]]) -> None:
        resume_files.save(self, folder, beside)

    def load_state(self, folder: Path, beside: Mapping[str, Mapping[str, Tensor]]) -> None:
        resume_files.load(self, folder, beside)

    def load_older_state(self, folder: Path) -> None:
        self.accelerator.load_state(str(folder))

    def start_tracking(self, name: str, *, after_step: int = 0) -> None:
        going_on = {"purge_step": after_step + 1} if after_step else {}
        self.accelerator.init_trackers(name, init_kwargs={"tensorboard": going_on})

    def track(self, values: Mapping[str, float], *, step: int) -> None:
        self.accelerator.log(dict(values), step=step)

    def finish_tracking(self) -> None:
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def free(self) -> None:
        self.accelerator.free_memory()

    def end(self) -> None:
        self.accelerator.end_training()


def _make_accelerator(launch: Launch, plugin: Any, tracking_folder: Path | None) -> Any:
    from accelerate import Accelerator
    from accelerate.utils import DistributedType, InitProcessGroupKwargs, ProjectConfiguration

    # Without a named backend Accelerate sees a single process under DeepSpeed on the CPU; and several without
    # DeepSpeed it takes for data parallel ones, whose gradients it averages, only where it is told of the CPU.
    is_gloo = launch.is_distributed and not torch.cuda.is_available()
    folder = str(tracking_folder or ".")
    accelerator = Accelerator(
        cpu=is_data_parallel_on_cpu(),
        mixed_precision=launch.precision,
        deepspeed_plugin=plugin,
        kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")] if is_gloo else [],
        step_scheduler_with_optimizer=False,
        log_with="tensorboard" if tracking_folder else None,
        project_config=ProjectConfiguration(project_dir=folder, logging_dir=folder),
    )
    is_alone = accelerator.distributed_type == DistributedType.NO
    if accelerator.num_processes != launch.world_size or is_alone != (not launch.is_distributed):
        raise MissingRequirement(
            f"the launcher started {launch.world_size} processes but Accelerate sees "
            f"{accelerator.num_processes} ({accelerator.distributed_type.value}): "
            f"start with `accelerate launch --config_file launch/….yaml`"
        )
    return accelerator
