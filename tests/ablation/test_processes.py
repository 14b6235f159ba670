"""Several runs at a time, asked to stop and killed: nothing finished is lost or done again, and nobody is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from redheart.ablation import run_ablation
from redheart.config import load_config
from redheart.errors import TrainingError
from tests.ablation.conftest import write_ordered

ROOT = Path(__file__).parents[2]
RUNS = 6


def start(dataset: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "redheart", "ablate", "--data", str(dataset), "--output", "out", "--json"]
    command += ["--groups", "phases,linear", "--seeds", "2", "--epochs", "2", "--lr", "1e-3", "--workers", "2"]
    command += ["model.preset=tiny", "training.global_batch_size=64"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "REDHEART_LANG": "en", "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "said.log").open("a") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)


def finished(folder: Path) -> dict[str, int]:
    """The files of the finished runs, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "out" / "ablation" / "runs").glob("[!.]*.json")}


def wait_for_a_run(process: subprocess.Popen[str], folder: Path, more_than: int) -> None:
    end = time.monotonic() + 240
    while len(finished(folder)) <= more_than:
        assert process.poll() is None, (folder / "said.log").read_text()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_stopped_and_killed_it_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    ordered = write_ordered(tmp_path / "few.embedded.json", 80)
    asked = start(ordered, tmp_path)
    wait_for_a_run(asked, tmp_path, 0)
    asked.send_signal(signal.SIGTERM)
    assert asked.wait(timeout=120) == 130
    said = (tmp_path / "said.log").read_text()
    assert "the same command goes on with the runs that are missing" in said and "Traceback" not in said
    after_stop = finished(tmp_path)
    assert 1 <= len(after_stop) < RUNS and not (tmp_path / "out" / "ablation" / "ablation.json").exists()

    killed = start(ordered, tmp_path)
    wait_for_a_run(killed, tmp_path, len(after_stop))
    workers = psutil.Process(killed.pid).children(recursive=True)
    killed.send_signal(signal.SIGKILL)
    killed.wait(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == [], "workers end with their parent"
    after_kill = finished(tmp_path)
    assert after_kill.items() >= after_stop.items()

    last = start(ordered, tmp_path)
    printed, _ = last.communicate(timeout=300)
    assert last.returncode == 0, (tmp_path / "said.log").read_text()
    assert finished(tmp_path).items() >= after_kill.items() and len(finished(tmp_path)) == RUNS
    table = json.loads(printed)
    assert [row["variant"] for row in table["rows"]] == ["whole", "phases", "linear"]
    assert table == json.loads((tmp_path / "out" / "ablation" / "ablation.json").read_text())


@pytest.mark.slow
def test_a_worker_that_dies_is_an_error_that_says_what_to_do(ordered: Path, tmp_path: Path) -> None:
    def kill_a_worker() -> bool:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):  # it is dead already
                if "redheart.ablation.worker" in " ".join(child.cmdline()):
                    child.kill()
                    break
        return False

    config = load_config(None, ["model.preset=tiny", "ablation.workers=2", "ablation.epochs=1"])
    with pytest.raises(TrainingError, match=r"ended without a word \(out of memory\?\).*ablation\.workers=1"):
        run_ablation(
            config,
            ordered,
            tmp_path,
            learning_rate=1e-3,
            should_stop=kill_a_worker,
            environment={"PYTHONPATH": str(ROOT)},
        )


@pytest.mark.slow
def test_a_run_that_diverges_in_a_worker_is_said_as_in_this_process(ordered: Path, tmp_path: Path) -> None:
    config = load_config(
        None,
        [
            "model.preset=tiny",
            "ablation.workers=2",
            "ablation.seeds=2",
            "ablation.epochs=1",
            "training.warmup_fraction=0",
        ],
    )
    with pytest.raises(TrainingError, match=r"^ablation: 'whole' \(seed [01]\) diverged at learning rate 1e\+30.*--lr"):
        run_ablation(config, ordered, tmp_path, learning_rate=1e30, variants=())
    assert (tmp_path / "ablation" / "logs" / "worker_0.log").exists()
    assert not list((tmp_path / "ablation").glob("runs/*.json"))
