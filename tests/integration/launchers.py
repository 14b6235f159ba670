"""One run through every launcher, to show that it has the same losses: ``python -m tests.integration.launchers``.

Five epochs of the preset ``tiny`` in two processes, in fp32 and without dropout, by ``redheart launch``, ``accelerate launch``,
``torchrun`` and ``deepspeed``. DeepSpeed counts a CPU machine's devices by its memory's nodes, unless ``LOCAL_SIZE`` says how
many processes there are.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from redheart.launching.ports import free_port
from redheart.storage import read_lines
from tests.integration.launching import LEARNING_RATE, run_unless_silent
from tests.training.small_data import write_embedded

SETTINGS = [
    *("training.epochs=5", "training.global_batch_size=24", "training.precision=no"),
    *("model.preset=tiny", "model.dropout=0.0", f"training.learning_rate={LEARNING_RATE}"),
]
TOLERANCE = 1e-6


def _commands() -> dict[str, tuple[list[str], dict[str, str]]]:
    """By name, what comes before ``train``, and what the environment has besides."""
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "launch/multi_cpu.yaml"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    deepspeed = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_gpus", "2", "--module"]
    redheart = [sys.executable, "-m", "redheart", "launch", "--launch-file", "launch/multi_cpu.yaml"]
    return {
        "redheart launch": (redheart, {}),
        "accelerate launch": ([*accelerate, "--main_process_port", str(free_port()), "-m", "redheart"], {}),
        "torchrun": ([*torchrun, "--master_port", str(free_port()), "-m", "redheart"], {}),
        "deepspeed": (
            [*deepspeed, "--master_port", str(free_port()), "redheart"],
            {"LOCAL_SIZE": "2", "DS_ACCELERATOR": "cpu"},
        ),
    }


def losses_of(output: Path) -> list[float]:
    """Of every epoch, while training and on the validation half."""
    epochs = [line for line in read_lines(output / "metrics.jsonl") if "train" in line]
    assert read_lines(output / "metrics.jsonl")[0]["world_size"] == 2, "it was not one process that did it"
    return [line[part]["loss"] for line in epochs for part in ("train", "choose")]


def run(name: str, dataset: Path, output: Path) -> list[float]:
    """The losses of the run through the launcher ``name``."""
    command, besides = _commands()[name]
    done = run_unless_silent(
        [*command, "train", "--data", str(dataset), "--output", str(output), *SETTINGS],
        environment={**os.environ, "REDHEART_LANG": "en", "OMP_NUM_THREADS": "1", **besides},
    )
    assert done.returncode == 0, f"{name}: {done.stdout}\n{done.stderr}"
    return losses_of(output)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", metavar="LAUNCHER", help="default: all of them")
    names = parser.parse_args().only or list(_commands())
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_embedded(Path(folder))
        for name in names:
            began = time.monotonic()
            found[name] = run(name, dataset, Path(folder) / name.replace(" ", "-"))
            print(
                f"{name:18} {time.monotonic() - began:5.0f} s  {found[name][0]:.9f} … {found[name][-1]:.9f}", flush=True
            )
    first = found[names[0]]
    assert len(first) == 10, first
    furthest = max(abs(ours - own) for own in found.values() for ours, own in zip(first, own, strict=True))
    print(f"{len(first)} losses of {len(names)} launchers, furthest apart: {furthest:.1e} (allowed: {TOLERANCE:g})")
    return int(furthest > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
