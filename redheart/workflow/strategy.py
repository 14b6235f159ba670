"""The strategy of a training that is about to begin: by the plan, for this machine or for one that it stands in for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from redheart.config import Config, with_settings
from redheart.errors import OutOfMemory
from redheart.machine import GIB, find_gpus, inspect_machine
from redheart.messages import info, warn
from redheart.plan.choice import Plan
from redheart.plan.hardware import Hardware
from redheart.storage import Scalar
from redheart.worker_pool import FitWorkers
from redheart.workflow.examinations.plan import plan_training, reason, refusal

if TYPE_CHECKING:
    from redheart.embedding import EmbeddedDataset


@dataclass(frozen=True)
class Described:
    """Hardware as a user describes it; None: as it is found here."""

    gpus: int | None = None
    gpu_bytes: int | None = None
    host_bytes: int | None = None

    @property
    def is_here(self) -> bool:
        return self == HERE


HERE = Described()


def preset_for(config: Config, described: Described) -> str:
    """The preset that is trained on the hardware that is described; given, or the largest that fits there."""
    plan = plan_training(config, gpus=described.gpus, gpu_bytes=described.gpu_bytes, host_bytes=described.host_bytes)
    return plan.request.preset


def choose_strategy(config: Config, dataset: EmbeddedDataset, described: Described) -> Plan:
    """The plan of the main training, with its choice said.

    Raises:
        OutOfMemory: nothing fits; with what is there, what is wanted, and the preset that would fit.
    """
    plan = plan_for(config, dataset, described)
    _say_choice(plan)
    if not described.is_here and plan.hardware.has_gpu and not find_gpus():
        info("plan.stand_in")
    return plan


def plan_for(config: Config, dataset: EmbeddedDataset, described: Described) -> Plan:
    """The plan of the main training, where nothing is said."""
    return _plan_for(
        config, dataset, gpus=described.gpus, gpu_bytes=described.gpu_bytes, host_bytes=described.host_bytes
    )


def is_finished(config: Config) -> bool:
    """Whether a training lies finished in the output folder; if it is the one that is asked for, ``train`` tells."""
    from redheart.training.run_folder import read_run

    there = read_run(Path(config.output))
    return there is not None and there.finished


def plan_here(config: Config) -> Plan:
    """The plan of the main training on this machine, before any data is opened, with its choice said.

    Raises:
        OutOfMemory: nothing fits.
    """
    plan = plan_training(config)
    _say_choice(plan)
    return plan


def _say_choice(plan: Plan) -> None:
    if plan.chosen is None:
        raise OutOfMemory(refusal(plan), is_refusal=True)
    info("plan.say", choice=reason(plan))


def _plan_for(
    config: Config,
    dataset: EmbeddedDataset,
    *,
    gpus: int | None = None,
    gpu_bytes: int | None = None,
    host_bytes: int | None = None,
    most_situations: int | None = None,
) -> Plan:
    """The plan of a training on ``dataset``, of at most so many of its situations."""
    situations = dataset.facts.counts["train"]
    return plan_training(
        config,
        gpus=gpus,
        gpu_bytes=gpu_bytes,
        host_bytes=host_bytes,
        segments=int(dataset.counts.max()),
        situations=situations if most_situations is None else min(most_situations, situations),
        d_embed=dataset.d_embed,
    )


def is_plain(plan: Plan) -> bool:
    """Whether one process without a launcher is what is chosen."""
    return plan.chosen is not None and plan.chosen.strategy.kind == "plain"


def _not_alone(plan: Plan) -> OutOfMemory:
    """Why one plain process can't be, with what can."""
    if plan.chosen is None:
        return OutOfMemory(refusal(plan), is_refusal=True)
    return OutOfMemory(
        f"one plain process does not fit: {reason(plan)}; start it with `redheart launch`", is_refusal=True
    )


def place_of(plan: Plan) -> tuple[str | None, int]:
    """The launch file of the strategy that is chosen, as it is started on this machine, and how many processes."""
    on_gpu = bool(find_gpus())
    return plan.taken.strategy.launch_file(on_gpu=on_gpu), plan.taken.job.processes


def settings_of(plan: Plan, *, cut: Callable[[Plan], int] | None = None) -> dict[str, Scalar]:
    """What the choice settles of a configuration: the micro-batch that fits, and activation checkpointing where it has to be.

    Args:
        cut: the micro-batch to begin with, where none is asked for; None: the largest that the plan finds to fit.
    """
    settled: dict[str, Scalar] = {}
    if plan.taken.strategy.recomputes:
        settled["training.activation_checkpointing"] = True
    if plan.request.micro_batch is None and plan.request.passes is None:
        settled["training.micro_batch_size"] = plan.taken.job.micro_batch if cut is None else cut(plan)
    return settled


def fitting_alone(
    config: Config, dataset: EmbeddedDataset, *, should_stop: Callable[[], bool] = lambda: False
) -> Config:
    """``config`` as it fits into memory in one plain process on this machine, see ``settings_of``.

    Args:
        config: resolved.

    Raises:
        OutOfMemory: it does not fit; with the strategy that would, or the preset.
        Interrupted: asked to stop.
    """
    hardware = Hardware.of(inspect_machine(Path(config.output)))
    plan = _plan_for(config, dataset, gpus=1 if hardware.has_gpu else None)
    if not is_plain(plan):
        raise _not_alone(plan)
    from redheart.workflow.memory import first_cut

    def cut(plan: Plan) -> int:
        return first_cut(plan, config, segments=int(dataset.counts.max()), should_stop=should_stop)

    return with_settings(config, settings_of(plan, cut=cut))


def workers_that_fit(config: Config, dataset: EmbeddedDataset) -> FitWorkers:
    """How many trials at a time memory holds, each a plain process of its own, and what each trains with.

    Args:
        config: resolved.
    """

    def fit(wanted: int) -> tuple[int, Config]:
        hardware = Hardware.of(inspect_machine(Path(config.output)))
        for count in range(wanted, 0, -1):
            on_a_gpu = -(-count // max(1, hardware.gpus))
            plan = _plan_for(
                config,
                dataset,
                gpus=1 if hardware.has_gpu else None,
                gpu_bytes=hardware.gpu_bytes // on_a_gpu if hardware.has_gpu else None,
                host_bytes=hardware.host_bytes // count,
                most_situations=config.sweep.max_situations,
            )
            if is_plain(plan):
                if count < wanted:
                    warn("plan.fewer_workers", wanted=wanted, count=count, host=plan.taken.estimate.host_needed / GIB)
                return count, with_settings(config, settings_of(plan))
        raise _not_alone(plan)

    return fit
