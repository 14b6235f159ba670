"""Slots of this machine: how many workers it takes, and the environment of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import redheart
from redheart.config import Config
from redheart.machine import find_gpus

#: A process's place in the group that a distributed launcher started.
_OF_A_GROUP = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Slots:
    """How many workers, and what each gets in its environment."""

    environments: tuple[Mapping[str, str], ...]
    where: str


def own_environment() -> dict[str, str]:
    """This process's environment, which the processes that it starts inherit."""
    return dict(os.environ)


def environment_of_started(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a process that is started here inherits: not this one's place in a group, and this very package to import."""
    package = str(Path(redheart.__file__).parent.parent)
    found = {name: value for name, value in inherited.items() if name not in _OF_A_GROUP}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (package, found.get("PYTHONPATH"))))
    return found


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """CUDA devices by the names a child can be given; without a context on any of them."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        return [name for name in environment["CUDA_VISIBLE_DEVICES"].split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(len(find_gpus()))]


#: Of how many workers are wanted: how many memory holds, and the configuration as each of them trains with it.
FitWorkers = Callable[[int], tuple[int, Config]]


def plan_slots(environment: Mapping[str, str], *, workers: int | None, tasks: int) -> Slots:
    """One slot per GPU; on CPU one per core, the cores shared out among them; never more than there are tasks at a time.

    Args:
        workers: how many were asked for; more than GPUs share them. None: as above.
        tasks: how many there are to do at a time.
    """
    gpus = visible_gpus(environment)
    if gpus:
        count = min(workers or len(gpus), tasks)
        return Slots(
            tuple({"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} for index in range(count)), f"{len(gpus)} GPU"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(workers or cores, tasks)
    threads = str(max(1, cores // count))
    return Slots(({"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},) * count, f"CPU, {cores} cores")
