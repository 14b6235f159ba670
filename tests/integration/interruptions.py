"""Random interruptions of whole trainings: ``python -m tests.integration.interruptions [--runs N] [--seed S] [--engine NAME]``.

Each run is ended once to three times at random points – after an optimizer step, within one, in an evaluation, in front of a file
operation of a state or of an epoch's checkpoint – in random ways: each signal that asks to stop, kill −9 of one worker, kill −9 of
all. The same command goes on until it is through. Then ids seen, losses, records and weights have to be bit by bit those of a
run that nobody disturbed. Controls that go on without something have to differ. Prints a table; 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from redheart.checkpoint import find_start, list_epochs, load_modules
from redheart.checkpoint.manifest import Manifest
from redheart.paths import OutputPaths
from tests.integration.continuing import slices_differ
from tests.integration.interrupted import ALL, ITSELF, LAUNCHER, Interruption, Order
from tests.integration.launching import compile_extensions
from tests.integration.resume_matrix import Group
from tests.integration.starting import load_beforehand, start, start_is_over
from tests.training.runs import same_bits
from tests.training.small_data import write_embedded

ENGINES = {"plain": Group(None, 1), "zero2": Group("zero2", 2), "zero3": Group("zero3", 2)}
#: Each is the first of as many runs as any other.
WAYS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "kill one", "kill all")
POINTS = ("step", "batch", "validation", "save", "snapshot")
#: Of a run, and optimizer steps of an epoch.
EPOCHS, STEPS = 3, 3
SETTINGS = [
    f"training.epochs={EPOCHS}",
    "training.global_batch_size=16",
    "training.ema_decay=0.5",
    "training.liveness_steps=0",
    "model.preset=tiny",
]
#: What is not brought back, and in what that has to show.
CONTROLS = {"moments": "weights", "batches": "ids", "sums": "records", "draws": "losses", "generators": "random states"}


def draw(choice: random.Random, group: Group, way: str) -> list[Interruption]:
    """Interruptions of one run, each behind the one before it; the first is of a ``way``."""
    found, step = [], 0
    for number in range(choice.randint(1, 3)):
        way = way if number == 0 else choice.choice(WAYS)
        point = choice.choice(POINTS)
        step = choice.randint(step + (point == "step"), STEPS * EPOCHS // 2 if number == 0 else STEPS * EPOCHS)
        targets = [ITSELF] if group.processes == 1 or way == "kill one" else [ITSELF, ALL]
        if group.launch is not None and way in ("SIGTERM", "SIGINT"):
            targets.append(LAUNCHER)
        to = ALL if way == "kill all" else choice.choice(targets)
        name = way if way in WAYS[:4] else "SIGKILL"
        rank, operation = choice.randrange(group.processes), choice.randrange(24)
        found.append(Interruption(name, to, point, step, rank=rank, operation=operation))
        if step >= STEPS * EPOCHS - 1:
            break
        step += 1
    return found


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Seen:
    """What a run left: its trails, its records, its checkpoints and its last state."""

    def __init__(self, output: Path, trail: Path, processes: int) -> None:
        self.output = output
        self.trails = [lines_of(Path(f"{trail}.{rank}.jsonl")) for rank in range(processes)]

    def lost(self) -> list[int]:
        """For each start but the first, how many steps of before it had to be taken again."""
        found, last = [], 0
        for line in self.trails[0]:
            if "start" in line:
                found.append(-1)
            elif found[-1] < 0:
                found[-1] = last + 1 - line["step"]
            last = line.get("step", last)
        return [max(0, one) for one in found[1:]]

    def steps(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Process, step and what came of it, each time that it was taken."""
        for rank, trail in enumerate(self.trails):
            for line in trail:
                if "step" in line:
                    yield rank, line["step"], line

    def records(self) -> list[dict[str, Any]]:
        """All lines of ``metrics.jsonl``, without what a clock decides and where a run lies."""
        own = ("seconds", "checkpoint", "config")
        return [
            {key: value for key, value in line.items() if key not in own}
            for line in lines_of(OutputPaths(self.output).metrics)
        ]

    def last_state(self) -> Path:
        return max(OutputPaths(self.output).resume.glob("state_*"))

    def differs(self, undisturbed: Seen) -> dict[str, str]:
        """In what this run is not the undisturbed one."""
        found = {}
        expected = {(rank, step): line for rank, step, line in undisturbed.steps()}
        taken = list(self.steps())
        if {(rank, step) for rank, step, _ in taken} != expected.keys():
            found["ids"] = "other steps were taken"
        for rank, step, line in taken:
            one = expected.get((rank, step), {})
            different = [key for key in line if line[key] != one.get(key)]
            if different:
                what = "ids" if {"ids", "own", "epoch"} & {*different} else "losses"
                found.setdefault(what, f"process {rank}, step {step}: {', '.join(different)}")
        records, wanted = self.records(), undisturbed.records()
        if records != wanted:
            found["records"] = f"{len(records)} lines, {len(wanted)} wanted; {_first_difference(records, wanted)}"
        if different := _weights_differ(self, undisturbed):
            found["weights"] = different
        if _random_states(self) != _random_states(undisturbed):
            found["random states"] = "those of the last state"
        left = [path.name for path in self.output.rglob(".*") if path.name.endswith((".writing", ".gone"))]
        if left:
            found["left over"] = ", ".join(left)
        return found


