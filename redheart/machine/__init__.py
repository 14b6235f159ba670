"""The machine: devices, memory and disk, and the precision that follows from them."""

from redheart.machine.choices import Precision, choose_precision, inference_device
from redheart.machine.gpus import Gpu, find_gpus
from redheart.machine.inspection import GIB, Machine, capacity, host_memory, inspect_machine, processor_name

__all__ = [
    "GIB",
    "Gpu",
    "Machine",
    "Precision",
    "capacity",
    "choose_precision",
    "find_gpus",
    "host_memory",
    "inference_device",
    "inspect_machine",
    "processor_name",
]
