"""The launch of this process, read once: the number of processes, the DeepSpeed file, the precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from redheart.batches.order import BatchGeometry
from redheart.config import Config
from redheart.engine.launch_variables import (
    accumulation_asked,
    deepspeed_config_file,
    device_asked,
    is_first_process,
    precision_asked,
    world_size,
)
from redheart.engine.zero.config import fill_deepspeed_config
from redheart.engine.zero.extensions import provide_extensions
from redheart.errors import ConfigError
from redheart.machine import Precision, choose_precision


@dataclass(frozen=True)
class Launch:
    """What the launcher decided, and what follows from it for a configuration.

    Attributes:
        precision: ``no`` (fp32), ``bf16`` or ``fp16``.
        deepspeed_file: the DeepSpeed JSON that the launcher named; None: none.
    """

    world_size: int
    is_first: bool
    precision: str
    geometry: BatchGeometry
    deepspeed_file: Path | None

    @staticmethod
    def of(config: Config) -> Launch:
        """The launch of this process.

        Raises:
            ConfigError: precision, batch or DeepSpeed file can't be had here.
        """
        precision, file = _possible_precision(config), deepspeed_config_file()
        geometry = BatchGeometry.resolve(config.training, world_size())
        _check_launcher_agrees(precision, geometry)
        return Launch(
            world_size=world_size(),
            is_first=is_first_process(),
            precision=precision,
            geometry=geometry,
            deepspeed_file=file,
        )

    @property
    def is_distributed(self) -> bool:
        """Whether there is a group of processes: DeepSpeed makes one of a single process too."""
        return self.deepspeed_file is not None or self.world_size > 1


def is_data_parallel_on_cpu() -> bool:
    """Several processes without DeepSpeed and without a GPU: what Accelerate has to be told of."""
    return deepspeed_config_file() is None and world_size() > 1 and not torch.cuda.is_available()


def _check_launcher_agrees(precision: Precision, geometry: BatchGeometry) -> None:
    """What the launcher says of a training is not ignored in silence: it is ours too, or an error.

    Raises:
        ConfigError: naming both places.
    """
    asked = precision_asked()
    if asked not in (None, precision):
        raise ConfigError(
            f"the launcher's mixed precision (ACCELERATE_MIXED_PRECISION) is {asked!r}, but training.precision comes to "
            f"{precision!r}; let the launcher say 'no', and set training.precision"
        )
    steps = accumulation_asked()
    if steps not in (None, geometry.gradient_accumulation_steps):
        raise ConfigError(
            f"the launcher's gradient accumulation (ACCELERATE_GRADIENT_ACCUMULATION_STEPS) is {steps}, but the batch's comes to "
            f"{geometry.gradient_accumulation_steps}; set training.gradient_accumulation_steps={steps}, or leave it out of the launch"
        )
    device = device_asked()
    if device not in (None, "cpu") and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise ConfigError(
            f"environment variable ACCELERATE_TORCH_DEVICE: found {device!r}, which this machine can't train on; without it: "
            "unset ACCELERATE_TORCH_DEVICE"
        )


def _possible_precision(config: Config) -> Precision:
    precision, _ = choose_precision(config)
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("training.precision fp16 needs a CUDA device; on CPU use 'no' or 'bf16'")
    return precision


@contextlib.contextmanager
def wait_for_first_process() -> Iterator[None]:
    """The first process runs the body; the others wait for it and run it then, finding its files."""
    if world_size() == 1:
        yield
        return
    from accelerate import PartialState
    from accelerate.utils import InitProcessGroupKwargs

    if (file := deepspeed_config_file()) is not None:
        provide_extensions(fill_deepspeed_config(file, {}))  # DeepSpeed makes the group then
    on_cuda = torch.cuda.is_available()
    settings = {} if on_cuda else InitProcessGroupKwargs(backend="gloo").to_kwargs()
    state = PartialState(cpu=is_data_parallel_on_cpu(), **settings)
    with state.main_process_first():
        yield
