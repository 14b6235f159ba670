"""The memory of a training, by part, for each strategy: the formulas, each with where it is from.

With *P* parameters, *N* processes, *w* bytes a weight that the forward pass reads (4; under ZeRO in 16 bits 2), a process holds:

================ ============== ==================== ==================== =====================
bytes            plain, DDP     ZeRO-1               ZeRO-2               ZeRO-3
================ ============== ==================== ==================== =====================
weights          4 P            w P                  w P                  w P / N + live
fp32 master      –              4 P / N              4 P / N              4 P / N
gradients        4 P (+ 2 P)    4 P + 4 P / N        4 P / N              4 P / N (+ 2 P / N)
moments          8 P            8 P / N              8 P / N              8 P / N
in AdamW's step  –              4 P / N              4 P / N              4 × sub-group
================ ============== ==================== ==================== =====================

Plain is PyTorch's AdamW over fp32 weights, whose fused step needs nothing besides; data parallel sums its gradients in one bucket
(``redheart.engine.gradient_sum``). ZeRO's rows are DeepSpeed's own tensors, seen as they were made (0.19.8, its ``stage_1_and_2.py`` and
``stage3.py``): an fp32 copy of the weights in fp32 too; before the optimizer's step one flat copy of the gradients of a group (1, 2)
or of a sub-group (3); in ZeRO-3 under 16 bits the gradients' 16-bit partitions beside. *Live* is what ZeRO-3 has gathered: as much as
``zero_sizes.py`` lets it, at least two of the largest layers, and the small tensors that stay. Activations are counted
(``activations.py``). What is in brackets is there in 16 bits, for plain in a step of several passes; ZeRO-1 has whole gradients only then.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from redheart.machine import GIB, Precision
from redheart.plan.model_size import ModelSize
from redheart.plan.strategies import Strategy
from redheart.plan.zero_sizes import zero_sizes

#: What a process that has its imports grows by beside tensors until its first step: modules loaded late, threads, the heap's holes.
#: Measured on two cores: 113 to 118 MiB, whatever the preset.
PROCESS_BYTES = 115 << 20
#: Of that, what a plain process has taken before its first step.
PREPARED_BYTES = 70 << 20
#: A process with the libraries that training imports, before anything else: 171 MiB, with DeepSpeed 189.
IMPORT_BYTES = 190 << 20
#: Of gradients that are summed at once between data parallel processes.
SUM_BUCKET = 25 << 20
#: Widths of the closed-form start: four views and the RBF activations, in double precision; a decomposition keeps four matrices.
_START_MATRICES, _START_CENTRES = 4, 1536


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained, and in how many pieces.

    Attributes:
        processes: in all; ``on_node``: of them on one node.
        micro_batch: situations a forward pass; ``passes``: forward passes a step.
        doubles: R-Drop passes each situation twice.
        has_average: a running average of the weights is kept.
        situations: of the training split, for the start in closed form; None: there is no such start.
    """

    size: ModelSize
    precision: Precision
    processes: int
    on_node: int
    micro_batch: int
    passes: int
    on_gpu: bool
    d_embed: int = 384
    doubles: bool = False
    has_average: bool = False
    situations: int | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """Bytes by part, of a process on its device or of a node in its memory, when a step needs the most.

    Attributes:
        buffers: of communication, gathered layers, and what the optimizer's step makes.
        process: what a process takes beside tensors.
    """

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    average: int = 0
    activations: int = 0
    buffers: int = 0
    process: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, one.name) for one in fields(self))

    def times(self, count: int) -> Parts:
        return Parts(**{one.name: getattr(self, one.name) * count for one in fields(self)})

    def __add__(self, other: Parts) -> Parts:
        return Parts(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a strategy takes.

    Attributes:
        device: of one GPU; nothing without one.
        host: of a node, over its processes.
        phases: bytes of a node's memory over imports, by phase: ``model``, ``prepared``, ``step``, ``save``; ``start``: the
            closed form, one process after another, before ``prepared``.
        save: what a checkpoint takes besides, of a node's memory, if it is there; it is written without, where it is not.
    """

    device: Parts
    host: Parts
    phases: dict[str, int]
    save: int

    @property
    def host_needed(self) -> int:
        """The most that a node needs at any time, processes and imports included."""
        return max(self.host.total, *self.phases.values())


def estimate(strategy: Strategy, job: Job) -> Estimate:
    """The memory of a job under a strategy, by the formulas above."""
    held = _held(strategy, job)
    process = Parts(process=PROCESS_BYTES + IMPORT_BYTES)
    if job.on_gpu:
        device, host = _split(strategy, job, held)
        node = (host + process).times(job.on_node)
    else:
        device, node = Parts(), (held + process).times(job.on_node)
    return Estimate(device, node, _phases(strategy, job, node), 4 * job.size.parameters)


def _held(strategy: Strategy, job: Job) -> Parts:
    """Of one process, wherever it lies."""
    count, shard = job.size.parameters, -(-job.size.parameters // job.processes)
    has_16_bits = job.precision != "no"
    activations = job.size.recomputed if strategy.recomputes else job.size.activations
    situations = job.micro_batch * (2 if job.doubles else 1)
    kept = situations * (activations.a_situation + activations.inside)
    average = 4 * (shard if strategy.is_sharded else count) if job.has_average else 0
    if not strategy.is_sharded:
        buckets = SUM_BUCKET if strategy.kind == "ddp" else 0
        # In 16 bits a later pass has the gradients of the weights' casts, before they are added to the others.
        of_casts = 2 * count if has_16_bits and job.passes > 1 else 0
        # Of a step's only pass the activations are there first, and go as gradients come; of a later one both are there.
        overlap = 0 if job.passes > 1 else min(4 * count, activations.once + kept)
        return Parts(4 * count, 4 * count + of_casts, 8 * count, average, activations.once + kept - overlap, buckets)
    wide, sizes = 2 if has_16_bits else 4, zero_sizes(on_gpu=job.on_gpu)
    buffers = 2 * sizes.bucket * wide
    if strategy.kind == "zero3":
        gathered = min(count, max(2 * job.size.largest_layer, sizes.live))
        live = wide * (gathered + job.size.in_small_tensors)
        halves = 2 * shard if has_16_bits else 0
        return Parts(
            wide * shard + live,
            4 * shard + halves,
            12 * shard,
            average,
            kept,
            max(buffers, 4 * min(sizes.sub_group, shard)),
        )
    gradients = 4 * shard + (4 * count if strategy.kind == "zero1" and job.passes > 1 else 0)
    # What is in flight in the backward pass is gone when the optimizer's step makes its copy.
    return Parts(wide * count, gradients, 12 * shard, average, kept, max(buffers, 4 * shard))


def _split(strategy: Strategy, job: Job, held: Parts) -> tuple[Parts, Parts]:
    """What lies on a process's GPU, and what in host memory."""
    shard = -(-job.size.parameters // job.processes)
    wide = 2 if job.precision != "no" else 4
    if not strategy.offloads_optimizer:
        return held, Parts()
    buffers = 2 * zero_sizes(on_gpu=True).bucket * wide
    # Gradients leave the device in buckets; master, moments, flat gradients and the copy that the step reads are in pinned memory.
    device = Parts(held.weights, 0, 0, held.average, held.activations, buffers)
    host = Parts(0, 8 * shard, 12 * shard, 0, 0, 0)
    if strategy.offloads_parameters:
        device = Parts(held.weights - wide * shard, 0, 0, held.average, held.activations, buffers)
        host = Parts(wide * shard, 8 * shard, 12 * shard, 0, 0, 0)
    return device, host


def _phases(strategy: Strategy, job: Job, node: Parts) -> dict[str, int]:
    """Of a node, over imports. Each process makes the model in fp32 in host memory before it is prepared.

    When a checkpoint is saved, gradients are gone, but not to the system: glibc keeps what they had, or DeepSpeed does.
    """
    count, shard = job.size.parameters, -(-job.size.parameters // job.processes)
    wide = 2 if job.precision != "no" and strategy.is_sharded else 4
    model = job.on_node * 4 * count
    prepared = 4 * count
    if strategy.kind in ("zero1", "zero2"):
        prepared = wide * count + 4 * shard
    elif strategy.kind == "zero3":
        prepared = (wide + 4 + 4) * shard
    width = 4 * job.d_embed + _START_CENTRES
    start = 0
    if job.situations is not None:
        start = _START_MATRICES * 8 * width**2 + job.situations * (16 * job.d_embed + 8 * width)
    imports = job.on_node * IMPORT_BYTES
    after = node.total - imports
    if job.on_gpu:
        prepared = 0 if not strategy.offloads_optimizer else (8 + wide * strategy.offloads_parameters) * shard
    return {
        "model": model,
        "start": model + start,
        "prepared": job.on_node * (prepared + (PROCESS_BYTES if strategy.is_sharded else PREPARED_BYTES)),
        "step": after,
        "save": after if job.on_gpu else after - (node.buffers if strategy.is_sharded else node.activations),
    }


def in_gib(size: int) -> str:
    """With one decimal."""
    return f"{size / GIB:.1f}"
