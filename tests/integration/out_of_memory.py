"""Memory that runs out in one process, at any phase and step: ``python -m tests.integration.out_of_memory --runs 10 --seed 0``.

Each run trains in one process or in two (data parallel) and runs out of memory once or several times where it is told to. It has to
complete by itself, with the losses of a run that nothing happened to, and to tell what happened in ``oom_stats.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from redheart.config import load_config
from redheart.engine.plain import PlainEngine
from redheart.evaluation import evaluate
from redheart.model import UnifiedModel
from redheart.storage import read_json
from redheart.training.loop import TrainingLoop
from redheart.training.trainer import Trainer
from tests.integration.launching import LEARNING_RATE, OVERRIDES, launched
from tests.training.runs import metrics
from tests.training.small_data import write_embedded

PHASES = ("forward", "backward", "optimizer", "evaluation")
#: Two steps an epoch, two epochs; nothing is cut that memory suffices for.
SETTINGS = [*OVERRIDES, "training.linear_start=false"]
STEPS, NEAR = 4, 1e-5


@dataclass(frozen=True)
class Injection:
    """Once that memory runs out.

    Attributes:
        step: that is being taken, from 0; of an evaluation, that is taken next.
        piece: of the micro-batches that were begun at that step, from 0.
    """

    phase: str
    rank: int
    step: int
    piece: int = 0


@contextlib.contextmanager
def planted(injections: Sequence[Injection], rank: int) -> Iterator[None]:
    """While it is entered, this process runs out of memory as it is told to."""
    left = [one for one in injections if one.rank == rank]
    loops: list[TrainingLoop] = []
    seen: dict[tuple[str, int], int] = {}

    def look(phase: str) -> None:
        if not loops:
            return
        step = loops[-1].global_step
        number = seen[phase, step] = seen.get((phase, step), -1) + 1
        for one in left:
            if (one.phase, one.step) == (phase, step) and number >= one.piece:
                left.remove(one)
                raise torch.OutOfMemoryError(f"CUDA out of memory. Planted in {phase}")

    accumulate, forward, backward = TrainingLoop._accumulate, UnifiedModel.forward, PlainEngine.backward
    flatten, new_state = evaluate._flatten, PlainEngine._new_state

    def looked_after(self: TrainingLoop, batch: Any) -> Any:
        loops.append(self)
        return accumulate(self, batch)

    def going_forward(self: UnifiedModel, *inputs: torch.Tensor) -> Any:
        if self.training:
            look("forward")
        return forward(self, *inputs)

    def going_backward(self: PlainEngine, loss: torch.Tensor, *, is_last: bool) -> None:
        backward(self, loss, is_last=is_last)  # what was added to the gradients must not stay
        look("backward")

    def making_state(self: PlainEngine, *arguments: Any) -> Any:
        look("optimizer")
        return new_state(self, *arguments)

    def evaluating(outputs: Any) -> Any:
        look("evaluation")
        return flatten(outputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "_accumulate", looked_after)
        patch.setattr(UnifiedModel, "forward", going_forward)
        patch.setattr(PlainEngine, "backward", going_backward)
        patch.setattr(PlainEngine, "_new_state", making_state)
        patch.setattr(evaluate, "_flatten", evaluating)
        yield


def run_out(order: dict[str, Any], rank: int = 0) -> int:
    """A training with ``order["injections"]``."""
    config = load_config(None, order["overrides"])
    with planted([Injection(**one) for one in order["injections"]], rank):
        Trainer(config, Path(order["dataset"]), Path(order["output"]), learning_rate=LEARNING_RATE).run()
    return 0


def wrong_with(output: Path, undisturbed: Path, injections: Sequence[Injection]) -> list[str]:
    """What is not as it should be; nothing where a run completed with the losses of another and told what happened."""
    if not (output / "oom_stats" / "oom_stats.json").exists():
        return ["it did not come to its end"]
    found = []
    for line, expected in zip(metrics(output), metrics(undisturbed), strict=True):
        for split in ("train", "choose"):
            if line[split]["loss"] != pytest.approx(expected[split]["loss"], rel=NEAR):
                found.append(
                    f"epoch {line['epoch']}: {split} loss {line[split]['loss']} and not {expected[split]['loss']}"
                )
        if line["updates"] != expected["updates"]:
            found.append(f"epoch {line['epoch']}: {line['updates']} updates")
    events = read_json(output / "oom_stats" / "oom_stats.json")["events"]
    told = sorted((one["phase"], one["rank"], one["global_step"]) for one in events)
    if told != sorted((one.phase, one.rank, one.step) for one in injections):
        found.append(f"told of {told}")
    if not all(one["host_bytes_before"] and one["host_bytes_after"] and one["tried"] for one in events):
        found.append("memory is not told")
    return found


def drawn(generator: random.Random, phase: str, world_size: int) -> list[Injection]:
    """One of ``phase``, and perhaps another of any, at another step."""
    found: dict[int, Injection] = {}
    for one in (phase, *generator.sample(PHASES, generator.randrange(2))):
        step = generator.randrange(STEPS)
        if one == "optimizer":
            step = 0  # whose state is made once
        if one == "evaluation":
            step = generator.choice((STEPS // 2, STEPS))
        piece = generator.randrange(100) if one == "optimizer" else 0
        found.setdefault(step, Injection(one, generator.randrange(world_size), step, piece))
    return list(found.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs at random; 1 where one is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(argv)
    generator = random.Random(chosen.seed)
    plans = [
        (number % 2 + 1, drawn(generator, PHASES[number // 2 % len(PHASES)], number % 2 + 1))
        for number in range(chosen.runs)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = write_embedded(folder)
        common = {"dataset": str(dataset), "overrides": SETTINGS}
        run_out({**common, "output": str(folder / "undisturbed"), "injections": []})
        acts = [
            {"do": "run_out", "output": str(folder / str(number)), "injections": [asdict(one) for one in injections]}
            for number, (world_size, injections) in enumerate(plans)
        ]
        for act, (world_size, _) in zip(acts, plans, strict=True):
            if world_size == 1:
                run_out({**common, **act})
        in_two = [act for act, (world_size, _) in zip(acts, plans, strict=True) if world_size == 2]
        said = ""
        if in_two:
            said = launched("multi_cpu", "run_out", dataset, folder / "two", acts=in_two, overrides=SETTINGS).stderr
        failed = 0
        for number, (world_size, injections) in enumerate(plans):
            wrong = wrong_with(folder / str(number), folder / "undisturbed", injections)
            failed += bool(wrong)
            what = ", ".join(f"{one.phase} of step {one.step} on {one.rank}" for one in injections)
            print(f"{number}: {world_size} process(es), {what}: {'; '.join(wrong) or 'as undisturbed'}", flush=True)
        print(f"{chosen.runs} runs, {failed} failed")
        if failed:
            print(said[-6000:])
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
