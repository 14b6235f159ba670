"""The strategies: who holds what of weights, gradients and optimizer state, and the launch file that starts each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["plain", "ddp", "zero1", "zero2", "zero3"]
_NAMES = {"plain": "plain", "ddp": "data parallel", "zero1": "ZeRO-1", "zero2": "ZeRO-2", "zero3": "ZeRO-3"}


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to train.

    Attributes:
        kind: ``plain`` is one process; the others are one process a device.
        offloads_optimizer: the optimizer's state lies in host memory, and its step is taken there.
        offloads_parameters: the weights lie in host memory too, and are brought to the device layer by layer; ZeRO-3 only.
        recomputes: activation checkpointing: blocks keep their inputs alone for the backward pass.
    """

    kind: Kind
    offloads_optimizer: bool = False
    offloads_parameters: bool = False
    recomputes: bool = False

    @property
    def is_sharded(self) -> bool:
        return self.kind.startswith("zero")

    @property
    def name(self) -> str:
        """As people read it."""
        offloaded = {(True, False): ", optimizer offload", (True, True): ", offload"}
        return _NAMES[self.kind] + offloaded.get((self.offloads_optimizer, self.offloads_parameters), "")

    @property
    def full_name(self) -> str:
        """With activation checkpointing, in a log or a file."""
        return self.name + (" with activation checkpointing" if self.recomputes else "")

    def launch_file(self, *, on_gpu: bool) -> str | None:
        """Below the project's folder, for ``accelerate launch --config_file``; None: no launcher is needed, one process is."""
        if self.kind == "plain":
            return None
        if self.kind == "ddp":
            return "launch/multi_gpu.yaml" if on_gpu else "launch/multi_cpu.yaml"
        suffix = "_offload" if self.offloads_parameters else "_optimizer_offload" if self.offloads_optimizer else ""
        if self.kind == "zero2" and self.offloads_optimizer:
            suffix = "_offload"
        return f"launch/{self.kind}{suffix}.yaml"


_WAYS: tuple[tuple[Kind, bool, bool], ...] = (
    ("plain", False, False),
    ("ddp", False, False),
    ("zero1", False, False),
    ("zero2", False, False),
    ("zero3", False, False),
    ("zero2", True, False),
    ("zero3", True, False),
    ("zero3", True, True),
)
#: What there is, the simplest first: of two that fit and are as fast, the one that stands first is taken.
STRATEGIES = tuple(Strategy(*way, recomputes) for way in _WAYS for recomputes in (False, True))
