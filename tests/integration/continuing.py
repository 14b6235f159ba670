"""Runs that are left by one engine and taken up by another: the acts of both, in whatever processes they are.

What is left is a resume state in the form that knows no engine, and how the same run goes on where nobody stops it. Who takes
it up starts from other weights, so that a tensor that is not read shows.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from redheart.batches.table import SituationTable
from redheart.checkpoint.slices import MOMENTS, WEIGHT, Slices
from redheart.config import load_config
from redheart.engine.resume_files import slice_files
from redheart.training.average import AVERAGE
from redheart.training.loop import TrainingLoop
from redheart.training.schedule import set_learning_rate
from tests.training.runs import make_loop

#: Optimizer steps before the run is left, and after.
BEFORE, AFTER = 3, 3
BATCH = 12


def _loop(order: Mapping[str, Any], seed: int) -> TrainingLoop:
    config = load_config(None, [*order["overrides"], "training.ema_decay=0.5"])
    table = SituationTable.open(Path(order["dataset"]))
    return make_loop(msgspec.structs.replace(config, seed=seed), table, order["learning_rate"])


def _steps(loop: TrainingLoop, first: int, count: int) -> list[float]:
    """Losses of so many steps, each on a batch of its own."""
    losses = []
    for number in range(first, first + count):
        loop.global_step = number
        set_learning_rate(loop.engine.optimizer.param_groups, loop.peak / (1 + number))
        start = number * BATCH % (len(loop.train) - BATCH)
        losses.append(float(loop._accumulate(loop.train[start : start + BATCH])[0]))
        loop.engine.step()
        assert loop.average is not None
        loop.average.update()
    return losses


def _ends(loop: TrainingLoop, losses: list[float], path: Path) -> None:
    state = loop.engine.full_state_dict(keep=loop.engine.is_main)
    if loop.engine.is_main:
        save_file(state, str(path), {"losses": json.dumps(losses)})


def read_ends(path: Path) -> tuple[list[float], dict[str, Tensor]]:
    """The losses after a run was left, and its last weights."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["losses"]), load_file(str(path))


def leave(order: Mapping[str, Any]) -> int:
    """Some steps, a state in ``order["left"]``, and some more."""
    folder = Path(order["left"])
    loop = _loop(order, seed=1)
    _steps(loop, 0, BEFORE)
    if loop.engine.is_main:
        folder.mkdir(parents=True)
    loop.engine.barrier()
    assert loop.average is not None
    loop.engine.save_state(folder / "engine", loop.average_by_kind())
    _ends(loop, _steps(loop, BEFORE, AFTER), folder / "ends.safetensors")
    loop.engine.barrier()
    loop.engine.free()
    gc.collect()
    return 0


def take_up(order: Mapping[str, Any]) -> int:
    """What was left in each of ``order["sources"]`` is loaded, saved again, and gone on with; in ``order["taken"]/<number>``."""
    loop = _loop(order, seed=99)
    engine, average = loop.engine, loop.average
    assert average is not None
    _steps(loop, 0, 1)  # so that there is an optimizer's state that must not stay
    for number, source in enumerate(order["sources"]):
        for variant in ("whole", *(order.get("controls", ()) if number == 0 else ())):
            folder = Path(order["taken"]) / f"{number}-{variant}"
            engine.load_state(Path(source) / "engine", loop.average_by_kind())
            average.updates = BEFORE
            if engine.is_main:
                folder.mkdir(parents=True)
            engine.barrier()
            if variant == "whole":
                engine.save_state(folder / "engine", loop.average_by_kind())
            else:
                _spoil(loop, variant)
            _ends(loop, _steps(loop, BEFORE, AFTER), folder / "ends.safetensors")
            engine.barrier()
    engine.free()
    gc.collect()
    return 0


def _spoil(loop: TrainingLoop, variant: str) -> None:
    """What a form of states without moments, or without the number of steps, would go on from."""
    engine: Any = loop.engine
    names = engine.weight_shapes()
    if variant == "no steps":
        kept = {
            (name, moment): shard.beside(engine.optimizer_state(), moment).clone()
            for name, shard in engine.held_shards().items()
            for moment in MOMENTS
        }
        engine.make_optimizer_state(dict.fromkeys(names, 1))
        for (name, moment), values in kept.items():
            engine.held_shards()[name].beside(engine.optimizer_state(), moment).copy_(values)
    else:
        engine.make_optimizer_state(dict.fromkeys(names, BEFORE))


def slices_differ(one: Path, other: Path) -> list[str]:
    """Kinds and tensors that are not equal bit by bit in two states."""
    with Slices(slice_files(one / "engine")) as a, Slices(slice_files(other / "engine")) as b:
        kinds = (WEIGHT, *MOMENTS, AVERAGE)
        differ = [
            f"{kind}/{name}"
            for kind in kinds
            for name in a.shapes
            if not torch.equal(a.whole(kind, name), b.whole(kind, name))
        ]
        return differ + [name for name in a.shapes if a.steps[name] != b.steps[name]]


def furthest_loss(one: Path, other: Path) -> float:
    """The largest relative difference of two runs' losses after they were left."""
    pairs = zip(read_ends(one / "ends.safetensors")[0], read_ends(other / "ends.safetensors")[0], strict=True)
    return max(abs(a - b) / max(abs(b), math.ulp(1.0)) for a, b in pairs)
