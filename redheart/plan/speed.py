"""The time of a step, roughly: arithmetic, traffic in memory, between processes, and to and from host memory.

It ranks strategies and foretells hours; it is no measurement. A device's figures are its maker's; what training reaches of them is
a share that was measured on an H100 (``benchmarks/results/gpu_all.json``) and taken for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from redheart.plan.hardware import Hardware
from redheart.plan.memory import Job
from redheart.plan.strategies import Strategy


@dataclass(frozen=True, slots=True)
class Device:
    """FLOP/s in 16 bits and in fp32 (TF32 is not used), and bytes/s of its memory, at their peak."""

    flops_16: float
    flops_32: float
    bandwidth: float


#: By a word of the driver's name for it; the makers' data sheets, dense, tensor cores in 16 bits.
_DEVICES = {
    "H200": Device(989e12, 67e12, 4.8e12),
    "H100": Device(989e12, 67e12, 3.35e12),
    "A100": Device(312e12, 19.5e12, 1.9e12),
    "L40S": Device(362e12, 91e12, 0.86e12),
    "L4": Device(121e12, 30e12, 0.3e12),
    "A10": Device(125e12, 31e12, 0.6e12),
    "V100": Device(112e12, 15.7e12, 0.9e12),
    "T4": Device(65e12, 8e12, 0.32e12),
    "4090": Device(165e12, 83e12, 1.0e12),
    "3090": Device(71e12, 36e12, 0.94e12),
    "3070": Device(41e12, 20e12, 0.45e12),
}
_SOME_GPU = Device(100e12, 25e12, 0.8e12)
#: A core of a server's CPU: FLOP/s of a matrix product in fp32, and what all cores together read and write of memory.
_CORE_FLOPS, _HOST_BANDWIDTH = 40e9, 20e9
#: Bytes/s over PCIe 4.0 ×16 from pinned memory; between GPUs of a node over PCIe; between nodes; between processes by gloo.
_PCIE, _PEERS, _NETWORK, _GLOO = 20e9, 12e9, 6e9, 1.5e9
#: Of a device's peak that matrix products of this model reach, and passes over memory.
_REACHED_FLOPS, _REACHED_BANDWIDTH = 0.45, 0.75
#: Seconds a parameter tensor that the host takes to start a GPU's work, of a step and of each of its passes; ZeRO's hooks come
#: with every pass. Measured on an H100's host with 730m in one process; that of ZeRO-3 with its weights offloaded.
_STARTING_A_STEP, _STARTING_A_PASS = 170e-6, {"zero1": 580e-6, "zero2": 580e-6, "zero3": 2e-3}
_STARTING_A_PLAIN_PASS = 70e-6
#: Bytes a parameter that a step moves through a device's memory, beside activations: AdamW 28, clipping 12, norms 4, casts 6.
_STEP_TRAFFIC = 50


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of an optimizer step, by what they go to.

    Attributes:
        starting: that the host takes to start a GPU's work, which goes on meanwhile: the step takes no less.
    """

    arithmetic: float
    memory: float
    exchange: float
    offload: float
    starting: float

    @property
    def total(self) -> float:
        return max(self.starting, self.arithmetic + self.memory + self.exchange + self.offload)


def device_of(hardware: Hardware) -> Device:
    """What it computes on; a GPU that is not known is taken for a middling one."""
    if not hardware.has_gpu:
        flops = _CORE_FLOPS * hardware.cores
        return Device(flops, flops, _HOST_BANDWIDTH)
    name = hardware.gpu_name or ""
    return next((device for word, device in _DEVICES.items() if word in name), _SOME_GPU)


def step_time(strategy: Strategy, job: Job, hardware: Hardware) -> StepTime:
    """Of one step of a job."""
    device, count, size = device_of(hardware), job.size.parameters, job.size
    wide = 2 if job.precision != "no" and strategy.is_sharded else 4
    # Processes of one CPU share its cores and its memory.
    share = 1.0 if hardware.has_gpu else 1.0 / job.on_node
    flops = 3 * size.flops + (size.flops_in_blocks if strategy.recomputes else 0)
    situations = job.micro_batch * job.passes * (2 if job.doubles else 1)
    peak = device.flops_32 if job.precision == "no" else device.flops_16
    held = count / job.processes if strategy.is_sharded else count
    on_device = 0.0 if strategy.offloads_optimizer and hardware.has_gpu else _STEP_TRAFFIC * held
    bandwidth = device.bandwidth * share * _REACHED_BANDWIDTH
    return StepTime(
        arithmetic=flops * situations / (peak * share * _REACHED_FLOPS),
        memory=(on_device + 3 * wide * count * job.passes) / bandwidth,
        exchange=_exchange(strategy, job, hardware, wide),
        offload=_offload(strategy, job, held, wide) if hardware.has_gpu else 0.0,
        starting=_starting(strategy, job) if hardware.has_gpu else 0.0,
    )


def _starting(strategy: Strategy, job: Job) -> float:
    return job.size.tensors * (
        _STARTING_A_STEP + job.passes * _STARTING_A_PASS.get(strategy.kind, _STARTING_A_PLAIN_PASS)
    )


def _exchange(strategy: Strategy, job: Job, hardware: Hardware, wide: int) -> float:
    """Seconds: gradients are summed and shared out once a step; ZeRO-3 gathers weights twice a pass and scatters gradients."""
    link = _GLOO if not hardware.has_gpu else _PEERS if hardware.nodes == 1 else _NETWORK
    sent = job.size.parameters * (job.processes - 1) / job.processes
    return (3 * wide * job.passes if strategy.kind == "zero3" else 2 * wide) * sent / link


def _offload(strategy: Strategy, job: Job, held: float, wide: int) -> float:
    """Seconds: gradients to host memory, weights back, and AdamW's passes over the state there."""
    if not strategy.offloads_optimizer:
        return 0.0
    moved = (4 + wide) * held + (2 * wide * held * job.passes if strategy.offloads_parameters else 0)
    return moved / _PCIE + 28 * held * job.on_node / _HOST_BANDWIDTH


def busy_from(strategy: Strategy, job: Job, hardware: Hardware) -> int:
    """The global batch from which arithmetic takes as long as all that a step takes whatever its batch is.

    Below it the device waits for memory and for exchange more than it computes.
    """
    now = step_time(strategy, job, hardware)
    situations = job.micro_batch * job.passes * job.processes
    return -(-int(situations * (now.total - now.arithmetic) / now.arithmetic) // job.processes) * job.processes
