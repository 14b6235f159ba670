"""Savers killed in the middle of a save: nothing torn is listed, nothing whole is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_save_that_is_killed_at_any_moment_tears_and_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.checkpoint.killed_saver", str(tmp_path), "15"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("15 kills, ")


def test_nor_does_one_that_is_killed_at_any_of_its_file_operations(tmp_path: Path) -> None:
    """Some of them, which other seeds would choose otherwise; all of them are ``make faults``."""
    command = [sys.executable, "-m", "tests.checkpoint.killed_at_each", str(tmp_path), "--runs", "25", "--seed", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("25 kills at ")
