"""The command ``plan``: what would be trained how on this machine, or on one that is described; nothing is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from redheart.config import Config
from redheart.inspection.text_table import aligned
from redheart.machine import GIB, inspect_machine
from redheart.messages import text
from redheart.plan.auto import BY_SIZE, choose_preset, request_of
from redheart.plan.choice import Plan, Request, Row, make_plan
from redheart.plan.hardware import Hardware
from redheart.plan.memory import Parts, in_gib
from redheart.plan.speed import busy_from


def plan_training(
    config: Config,
    *,
    gpus: int | None = None,
    gpu_bytes: int | None = None,
    host_bytes: int | None = None,
    nodes: int | None = None,
    segments: int | None = None,
    situations: int = 0,
    d_embed: int = 384,
) -> Plan:
    """The plan of the main training of ``config``.

    Args:
        gpus: a node has, each of ``gpu_bytes``; None: as found here, as ``host_bytes`` is.
        segments: of every situation; None: the most that a situation may have.
        situations: of the training split.
        d_embed: width of the encoder's vectors.

    Raises:
        UsageError: the hardware is told by halves.
        ConfigError: the global batch can't be shared by the devices.
    """
    found = Hardware.of(inspect_machine(Path(config.output)))
    hardware = found.given(gpus=gpus, gpu_bytes=gpu_bytes, host_bytes=host_bytes, nodes=nodes)
    preset = config.model.preset

    def request(one: str) -> Request:
        return replace(request_of(config, one, hardware, segments=segments, situations=situations), d_embed=d_embed)

    if preset != "auto":
        return make_plan(request(preset), hardware)
    is_here = all(one is None for one in (gpus, gpu_bytes, host_bytes, nodes))
    # Here it is the run's own preset, whatever others take of the memory at the moment.
    presets = (choose_preset(config)[0],) if is_here or not hardware.has_gpu else BY_SIZE
    plans = [make_plan(request(one), hardware) for one in presets]
    return next((one for one in plans if one.chosen), plans[-1])


def as_table(config: Config, plan: Plan, *, situations: int = 0) -> str:
    """All strategies with what they take, the one that is taken with the reason, and what the whole workflow takes."""
    request, hardware = plan.request, plan.hardware
    lines = [_headline(plan), "", *_rows(plan)]
    if plan.chosen is not None:
        lines += ["", f"✅ {reason(plan)}", _node(plan.chosen, hardware), _disk(config, plan)]
        seconds = plan.chosen.time.total
        if situations:
            steps = -(-situations // request.global_batch) * config.training.epochs
            lines.append(text("plan.hours", seconds=seconds, steps=steps, hours=steps * seconds / 3600))
        else:
            lines.append(text("plan.seconds", seconds=seconds))
        if (busy := busy_from(plan.chosen.strategy, plan.chosen.job, hardware)) > request.global_batch:
            arithmetic = plan.chosen.time.arithmetic
            lines.append(text("plan.idle", batch=request.global_batch, share=arithmetic / seconds, busy=busy))
    return "\n".join(lines)


def _headline(plan: Plan) -> str:
    hardware, request = plan.hardware, plan.request
    devices = (
        f"{hardware.nodes * hardware.gpus} × {hardware.gpu_name or 'GPU'} ({in_gib(hardware.gpu_bytes)} GiB)"
        if hardware.has_gpu
        else f"CPU, {hardware.cores} cores"
    )
    precision = {"no": "fp32"}.get(request.precision, request.precision)
    return (
        f"{request.preset} ({plan.size.parameters / 1e6:.1f}M), {precision}, global batch {request.global_batch} of "
        f"{request.segments} segments, on {devices}, {hardware.nodes} × {in_gib(hardware.host_bytes)} GiB host memory"
    )


def _rows(plan: Plan) -> list[str]:
    """One line a strategy; memory in GiB of the fullest place: a GPU, or the node where there is none."""
    fastest = min((row.time.total for row in plan.rows if row.fits), default=None)
    header = ["strategy", "checkpointing", "weights", "grads", "optimizer", "activations", "buffers", "GPU", "host"]
    table = [[*header, "micro-batch", "speed", ""]]
    for row in plan.rows:
        held = row.estimate.device if plan.hardware.has_gpu else row.estimate.host
        parts = (held.weights + held.average, held.gradients, held.optimizer, held.activations, held.buffers)
        table.append(
            [
                row.strategy.name,
                "yes" if row.strategy.recomputes else "–",
                *(in_gib(part) for part in parts),
                in_gib(row.estimate.device_needed) if plan.hardware.has_gpu else "–",
                in_gib(row.estimate.host_needed),
                f"{row.job.micro_batch} × {row.job.passes}" if row.fits else "–",
                f"{fastest / row.time.total:.2f}" if fastest and row.fits else "–",
                "← chosen" if row is plan.chosen else "" if row.fits else _lack(row),
            ]
        )
    return aligned(table, right=range(2, 11))


def _lack(row: Row) -> str:
    device, host = row.lacks
    lacks = [f"{in_gib(size)} GiB {where}" for size, where in ((device, "of a GPU"), (host, "host")) if size]
    return f"lacks {' and '.join(lacks)}"


def reason(plan: Plan) -> str:
    """What is taken, and why."""
    row = plan.taken
    key = "plan.chosen_offload" if row.strategy.offloads_optimizer else "plan.chosen"
    return text(
        key,
        strategy=row.strategy.name + (text("plan.recomputes") if row.strategy.recomputes else ""),
        micro=row.job.micro_batch,
        passes=row.job.passes,
        processes=row.job.processes,
        batch=plan.request.global_batch,
        launch=_launch_of(plan),
    )


def _launch_of(plan: Plan) -> str:
    """The launch file, and on several nodes what each of them is told besides."""
    file = plan.taken.strategy.launch_file(on_gpu=plan.hardware.has_gpu) or "–"
    nodes = plan.hardware.nodes
    return file if nodes == 1 else f"{file} --num_machines {nodes} --num_processes {plan.taken.job.processes}"


def fitting_preset(plan: Plan) -> str | None:
    """The largest of the smaller presets that would fit where this plan's does not."""
    smaller = BY_SIZE[BY_SIZE.index(plan.request.preset) + 1 :]
    return next((one for one in smaller if make_plan(replace(plan.request, preset=one), plan.hardware).chosen), None)


