"""A trial for which memory does not suffice fails alone, with its reason; a sweep of nothing else ends as out of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from redheart.config import load_config
from redheart.errors import OutOfMemory
from redheart.storage import read_json
from redheart.sweep import run_worker
from tests.sweep.support import FAKE, trial_files

CONFIG = load_config(None, ["sweep.stages=1", "sweep.points=3"])


def sweep(root: Path) -> None:
    (root / "seconds").write_text("0")
    run_worker(CONFIG, root / "data.embedded.json", "data-1", root, runner=FAKE)


def test_it_fails_alone_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("0.01")
    sweep(tmp_path)
    trials = [read_json(path) for path in trial_files(tmp_path)]
    assert [one.get("reason") for one in trials] == [None, None, "no room for a single situation"]
    assert [one["val_loss"] is None for one in trials] == [False, False, True]


def test_where_none_has_room_the_reason_is_the_sweeps(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("1e-05 0.00032 0.01")
    with pytest.raises(OutOfMemory, match=r"no room for a single situation.*--force"):
        sweep(tmp_path)