def _first_difference(records: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> str:
    for one, other in zip(records, wanted, strict=False):
        if different := [key for key in {**one, **other} if one.get(key) != other.get(key)]:
            return f"{one.get('kind')} {one.get('epoch', '')}: {', '.join(different)}"
    return "the same up to there"


def _weights_differ(one: Seen, other: Seen) -> str:
    for a, b in zip(_checkpoints(one.output), _checkpoints(other.output), strict=True):
        if a[0] != b[0] or a[1].metrics != b[1].metrics or not same_bits(a[2], b[2]):
            return f"epoch {a[0]}"
    states = one.last_state(), other.last_state()
    if different := slices_differ(*states):
        return f"{len(different)} tensors of the last state, such as {different[0]}"
    outside = [load_file(str(state / "engine" / "outside.safetensors")) for state in states]
    if not same_bits(*outside):
        return "tensors of the last state that no optimizer held"
    return ""


def _random_states(seen: Seen) -> list[bytes]:
    return [path.read_bytes() for path in sorted((seen.last_state() / "engine").glob("random_*"))]


def _checkpoints(output: Path) -> list[tuple[int, Manifest, dict[str, torch.Tensor]]]:
    before = find_start(output)
    assert before is not None, f"{output}: no start"
    found = [before, *list_epochs(output, verify=True)]
    assert [one.epoch for one in found] == list(range(EPOCHS + 1)), [one.path.name for one in found]
    return [(one.epoch, one.manifest, load_modules(one.path)) for one in found]


class Trainings:
    """Trainings of one engine in a folder, beside one that nobody disturbs."""

    def __init__(self, name: str, dataset: Path, folder: Path) -> None:
        self.name, self.group, self.dataset, self.folder = name, ENGINES[name], dataset, folder
        folder.mkdir()
        load_beforehand(self.group)
        self.undisturbed = self.run("undisturbed", 1, [])

    def run(self, name: str, every: int, planned: Sequence[Interruption], control: str = "") -> Seen:
        """Starts the same command until it is through.

        Raises:
            AssertionError: a start ended otherwise than it should, lost too much, or left processes.
        """
        output, trail = self.folder / name, self.folder / f"{name}.trail"
        command = ["train", "--data", str(self.dataset), "--output", str(output), "--lr", "1e-3"]
        command += [*SETTINGS, f"training.save_every_minutes={every}"]
        for number, interruption in enumerate((*planned, None)):
            order = Order(command, str(trail), interruption, control if number == len(planned) else "")
            begun = start(self.group, order, self.folder / f"{name}.{number}")
            start_is_over(begun, interruption, is_finished=_is_finished(output))
            if _is_finished(output):  # what came too late to stop it
                break
        seen = Seen(output, trail, self.group.processes)
        for interruption, lost in zip(planned, seen.lost(), strict=False):
            most = every + 1 if interruption.way == "SIGKILL" else 0
            assert lost <= most, f"{lost} steps were lost by {interruption}, at most {most} should be"
        return seen

    def interrupted(self, number: int, choice: random.Random, way: str) -> list[str]:
        """A run with its rows of the table; why it is not as it should be."""
        every, planned = choice.randint(1, 2), draw(choice, self.group, way)
        began, name = time.monotonic(), f"run {number}"
        try:
            seen = self.run(name.replace(" ", "_"), every, planned)
            differs, lost = seen.differs(self.undisturbed), seen.lost()
        except AssertionError as error:
            differs, lost = {"ended": str(error)}, []
        verdict = "no" if differs else "yes"
        for row, one in enumerate(planned):
            kind = f"{one.way} to {one.to}, process {one.rank}"
            point = f"{one.point} from step {one.step}" + (f", operation {one.operation}" * (one.point in POINTS[3:]))
            cost = str(lost[row]) if row < len(lost) else "–"
            print(f"{self.name:>6} {number:>4}  {kind:<32} {point:<36} {cost:>4}  {verdict}", flush=True)
        if not differs:
            for path in self.folder.glob(f"run_{number}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        took = f"{time.monotonic() - began:.0f} s"
        return [f"{self.name} {name} ({took}): {what}: {how}" for what, how in differs.items()]

    def control(self, what: str) -> list[str]:
        """A run that goes on without something; complains where that does not show where it has to."""
        found = self.run(f"without_{what}", 1, [Interruption("SIGTERM", ITSELF, "step", STEPS + 2)], what)
        differs = found.differs(self.undisturbed)
        shown = ", ".join(differs) or "nothing"
        print(f"{self.name:>6}       gone on with without {what}: differs in {shown}", flush=True)
        return [] if CONTROLS[what] in differs else [f"control {what}: differs in {shown}, not in {CONTROLS[what]}"]


def _is_finished(output: Path) -> bool:
    path = OutputPaths(output).run
    return path.is_file() and json.loads(path.read_text())["finished"] is True


def main(argv: Sequence[str] | None = None) -> int:
    """Interrupts, goes on, compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30, help="trainings, of all engines together (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of points and ways (default: 0)")
    parser.add_argument("--engine", choices=[*ENGINES, "all"], default="all")
    parser.add_argument("--controls", nargs="*", choices=CONTROLS, default=list(CONTROLS), help="(default: all)")
    chosen = parser.parse_args(argv)
    torch.set_num_threads(1)
    names = list(ENGINES) if chosen.engine == "all" else [chosen.engine]
    if names != ["plain"]:
        compile_extensions("zero2")
    choice, began, failed, count = random.Random(chosen.seed), time.monotonic(), [], 0
    with tempfile.TemporaryDirectory() as temporary:
        dataset = write_embedded(Path(temporary))
        print(f"{'engine':>6} {'run':>4}  {'way':<32} {'point':<36} lost  equal?", flush=True)
        for place, name in enumerate(names):
            trainings = Trainings(name, dataset, Path(temporary) / name)
            ways = list(WAYS)
            choice.shuffle(ways)
            for number in range(place, chosen.runs, len(names)):
                failed += trainings.interrupted(number + 1, choice, ways[number // len(names) % len(ways)])
                count += 1
            if name == "plain":
                failed += [reason for what in chosen.controls for reason in trainings.control(what)]
    print(f"{count} trainings, seed {chosen.seed}, {time.monotonic() - began:.0f} s; {len(failed)} failed")
    print("\n".join(failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
