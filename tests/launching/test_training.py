"""A training under ``redheart launch``, one of whose processes runs out of memory, comes to its end by itself."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from redheart.config import load_config
from redheart.facts.launches import read_launches
from redheart.storage import read_lines
from tests.integration.launching import LEARNING_RATE, OVERRIDES, run_unless_silent
from tests.launching import short_of_memory
from tests.training.runs import train
from tests.training.small_data import write_embedded


def losses(output: Path) -> list[float]:
    return [
        line[part]["loss"]
        for line in read_lines(output / "metrics.jsonl")
        if "train" in line
        for part in ("train", "choose")
    ]


@pytest.mark.slow
def test_a_training_that_runs_out_of_memory_has_the_losses_of_one_that_began_with_a_smaller_micro_batch(
    tmp_path: Path,
) -> None:
    dataset = write_embedded(tmp_path)
    planted = tmp_path / "planted"
    planted.mkdir()
    shutil.copy(short_of_memory.__file__, planted / "sitecustomize.py")

    settings = [*OVERRIDES, "training.precision=no", "training.save_every_minutes=0"]
    command = [
        sys.executable,
        "-m",
        "redheart",
        "launch",
        "--launch-file",
        "launch/zero2.yaml",
        "--processes",
        "2",
        "train",
    ]
    command += ["--data", str(dataset), "--output", str(tmp_path / "out"), "--lr", str(LEARNING_RATE), *settings]
    done = run_unless_silent(
        [*command, "training.gradient_accumulation_steps=1"],
        environment={**os.environ, "REDHEART_LANG": "en", "OMP_NUM_THREADS": "1", "SHORT_AT": "1:6"},
        first=[planted],
    )
    assert done.returncode == 0, done.stderr
    (event,) = read_launches(tmp_path / "out").events
    assert (event.cause, event.rank, event.step) == ("out_of_memory", 1, 2), (
        "in the second epoch, from whose start it went on"
    )
    assert (event.micro_batch_size, event.smaller_micro_batch_size) == (12, 6)
    config = load_config(None, [*settings, "training.micro_batch_size=6"])
    train(dataset, tmp_path / "undisturbed", config, learning_rate=LEARNING_RATE)
    assert losses(tmp_path / "out") == pytest.approx(losses(tmp_path / "undisturbed"), rel=1e-5)
