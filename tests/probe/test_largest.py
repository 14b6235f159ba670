"""The largest micro-batch that fits: half where memory runs out, nothing left behind, and what fails otherwise is told."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from redheart.config import Config, with_settings
from redheart.errors import Interrupted, TrainingError
from redheart.probe import largest
from redheart.probe.largest import largest_that_fits

ASKED = with_settings(Config(), {"training.global_batch_size": 64, "training.micro_batch_size": 16})
#: A group in the place of a probe's: reads what it is told, and does what a test says.
_BEGIN = """
import json, os, pathlib, subprocess, sys, time
told = json.loads(pathlib.Path(sys.argv[1]).read_text())
folder, training = pathlib.Path(told["folder"]), told["config"]["training"]
size = training["micro_batch_size"]
def fit():
    for rank in range(2):
        (folder / f"rank_{rank}.json").write_text(json.dumps(dict(imports=0, phases={}, micro_batch_size=size)))
def short():
    (folder / "short_1.json").write_text("{}")
    sys.exit(1)
"""


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def group(program: str) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []

        def command(told: Path, **_: Any) -> list[str]:
            seen.append(json.loads(told.read_text()))
            return [sys.executable, "-c", _BEGIN + program, str(told)]

        monkeypatch.setattr(largest, "command_of", command)
        return seen

    monkeypatch.setattr(largest.tempfile, "tempdir", str(tmp_path))
    yield group
    assert list(tmp_path.iterdir()) == [], "nothing is left"


def find(**how: Any) -> int | None:
    launch_file = how.pop("launch_file", "launch/zero2.yaml")
    return largest_that_fits(ASKED, launch_file=launch_file, processes=2, segments=9, d_embed=8, **how)


def test_it_is_halved_until_it_fits_at_the_greatest_length_with_as_many_passes_as_tell(tried: Any) -> None:
    seen = tried("fit() if size <= 4 else short()")
    assert find() == 4
    cuts = [
        (one["config"]["training"]["micro_batch_size"], one["config"]["training"]["global_batch_size"]) for one in seen
    ]
    assert cuts == [(16, 64), (8, 32), (4, 16)]
    assert all((one["segments"], one["d_embed"], one["saves"]) == (9, 8, False) for one in seen)


def test_where_not_even_one_fits_that_is_told(tried: Any) -> None:
    seen = tried("short()")
    assert find() is None and len(seen) == 5
    seen = tried("short()")
    assert find(launch_file=None) is None and len(seen) == 1, "one plain process comes down by itself"


def test_what_fails_otherwise_is_told_with_what_it_said(tried: Any) -> None:
    tried("print('no such card'); sys.exit(3)")
    with pytest.raises(TrainingError, match=r"(?s)exit code 3.*no such card"):
        find()


HANGING = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
pathlib.Path({pid!r}).write_text(str(child.pid))
time.sleep(60)
"""


def test_one_that_does_not_end_is_ended_with_all_that_it_started(tried: Any, tmp_path_factory: Any) -> None:
    pid = tmp_path_factory.mktemp("pid") / "pid"
    tried(HANGING.format(pid=str(pid)))
    with pytest.raises(TrainingError, match="did not end within 2 s"):
        find(within=2.0)
    give_up = time.monotonic() + 10
    while psutil.pid_exists(int(pid.read_text())) and time.monotonic() < give_up:
        if psutil.Process(int(pid.read_text())).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    else:
        assert not psutil.pid_exists(int(pid.read_text()))
    with pytest.raises(Interrupted):
        find(should_stop=lambda: True)
