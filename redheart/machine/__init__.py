"""The machine: devices, memory and disk, and the preset and precision that follow from them."""

from redheart.machine.choices import Precision, choose_precision, choose_preset, inference_device
from redheart.machine.gpus import Gpu
from redheart.machine.inspection import GIB, Machine, host_memory, inspect_machine

__all__ = [
    "GIB",
    "Gpu",
    "Machine",
    "Precision",
    "choose_precision",
    "choose_preset",
    "host_memory",
    "inference_device",
    "inspect_machine",
]