def refusal(plan: Plan) -> str:
    """Why nothing fits, with what is there and what is wanted, and the largest preset that would."""
    fitting = fitting_preset(plan)
    return f"{_refused(plan)} {text('plan.would_fit', preset=fitting) if fitting else text('plan.none_fits')}"


def _refused(plan: Plan) -> str:
    hardware, closest, preset = plan.hardware, plan.closest, plan.request.preset
    host = in_gib(closest.estimate.host_needed)
    usable, there = in_gib(hardware.usable_host_bytes), in_gib(hardware.host_bytes)
    if not hardware.has_gpu:
        return text("plan.refused_cpu", preset=preset, host=host, host_there=usable, host_all=there)
    return text(
        "plan.refused",
        preset=preset,
        strategy=closest.strategy.name,
        gpu=in_gib(closest.estimate.device_needed),
        gpu_there=in_gib(hardware.usable_gpu_bytes),
        gpu_all=in_gib(hardware.gpu_bytes),
        host=host,
        host_there=usable,
        host_all=there,
    )


def _node(row: Row, hardware: Hardware) -> str:
    phases = row.estimate.phases
    return text(
        "plan.host",
        **{name: phases[name] / GIB for name in ("model", "start", "prepared", "step", "save")},
        beside=row.estimate.save / GIB,
        there=hardware.host_bytes / GIB,
    )


def _disk(config: Config, plan: Plan) -> str:
    from redheart.workflow.disk import bytes_by_part

    parts = bytes_by_part(config, plan.size.parameters, crosses=True)
    thinned = bytes_by_part(config, plan.size.parameters, crosses=True, is_thinned=True)
    return text(
        "plan.disk",
        wanted=sum(parts.values()) / GIB,
        epochs=parts["epochs"] / GIB,
        states=parts["states"] / GIB,
        models=parts["models"] / GIB,
        thinned=sum(thinned.values()) / GIB,
    )


class RowFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy; bytes and seconds."""

    strategy: str
    offload_optimizer: bool
    offload_parameters: bool
    activation_checkpointing: bool
    launch_file: str | None
    fits: bool
    lacks_gpu: int
    lacks_host: int
    processes: int
    micro_batch_size: int
    gradient_accumulation_steps: int
    gpu: Parts
    gpu_total: int
    host: Parts
    host_total: int
    phases: dict[str, int]
    save: int
    seconds_a_step: float

    @staticmethod
    def of(row: Row, *, on_gpu: bool) -> RowFacts:
        return RowFacts(
            strategy=row.strategy.kind,
            offload_optimizer=row.strategy.offloads_optimizer,
            offload_parameters=row.strategy.offloads_parameters,
            activation_checkpointing=row.strategy.recomputes,
            launch_file=row.strategy.launch_file(on_gpu=on_gpu),
            fits=row.fits,
            lacks_gpu=row.lacks[0],
            lacks_host=row.lacks[1],
            processes=row.job.processes,
            micro_batch_size=row.job.micro_batch,
            gradient_accumulation_steps=row.job.passes,
            gpu=row.estimate.device,
            gpu_total=row.estimate.device_needed,
            host=row.estimate.host,
            host_total=row.estimate.host_needed,
            phases=row.estimate.phases,
            save=row.estimate.save,
            seconds_a_step=row.time.total,
        )


class PlanFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A plan for a program."""

    request: Request
    hardware: Hardware
    parameters: int
    chosen: RowFacts | None
    refusal: str | None
    fitting_preset: str | None
    strategies: list[RowFacts]


def as_json(plan: Plan) -> str:
    """All of it, in bytes and seconds."""
    on_gpu = plan.hardware.has_gpu
    facts = PlanFacts(
        request=plan.request,
        hardware=plan.hardware,
        parameters=plan.size.parameters,
        chosen=None if plan.chosen is None else RowFacts.of(plan.chosen, on_gpu=on_gpu),
        refusal=refusal(plan) if plan.chosen is None else None,
        fitting_preset=fitting_preset(plan) if plan.chosen is None else None,
        strategies=[RowFacts.of(row, on_gpu=on_gpu) for row in plan.rows],
    )
    return msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()
