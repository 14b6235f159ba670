"""Trainings that are interrupted at random points go on to the same bits: a few of those of ``make faults``."""

from __future__ import annotations

import subprocess
import sys

from tests.integration.launching import PROJECT


def test_two_are_the_undisturbed_run_to_the_bit_and_one_that_forgets_its_sums_is_not() -> None:
    """One is asked to stop and one killed, both in the midst of saving a state."""
    command = [
        sys.executable,
        "-m",
        "tests.integration.interruptions",
        "--engine",
        "plain",
        "--runs",
        "2",
        "--seed",
        "54",
    ]
    done = subprocess.run(
        [*command, "--controls", "sums"], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "2 trainings, seed 54" in done.stdout and "; 0 failed" in done.stdout
    assert "gone on with without sums: differs in records" in done.stdout
