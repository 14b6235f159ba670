"""What ``accelerate launch`` starts in the tests of engines: one act, or several one after the other, since a start is dear.

An act is the contract's checks, a training that stops or fails where it is told to, a probe that drops steps' gradients, or
epochs with and without checkpointed blocks.
"""

from __future__ import annotations

import functools
import gc
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import cpuinfo
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file

from redheart.batches.table import SituationTable
from redheart.cli.main import main
from redheart.config import load_config
from redheart.engine.accelerated import AcceleratedEngine
from redheart.engine.contract import StepOutcome
from redheart.engine.plain import PlainEngine
from redheart.errors import AnotherModel, Interrupted, TrainingError
from redheart.evaluation.evaluate import evaluate_model
from redheart.health.liveness import LivenessProbe
from redheart.messages import set_language, set_up_logging
from redheart.model import UnifiedModel
from redheart.model.modules import backbone
from redheart.training import trainer
from redheart.training.loop import TrainingLoop
from redheart.training.schedule import set_learning_rate
from redheart.training.trainer import Trainer
from tests.engine.contract_checks import Stage, outcomes
from tests.integration import out_of_memory
from tests.integration.continuing import leave, take_up
from tests.training import fixed_dropout
from tests.training.planted import ALL_AT_ONCE, plant_in_all
from tests.training.runs import make_loop, same_bits


def train(order: dict[str, Any]) -> int:
    """A training that is asked to stop, on the last process only, at the n-th question; those of the start's solution don't count."""
    left = order.get("stop_at") or math.inf
    solve, is_solving = trainer.start_linear_paths, False

    def start(*arguments: Any) -> None:
        nonlocal is_solving
        is_solving = True
        solve(*arguments)
        is_solving = False

    trainer.start_linear_paths = start  # type: ignore[assignment]
    if order.get("fixed_dropout"):
        torch.nn.Dropout.forward = fixed_dropout.forward

    def should_stop() -> bool:
        nonlocal left
        left -= not is_solving
        return left <= 0 and os.environ["RANK"] == "1"

    stage = Trainer(
        load_config(None, order["overrides"]),
        Path(order["dataset"]),
        Path(order["output"]),
        learning_rate=order["learning_rate"],
        should_stop=should_stop,
    )
    try:
        stage.run()
    except Interrupted as stopped:
        return stopped.exit_code
    finally:
        trainer.start_linear_paths = solve
    return 0


def probe(order: dict[str, Any]) -> int:
    """Two real steps, with dropped gradients before each: see ``steps_with_drops``. Then a dry run of two epochs."""
    config = load_config(None, order["overrides"])
    loop = make_loop(config, SituationTable.open(Path(order["dataset"])), order["learning_rate"])
    engine = loop.engine
    found: dict[str, Any] = {"kind": engine.kind, "updated": steps_with_drops(loop)}
    state = engine.full_state_dict()
    found["losses"] = [loss_on_choose(loop)]
    with loop.evaluated_weights():
        averaged = engine.full_state_dict()
        found["losses"].append(loss_on_choose(loop))
    found["losses"].append(loss_on_choose(loop))
    found["came back"] = same_bits(state, engine.full_state_dict())
    held = torch.tensor([float(sum(len(share.values) for share in engine.weight_shards().values()))])
    found["held"] = engine.gather(held).tolist()
    found["rates"] = sorted({group["lr"] for group in engine.optimizer.param_groups})
    if engine.is_main:
        save_file(state, order["state"])
        save_file(averaged, f"{order['state']}.averaged")
        Path(order["state"]).with_suffix(".json").write_text(json.dumps(found))
    engine.free()
    AcceleratorState._reset_state()  # or it takes no second DeepSpeed configuration in one process
    order["overrides"] = [*order["overrides"], "training.no_param_update=true"]
    return train(order)


def contract(order: dict[str, Any]) -> int:
    """The checks of the engines' contract, whose outcomes go to ``order["said"].<rank>``."""
    table = SituationTable.open(Path(order["dataset"]))
    loop = make_loop(load_config(None, order["overrides"]), table, order["learning_rate"])
    stage = Stage.of(loop, order["expected"], Path(order["output"]))
    found = dict(outcomes(stage))
    Path(f"{order['said']}.{loop.engine.rank}").write_text(json.dumps(found))
    loop.engine.free()
    return 0


def loss_on_choose(loop: Any) -> float:
    """By a forward pass with what the weights are just now."""
    engine = loop.engine
    who = {"rank": engine.rank, "world_size": engine.world_size, "gather": engine.gather, "device": engine.device}
    return evaluate_model(engine.model, loop.table, "choose", statistics=loop.statistics, **who).loss


def steps_with_drops(loop: Any) -> list[bool]:
    """Discards a batch's gradients, steps, lets another's be infinite, steps: whether each of the three steps updated."""

    def step() -> bool:
        updated: bool = loop.engine.step()[0]
        if updated:
            loop.average.update()
        return updated

    batches = [loop.train[start : start + 16] for start in (0, 16, 30)]
    set_learning_rate(loop.engine.optimizer.param_groups, loop.peak)
    updated = []
    loop._accumulate(batches[0])
    list(loop.engine.gradients())
    loop.engine.skip_step()
    loop._accumulate(batches[1])
    updated.append(step())
    hooks = [one.register_hook(lambda gradient: gradient * math.inf) for one in loop.engine.unwrapped.parameters()]
    loop._accumulate(batches[0])
    updated.append(step())
    for hook in hooks:
        hook.remove()
    loop._accumulate(batches[2])
    updated.append(step())
    return updated


