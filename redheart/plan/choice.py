"""The choice among strategies: what fits, in the largest micro-batch that does, and which of those is the fastest.

What offloads is taken only where nothing fits that does not, however fast it may seem.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from redheart.errors import ConfigError
from redheart.machine import Precision
from redheart.plan.hardware import Hardware
from redheart.plan.memory import Estimate, Job, estimate
from redheart.plan.model_size import ModelSize
from redheart.plan.speed import StepTime, step_time
from redheart.plan.strategies import STRATEGIES, Strategy


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be trained.

    Attributes:
        micro_batch: asked for, as ``passes``, forward passes a step, may be; None: the largest that fits.
        recomputes: whether activation checkpointing was asked for; None: as the plan sees fit.
        situations: see ``Job``.
    """

    preset: str
    precision: Precision
    global_batch: int
    segments: int
    d_embed: int = 384
    micro_batch: int | None = None
    passes: int | None = None
    recomputes: bool | None = None
    doubles: bool = False
    has_average: bool = False
    situations: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A strategy on some hardware.

    Attributes:
        job: with the largest micro-batch that fits; a single situation where none does.
        lacks: bytes that a GPU and that a node's memory lack; (0, 0) where it fits.
    """

    strategy: Strategy
    job: Job
    hardware: Hardware
    estimate: Estimate
    lacks: tuple[int, int]

    @property
    def time(self) -> StepTime:
        return step_time(self.strategy, self.job, self.hardware)

    @property
    def fits(self) -> bool:
        return not any(self.lacks)

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The smaller the better: without offload, then the faster."""
        return self.strategy.offloads_parameters, self.strategy.offloads_optimizer, self.time.total


@dataclass(frozen=True, slots=True)
class Plan:
    """All strategies, and the one that is taken: None where none fits."""

    request: Request
    hardware: Hardware
    size: ModelSize
    rows: tuple[Row, ...]
    chosen: Row | None

    @property
    def taken(self) -> Row:
        """The one that is taken, where one fits."""
        assert self.chosen is not None
        return self.chosen

    @property
    def closest(self) -> Row:
        """Of those that do not fit, the one that lacks least."""
        return min(self.rows, key=lambda row: sum(row.lacks))


def make_plan(request: Request, hardware: Hardware) -> Plan:
    """Looks at every strategy that makes sense on the hardware.

    Raises:
        ConfigError: the batch can't be shared by the devices, or not be cut as it was asked for; or fp16 without a GPU.
        KeyError: there is no such preset.
    """
    if request.precision == "fp16" and not hardware.has_gpu:
        raise ConfigError("training.precision fp16 needs a CUDA device; on CPU use 'no' or 'bf16'")
    sizes = _shares(request, hardware)
    size = ModelSize.of(request.preset, d_embed=request.d_embed, segments=request.segments, precision=request.precision)
    rows = tuple(_row(strategy, request, hardware, size, sizes) for strategy in _possible(request, hardware))
    return Plan(request, hardware, size, rows, _best(rows))


def _best(rows: Sequence[Row]) -> Row | None:
    """To compute activations again only costs time, where they fit."""
    kept = {replace(row.strategy, recomputes=True) for row in rows if row.fits and not row.strategy.recomputes}
    fitting = [row for row in rows if row.fits and not (row.strategy.recomputes and row.strategy in kept)]
    return fitting[0] if len(fitting) == 1 else min(fitting, key=lambda row: row.rank, default=None)


def _possible(request: Request, hardware: Hardware) -> Iterator[Strategy]:
    """On the CPU one process has all cores and all memory: to share them gains nothing, and offload moves nothing.

    In bf16 DeepSpeed has an optimizer of its own for ZeRO-1, which keeps gradients whole; ZeRO-2 is the same with less.
    """
    for strategy in STRATEGIES:
        is_wanted = request.recomputes in (None, strategy.recomputes)
        is_alone = strategy.kind == "plain" or strategy.offloads_optimizer
        is_shared = strategy.kind != "plain"
        moves = not strategy.offloads_optimizer or hardware.has_gpu
        is_there = strategy.kind != "zero1" or request.precision != "bf16"
        if is_wanted and is_there and moves and (is_alone if hardware.devices == 1 else is_shared):
            yield strategy


def _shares(request: Request, hardware: Hardware) -> list[int]:
    """Micro-batches that a device's share of the global batch can be cut into, the largest first.

    Raises:
        ConfigError: the batch can't be shared, or not be cut as it was asked for.
    """
    share, rest = divmod(request.global_batch, hardware.devices)
    if rest or not share:
        nearest = max(1, round(request.global_batch / hardware.devices)) * hardware.devices
        raise ConfigError(
            f"training.global_batch_size {request.global_batch} can't be shared evenly by {hardware.devices} processes; "
            f"the nearest that can: {nearest}"
        )
    sizes = [size for size in range(share, 0, -1) if share % size == 0]
    asked = request.micro_batch or (share // request.passes if request.passes else None)
    if asked is None:
        return sizes
    if asked not in sizes or (request.passes and asked * request.passes != share):
        raise ConfigError(
            f"training.micro_batch_size {request.micro_batch or 'null'} and training.gradient_accumulation_steps "
            f"{request.passes or 'null'} do not make up the {share} situations of each of {hardware.devices} processes "
            f"(training.global_batch_size {request.global_batch})"
        )
    return [asked]


def _row(strategy: Strategy, request: Request, hardware: Hardware, size: ModelSize, sizes: list[int]) -> Row:
    share = request.global_batch // hardware.devices
    job = Job(
        size,
        request.precision,
        hardware.devices,
        hardware.devices // hardware.nodes,
        sizes[0],
        share // sizes[0],
        hardware.has_gpu,
        request.d_embed,
        request.doubles,
        request.has_average,
        request.situations,
    )
    for micro_batch in sizes:
        job = replace(job, micro_batch=micro_batch, passes=share // micro_batch)
        found = estimate(strategy, job)
        if not any(lacks := _lacking(found, hardware)):
            break
    return Row(strategy, job, hardware, found, lacks)


def _lacking(found: Estimate, hardware: Hardware) -> tuple[int, int]:
    on_device = found.device_needed - hardware.usable_gpu_bytes if hardware.has_gpu else 0
    return max(0, on_device), max(0, found.host_needed - hardware.usable_host_bytes)
