"""Two runs never work in one output folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from redheart.errors import FolderInUse
from redheart.workflow.lock import HELD_VARIABLE, sole_user

HOLD = """
import sys, time
from pathlib import Path
from redheart.workflow.lock import sole_user
with sole_user(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """A process that holds ``tmp_path/out``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_and_told_who_is_there(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(FolderInUse, match=f"process {holder.pid} on ") as caught, sole_user(tmp_path / "out"):
        pass
    assert "--output" in str(caught.value)


def test_a_killed_holder_leaves_the_folder_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with sole_user(tmp_path / "out"):
        pass


def test_what_the_holder_starts_works_on_its_behalf(tmp_path: Path) -> None:
    with sole_user(tmp_path):
        assert os.environ[HELD_VARIABLE] == str(tmp_path)
        with sole_user(tmp_path):
            pass
    assert HELD_VARIABLE not in os.environ


def test_another_folder_is_another_matter(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with sole_user(tmp_path / "other"):
        pass
