"""The memory of a training, by part, for each strategy: the formulas, each with where it is from.

With *P* parameters, *N* processes, *w* bytes a weight that the forward pass reads (4; under ZeRO in 16 bits 2), a process holds:

================ ============== ==================== ==================== =====================
bytes            plain, DDP     ZeRO-1               ZeRO-2               ZeRO-3
================ ============== ==================== ==================== =====================
weights          4 P            w P                  w P                  w P / N + live
fp32 master      –              4 P / N              4 P / N              4 P / N
gradients        4 P            4 P + 4 P / N        4 P / N              4 P / N (+ 2 P / N)
moments          8 P            8 P / N              8 P / N              8 P / N
in AdamW's step  –              4 P / N              4 P / N              4 × sub-group
================ ============== ==================== ==================== =====================

Plain is PyTorch's AdamW over fp32 weights, whose fused step needs nothing besides; data parallel sums its gradients in one bucket
(``redheart.engine.gradient_sum``). ZeRO's rows are DeepSpeed's own tensors, seen as they were made (0.19.8, its ``stage_1_and_2.py`` and
``stage3.py``): an fp32 copy of the weights in fp32 too; before the optimizer's step one flat copy of the gradients of a group (1, 2)
or of a sub-group (3); in ZeRO-3 under 16 bits the gradients' 16-bit partitions beside. *Live* is what ZeRO-3 has gathered: as much as
``zero_sizes.py`` lets it, at least two of the largest layers, and the small tensors that stay. Activations are counted
(``activations.py``). What is in brackets is there in 16 bits; ZeRO-1 has whole gradients in a step of several passes only.

Plain in 16 bits: the weights' casts are made once a step and count as activations (``once``). From the third pass on they stay while
the backward pass gathers their gradients, 2 *P*; the last pass lets them go as its gradients come. ZeRO-2 in 16 bits gathers
gradients in one fp32 tensor on the device, also where the optimizer is offloaded, and steps from it without a copy.

On one H100 (``benchmarks/results/gpu_all.json``, ``fit``) the device's peak of 730m in bf16 was within 5 % of these.
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
#: The same of a process that computes on a GPU, whose libraries keep their kernels' tables in host memory: until it is prepared, and
#: from its first step on. Measured on an H100 with CUDA 13; with DeepSpeed the second numbers.
GPU_PREPARED_BYTES = {False: 115 << 20, True: 545 << 20}
GPU_PROCESS_BYTES = {False: 1090 << 20, True: 1550 << 20}
#: A process with the libraries that training imports, before anything else: 171 MiB, with DeepSpeed 189.
IMPORT_BYTES = 190 << 20
#: What DeepSpeed's modules take besides, which are imported with the engine.
ZERO_IMPORT_BYTES = 35 << 20
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
        device: of one GPU in a step; nothing without one.
        device_prepared: bytes of one GPU at the most while the model is handed to it and, under ZeRO, cut up.
        host: of a node, over its processes.
        phases: bytes of a node's memory over imports, by phase: ``model``, ``prepared``, ``step``, ``save``; ``start``: the
            closed form, one process after another, before ``prepared``.
        save: what a checkpoint takes besides, of a node's memory, if it is there; it is written without, where it is not.
    """

    device: Parts
    device_prepared: int
    host: Parts
    phases: dict[str, int]
    save: int

    @property
    def device_needed(self) -> int:
        """The most that a GPU needs at any time."""
        return max(self.device.total, self.device_prepared)

    @property
    def host_needed(self) -> int:
        """The most that a node needs at any time, processes and imports included."""
        return max(self.host.total, *self.phases.values())


def estimate(strategy: Strategy, job: Job) -> Estimate:
    """The memory of a job under a strategy, by the formulas above."""
    held = _held(strategy, job)
    process = Parts(process=IMPORT_BYTES + (GPU_PROCESS_BYTES[strategy.is_sharded] if job.on_gpu else PROCESS_BYTES))
    if job.on_gpu:
        device, host = _split(strategy, job, held)
        node = (host + process).times(job.on_node)
    else:
        device, node = Parts(), (held + process).times(job.on_node)
    return Estimate(
        device, _device_prepared(strategy, job), node, _phases(strategy, job, node), 4 * job.size.parameters
    )