def recompute(order: dict[str, Any]) -> int:
    """An epoch without and one with checkpointed blocks, both from the same weights: what they ended with, and how often
    a block was computed."""
    table = SituationTable.open(Path(order["dataset"]))
    ends: list[dict[str, torch.Tensor]] = []
    calls: list[int] = []
    for on in ("false", "true"):
        config = load_config(None, [*order["overrides"], f"training.activation_checkpointing={on}"])
        loop = make_loop(config, table, order["learning_rate"])
        calls.append(0)

        def count(*_: object) -> None:
            calls[-1] += 1

        loop.engine.unwrapped.get_submodule("backbone.blocks.1.feed_forward.expand").register_forward_hook(count)
        steps = list(loop.epoch(1))
        ends.append(loop.engine.full_state_dict() | {"losses": torch.tensor([step.loss for step in steps])})
        loop.engine.free()
        AcceleratorState._reset_state()
    if os.environ["RANK"] == "0":
        same = [name for name in ends[0] if torch.equal(ends[0][name], ends[1][name])]
        report = {"tensors": len(ends[0]), "same": len(same), "calls": calls, "losses": ends[1]["losses"].tolist()}
        Path(order["state"]).write_text(json.dumps(report))
    return 0


def faults(order: dict[str, Any]) -> int:
    """Runs, each of which every process must end in the same way: what they raised goes to ``order["said"].<rank>``.

    The first is strict, on a model with everything planted in it that does not train. The second has a first epoch as it
    should be, and in the second epoch losses that are not a number, on the last process only. The third goes on from a
    state of a model with one kind of segments more.
    """
    rank = os.environ["RANK"]
    set_language("en")
    set_up_logging(quiet=rank != "0")
    said: dict[str, Any] = {}
    reports: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        plant_in_all(patch, ALL_AT_ONCE)
        report = LivenessProbe.report
        patch.setattr(LivenessProbe, "report", lambda self: reports.append(report(self)) or reports[-1])
        said["strict"] = _raised(order, "planted", "training.liveness_steps=2", "training.strict=true")
    said["dead"] = {tensor.name: tensor.faults for tensor in reports[0].dead}
    said["rows"] = {tensor.name: tensor.dead_rows for tensor in reports[0].with_dead_rows}
    with pytest.MonkeyPatch.context() as patch:
        forward = UnifiedModel.forward
        steps: list[int] = []

        def spoiled(self: UnifiedModel, segments: torch.Tensor, *rest: torch.Tensor) -> Any:
            is_spoiled = rank == "1" and self.training and steps[-1] >= order["healthy"]
            return forward(self, segments * math.nan if is_spoiled else segments, *rest)

        accumulate = TrainingLoop._accumulate
        patch.setattr(
            TrainingLoop, "_accumulate", lambda self, batch: steps.append(self.global_step) or accumulate(self, batch)
        )
        patch.setattr(UnifiedModel, "forward", spoiled)
        said["nonfinite"] = _raised(order, "spoiled", "training.max_nonfinite_steps=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone, "KINDS", 5)
        said["stopped"] = train({**order, "output": f"{order['output']}/older", "stop_at": 2})
    AcceleratorState._reset_state()
    said["older"] = _raised(order, "older")
    Path(f"{order['said']}.{rank}").write_text(json.dumps(said))
    return 0


def _raised(order: dict[str, Any], name: str, *overrides: str) -> str:
    """What a training that fails says; afterwards another can be started in this process."""
    overrides = [*order["overrides"], *overrides]
    try:
        train({**order, "output": f"{order['output']}/{name}", "overrides": overrides})
    except (TrainingError, AnotherModel) as error:
        AcceleratorState._reset_state()
        return str(error)
    return ""


def fail(order: dict[str, Any]) -> int:
    """The command line, on whose second process a later step runs out of memory where it can't be taken again."""
    original, calls = PlainEngine.step, 0

    def step(self: PlainEngine, norm: float | None = None) -> StepOutcome:
        nonlocal calls
        calls += 1
        if self.rank == 1 and calls == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(self, norm)

    PlainEngine.step = step  # type: ignore[method-assign]
    return main(order["command"])


def run_out(order: dict[str, Any]) -> int:
    """A training that runs out of memory: see ``out_of_memory.py``."""
    return out_of_memory.run_out(order, int(os.environ["RANK"]))


ACTS = {one.__name__: one for one in (contract, train, probe, recompute, faults, run_out, fail, leave, take_up)}


def perform(order: dict[str, Any], *, is_last: bool) -> int:
    """An act; after one that is not the last, another engine can be made in this process, and the group is still there."""
    with pytest.MonkeyPatch.context() as patch:
        if "ds_config" in order:
            patch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", order["ds_config"])
        if not is_last:
            patch.setattr(AcceleratedEngine, "end", lambda self: None)
        code = ACTS[order["do"]](order)
    gc.collect()
    AcceleratorState._reset_state()
    return code


if __name__ == "__main__":
    spec = json.loads(Path(sys.argv[1]).read_text())
    # DeepSpeed asks at each loading and each use of an extension, for a second each time, one process after the other.
    cpuinfo.get_cpu_info = functools.cache(cpuinfo.get_cpu_info)
    gc.freeze()  # each training collects garbage, and what is imported is none
    acts = spec.get("acts", [spec])
    codes = [perform({**spec, **act}, is_last=number == len(acts)) for number, act in enumerate(acts, start=1)]
    sys.exit(codes[-1])
