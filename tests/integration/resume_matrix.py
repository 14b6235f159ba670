"""Every engine goes on from what every engine left: ``python -m tests.integration.resume_matrix``; prints the matrix, 1 if it fails.

A row left the run after three steps, a column takes it up from other weights: the losses of the steps that follow, beside those
of the row's undisturbed run. Then, that a state is the same bit by bit when it is saved again; and what a state without moments
or without the number of steps would have led to, which has to differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.integration.continuing import furthest_loss, leave, slices_differ, take_up
from tests.integration.launching import LEARNING_RATE, OVERRIDES, compile_extensions, launched
from tests.training.small_data import write_embedded


class Group(NamedTuple):
    """Processes under a launch file; None: this one, without a launcher."""

    launch: str | None
    processes: int


GROUPS = {
    "plain ×1": Group(None, 1),
    "data parallel ×2": Group("multi_cpu", 2),
    "ZeRO-2 ×2": Group("zero2", 2),
    "ZeRO-3 ×2": Group("zero3", 2),
    "ZeRO-2 offload ×1": Group("zero2_offload", 1),
    "ZeRO-3 offload ×2": Group("zero3_offload", 2),
}
#: As near as losses have to be, in fp32 without dropout; and how far without moments or steps.
NEAR, FAR = 1e-5, 1e-4
CONTROLS = ["no moments", "no steps"]


def perform(group: Group, do: str, dataset: Path, folder: Path, **order: Any) -> None:
    """An act by a group of processes."""
    common = {"learning_rate": LEARNING_RATE, "overrides": OVERRIDES, **order}
    if group.launch is None:
        {"leave": leave, "take_up": take_up}[do]({"dataset": str(dataset), **common})
        return
    done = launched(group.launch, do, dataset, folder, processes=group.processes, **common)
    if done.returncode:
        raise AssertionError(f"{group}: {do}:\n{done.stderr[-6000:]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Leaves and takes up among the engines that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(GROUPS), help=f"of {', '.join(GROUPS)}")
    names = parser.parse_args(argv).names
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        folder, began = Path(temporary), time.monotonic()
        dataset = write_embedded(folder)
        compile_extensions()
        sources = [folder / "left" / str(number) for number in range(len(names))]
        for name, source in zip(names, sources, strict=True):
            perform(GROUPS[name], "leave", dataset, folder / "leave" / name, left=str(source))
        print(f"{'left by / taken up by':>24} {' '.join(f'{name:>18}' for name in names)}", flush=True)
        found: dict[tuple[int, int], float] = {}
        for column, name in enumerate(names):
            taken = folder / "taken" / str(column)
            order = {"sources": [str(source) for source in sources], "taken": str(taken), "controls": CONTROLS}
            perform(GROUPS[name], "take_up", dataset, folder / "take_up" / name, **order)
            for row, source in enumerate(sources):
                found[row, column] = furthest_loss(taken / f"{row}-whole", source)
                if differ := slices_differ(taken / f"{row}-whole", source):
                    failed.append(f"{names[row]} saved again by {name}: {len(differ)} differ, {differ[:3]}")
                if not found[row, column] <= NEAR:
                    failed.append(f"{names[row]} → {name}: losses differ by {found[row, column]:.1e}")
            controls = {control: furthest_loss(taken / f"0-{control}", sources[0]) for control in CONTROLS}
            failed += [f"{name}: {control} shows nothing ({far:.1e})" for control, far in controls.items() if far < FAR]
            print(f"  {name}: {json.dumps({control: f'{far:.1e}' for control, far in controls.items()})}", flush=True)
        for row, name in enumerate(names):
            print(f"{name:>24} {' '.join(f'{found[row, column]:>18.1e}' for column in range(len(names)))}")
        print(f"{len(found)} pairs, {time.monotonic() - began:.0f} s; {len(failed)} failed")
    print("\n".join(failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