def _device_prepared(strategy: Strategy, job: Job) -> int:
    """Of a GPU: plain weights; ZeRO-3 has the whole model there before it is cut, ZeRO-1 and 2 a flat copy of it besides.

    The flat copy is gone when the fp32 master is made of a copy of a process's part.
    """
    if not job.on_gpu:
        return 0
    count, shard = job.size.parameters, -(-job.size.parameters // job.processes)
    if not strategy.is_sharded:
        return 4 * count
    wide = 2 if job.precision != "no" else 4
    if strategy.kind == "zero3":
        return wide * count
    return max(2 * wide * count, wide * (count + shard) + (0 if strategy.offloads_optimizer else 4 * shard))


def _held(strategy: Strategy, job: Job) -> Parts:
    """Of one process, wherever it lies."""
    count = job.size.parameters
    activations = job.size.recomputed if strategy.recomputes else job.size.activations
    situations = job.micro_batch * (2 if job.doubles else 1)
    kept = situations * (activations.a_situation + activations.inside)
    if strategy.is_sharded:
        return _held_in_shards(strategy, job, kept)
    # A later pass than the first has the gradients of the weights' casts, before they are added to the others.
    of_casts = 2 * count if job.precision != "no" and job.passes > 1 else 0
    if job.passes > 2:
        there = activations.once + max(kept, of_casts)
    elif job.passes == 2:
        there = max(activations.once + kept, of_casts)
    else:  # the activations are there first, and go as gradients come
        there = max(0, activations.once + kept - 4 * count)
    average = 4 * count if job.has_average else 0
    return Parts(4 * count, 4 * count, 8 * count, average, there, SUM_BUCKET if strategy.kind == "ddp" else 0)


def _held_in_shards(strategy: Strategy, job: Job, kept: int) -> Parts:
    """Of one process under ZeRO.

    Args:
        kept: bytes that autograd keeps of a micro-batch.
    """
    count, shard = job.size.parameters, -(-job.size.parameters // job.processes)
    has_16_bits = job.precision != "no"
    wide, sizes = 2 if has_16_bits else 4, zero_sizes(on_gpu=job.on_gpu)
    average, buffers = 4 * shard if job.has_average else 0, 2 * sizes.bucket * wide
    if strategy.kind == "zero3":
        gathered = min(count, max(2 * job.size.largest_layer, sizes.live))
        live = wide * (gathered + job.size.in_small_tensors)
        halves = 2 * shard if has_16_bits else 0
        buffers = max(buffers, 4 * min(sizes.sub_group, shard))
        return Parts(wide * shard + live, 4 * shard + halves, 12 * shard, average, kept, buffers)
    gradients = 4 * shard + (4 * count if strategy.kind == "zero1" and job.passes > 1 else 0)
    # What is in flight in the backward pass is gone when the optimizer's step makes its copy, if it makes one; on the CPU, where it
    # makes none either, the heap keeps as much of the gradients that came first.
    copies = not (job.on_gpu and has_16_bits and strategy.kind == "zero2")
    return Parts(wide * count, gradients, 12 * shard, average, kept, max(buffers, 4 * shard if copies else 0))


def _split(strategy: Strategy, job: Job, held: Parts) -> tuple[Parts, Parts]:
    """What lies on a process's GPU, and what in host memory."""
    shard = -(-job.size.parameters // job.processes)
    wide = 2 if job.precision != "no" else 4
    if not strategy.offloads_optimizer:
        return held, Parts()
    sizes = zero_sizes(on_gpu=True)
    buffers = 2 * sizes.bucket * wide
    if strategy.kind == "zero2":
        # In fp32 gradients leave the device in buckets; in 16 bits once all of them are there.
        device = Parts(held.weights, 4 * shard if wide == 2 else 0, 0, held.average, held.activations, buffers)
        # Pinned: master, gradients, and a 16-bit copy of the weights; the moments are not.
        return device, Parts(_pinned(2 * shard), _pinned(4 * shard), _pinned(4 * shard) + 8 * shard)
    # Pinned, by sub-group: master and gradients; and the gradients in one flat tensor besides.
    groups, rest = divmod(shard, sizes.sub_group)
    by_group = groups * _pinned(4 * sizes.sub_group) + _pinned(4 * rest)
    gradients, optimizer = by_group + _pinned(4 * shard), by_group + 8 * shard
    if strategy.offloads_parameters:
        device = Parts(held.weights - wide * shard, 0, 0, held.average, held.activations, buffers)
        return device, Parts(_pinned(wide * shard), gradients, optimizer)
    return Parts(held.weights, 0, 0, held.average, held.activations, buffers), Parts(0, gradients, optimizer)


def _pinned(size: int) -> int:
    """What PyTorch takes for a pinned tensor of ``size`` bytes: the next power of two (its ``CachingHostAllocator``)."""
    return 1 << (size - 1).bit_length() if size else 0


def _phases(strategy: Strategy, job: Job, node: Parts) -> dict[str, int]:
    """Of a node, over imports. Each process makes the model in fp32 in host memory before it is prepared.

    When a checkpoint is saved, gradients are gone, but not to the system: glibc keeps what they had, or DeepSpeed does.
    """
    count, shard = job.size.parameters, -(-job.size.parameters // job.processes)
    wide = 2 if job.precision != "no" and strategy.is_sharded else 4
    model = job.on_node * (4 * count + (ZERO_IMPORT_BYTES if strategy.is_sharded else 0))
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
    of_process = PROCESS_BYTES if strategy.is_sharded else PREPARED_BYTES
    if job.on_gpu:
        of_process = GPU_PREPARED_BYTES[strategy.is_sharded]
        prepared = 0
        if strategy.offloads_optimizer:  # all but the moments, which the first step makes
            prepared = _split(strategy, job, _held(strategy, job))[1].total - 8 * shard
    return {
        "model": model,
        "start": model + start,
        "prepared": job.on_node * (prepared + of_process),
        "step": after,
        "save": after if job.on_gpu else after - _given_back(strategy, job, node),
    }


def _given_back(strategy: Strategy, job: Job, node: Parts) -> int:
    """Of what a step took, what the system has back when a checkpoint is saved: of casts and their gradients nothing."""
    if strategy.is_sharded:
        return node.buffers
    return 0 if job.precision != "no" and job.passes > 1 else node.activations


def in_gib(size: int) -> str:
    """With one decimal."""
    return f"{size / GIB:.1f}"
