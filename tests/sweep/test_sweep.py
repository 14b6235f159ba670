"""Whole sweeps of fake trials in real processes: killed, stopped, failing, repeated. And one with the real trial."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from redheart.config import load_config
from redheart.errors import StorageError
from redheart.sweep import rebuild, run_sweep
from redheart.sweep.optimal import read_chosen_for, read_optimal_lr
from tests.sweep.support import FAKE, RESULTS, children, kill, start, started, trial_files


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, str]]:
    """A sweep that ran through, on the history of an older implementation in small; and what it said."""
    root = tmp_path_factory.mktemp("complete")
    (root / "seconds").write_text("0.01")
    (root / RESULTS).mkdir()
    old = {"5.6e-05": {"val_loss": 0.02, "train_loss": 0.02, "accuracy": 0.98, "timestamp": "2025", "stage": 0}}
    (root / RESULTS / "lr_sweep_cumulative.json").write_text(json.dumps(old))
    process = start(root)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    yield root, out, said


def copy_of(complete: tuple[Path, str, str], tmp_path: Path) -> Path:
    shutil.copytree(complete[0], tmp_path / "copy")
    return tmp_path / "copy"


def own_trials(root: Path) -> list[Path]:
    return [path for path in trial_files(root) if not path.name.startswith("imported")]


def wait_for_trials(root: Path, count: int) -> None:
    end = time.monotonic() + 30
    while len(own_trials(root)) < count:
        assert time.monotonic() < end, "no trials came"
        time.sleep(0.02)


def test_a_sweep_leaves_all_its_files_and_says_the_lines_that_people_search_for(complete):
    root, out, said = complete
    names = {path.name for path in (root / RESULTS).iterdir()}
    assert {"lr_sweep_cumulative.json", "optimal_lr.json", "trials", "hierarchical_lr_sweep.png"} <= names
    assert {f"hierarchical_lr_sweep_stage{stage}.png" for stage in range(5)} <= names
    assert len(own_trials(root)) == 25
    assert "📂 기존 LR 테스트 결과 로드: 1 개 LR 기록" in said
    assert "⚠️ LR 5.6e-05 이미 테스트됨. 6.16e-05로 조정" in said
    cumulative = json.loads((root / RESULTS / "lr_sweep_cumulative.json").read_text())
    assert f"💾 누적 결과 저장 완료: {len(cumulative)} 개 LR" in said
    assert "1234" in said, "the number of validation situations is said"
    assert sum(len(entry["runs"]) for entry in cumulative.values()) == 26
    assert max(started(root).values()) == 1
    assert out.split()[2:] == ["25", "False"]


def test_each_trial_has_a_line_with_how_many_are_done_and_the_time_left(complete):
    _, _, said = complete
    lines = [line for line in said.splitlines() if line.startswith("🧪")]
    assert len(lines) == 25
    assert [line.partition("/25")[0] for line in lines] == [f"🧪 포인트 {done}" for done in range(1, 26)]
    assert all("LR " in line and "val_loss" in line and "남은 시간 약 " in line for line in lines)


def test_the_same_sweep_again_is_skipped_and_runs_nothing(complete, tmp_path):
    root = copy_of(complete, tmp_path)
    before = (root / RESULTS / "optimal_lr.json").read_bytes()
    process = start(root)
    out, said = process.communicate(timeout=60)
    assert out.split()[2:] == ["0", "True"], said
    assert "건너뜀" in said and "조정" not in said and "저장 완료" not in said
    assert started(root) == started(complete[0])
    assert (root / RESULTS / "optimal_lr.json").read_bytes() == before


@pytest.mark.parametrize("kind", ["force", "other"])
def test_force_or_another_identity_is_a_new_sweep_against_the_whole_history(complete, tmp_path, kind):
    root = copy_of(complete, tmp_path)
    known = {float(json.loads(path.read_text())["learning_rate"]) for path in trial_files(root)}
    old = set(own_trials(root))
    process = start(root, "force") if kind == "force" else start(root, "pool", "seed=1", "sweep.stages=1")
    out, said = process.communicate(timeout=60)
    count = 25 if kind == "force" else 5
    assert out.split()[2:] == [str(count), "False"], said
    fresh = [json.loads(path.read_text()) for path in own_trials(root) if path not in old]
    assert len(fresh) == count
    assert "이미 테스트됨" in said
    stage0 = {trial["learning_rate"] for trial in fresh if trial["stage"] == 0 and trial["placement"] != "repeat"}
    assert stage0 and not stage0 & known
    chosen = json.loads((root / RESULTS / "optimal_lr.json").read_text())
    assert chosen["sweep"] == fresh[0]["sweep"]


def test_going_back_to_an_earlier_identity_chooses_from_its_own_trials_again(complete, tmp_path):
    root = copy_of(complete, tmp_path)
    before = (root / RESULTS / "optimal_lr.json").read_bytes()
    start(root, "pool", "seed=1", "sweep.stages=1").communicate(timeout=60)
    assert (root / RESULTS / "optimal_lr.json").read_bytes() != before
    out, _ = start(root).communicate(timeout=60)
    assert out.split()[2:] == ["0", "True"]
    assert (root / RESULTS / "optimal_lr.json").read_bytes() == before


def test_a_killed_worker_costs_at_most_its_one_point_and_its_end_is_said(tmp_path):
    (tmp_path / "seconds").write_text("0.15")
    process = start(tmp_path, "pool", "sweep.workers=2", "sweep.stages=3")
    wait_for_trials(tmp_path, 3)
    kill(children(process.pid)[0])
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "SIGKILL" in said
    assert len(own_trials(tmp_path)) == 15
    assert sum(started(tmp_path).values()) <= 16


def test_the_whole_pool_killed_goes_on_with_at_most_one_point_a_worker_done_twice(tmp_path):
    (tmp_path / "seconds").write_text("0.15")
    process = start(tmp_path, "pool", "sweep.workers=2")
    wait_for_trials(tmp_path, 7)
    kill(*children(process.pid), process.pid)
    process.communicate()
    done = len(own_trials(tmp_path))
    plans = {path: path.read_bytes() for path in (tmp_path / RESULTS / "sweeps").rglob("plan_*.json")}
    (tmp_path / "seconds").write_text("0.01")
    process = start(tmp_path, "pool", "sweep.workers=2")
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert out.split()[2:] == [str(25 - done), "False"]
    assert f"{done}/25" in said
    assert said.count("🧪") == 25 - done, "those that were there are not told again"
    assert len(own_trials(tmp_path)) == 25
    assert sum(started(tmp_path).values()) <= 27
    assert all(path.read_bytes() == content for path, content in plans.items()), "a written plan is never changed"


def test_workers_whose_parent_was_killed_stop_by_themselves(tmp_path):
    (tmp_path / "seconds").write_text("0.2")
    process = start(tmp_path, "pool", "sweep.workers=2")
    wait_for_trials(tmp_path, 1)
    workers = children(process.pid)
    kill(process.pid)
    process.communicate()
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers):
        assert time.monotonic() < end, "orphans go on"
        time.sleep(0.05)
    assert len(own_trials(tmp_path)) < 25


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_workers_in_order_and_says_how_far_it_came(tmp_path, number):
    (tmp_path / "seconds").write_text("0.3")
    process = start(tmp_path, "pool", "sweep.workers=2")
    wait_for_trials(tmp_path, 2)
    workers = children(process.pid)
    os.kill(process.pid, number)
    out, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert out.startswith("Interrupted") and "of 25 trials" in out
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not list((tmp_path / RESULTS).rglob("*.tmp"))
    for path in own_trials(tmp_path):
        json.loads(path.read_text())
    claims = [json.loads(path.read_text()) for path in (tmp_path / RESULTS / "sweeps").rglob("stage*_point*.json")]
    assert all(claim["released"] for claim in claims)


def test_a_point_that_fails_twice_ends_the_sweep_with_the_workers_last_words(tmp_path):
    (tmp_path / "fail").write_text("0.00032")
    process = start(tmp_path, "pool", "sweep.workers=3")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 5
    assert out.startswith("TrainingError") and "stage0_point2" in out and "2 times" in out
    assert "RuntimeError: the fake trial fails at 0.00032" in out


def test_without_a_worker_left_the_error_says_why(tmp_path):
    (tmp_path / "fail").write_text("1e-05")
    out, _ = start(tmp_path, "pool", "sweep.workers=1").communicate(timeout=60)
    assert "no sweep worker is left" in out and "RuntimeError: the fake trial fails at 1e-05" in out


def test_diverged_trials_are_kept_as_such_and_never_chosen(tmp_path):
    (tmp_path / "seconds").write_text("0.01")
    (tmp_path / "diverge_above").write_text("1e-4")
    out, said = start(tmp_path, "pool", "sweep.stages=2").communicate(timeout=60)
    assert float(out.split()[1]) <= 1e-4, said
    cumulative = json.loads((tmp_path / RESULTS / "lr_sweep_cumulative.json").read_text())
    assert all(entry["diverged"] == (float(key) > 1e-4) for key, entry in cumulative.items())


def test_a_sweep_in_which_everything_diverged_says_so_and_chooses_nothing(tmp_path):
    (tmp_path / "seconds").write_text("0.01")
    (tmp_path / "diverge_above").write_text("0")
    process = start(tmp_path, "pool", "sweep.stages=2")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 5 and "all 10 trials" in out
    assert not (tmp_path / RESULTS / "optimal_lr.json").exists()


def test_independent_workers_share_one_sweep_without_a_parent(tmp_path):
    (tmp_path / "seconds").write_text("0.05")
    workers = [start(tmp_path, "worker", "sweep.stages=3") for _ in range(3)]
    answers = [worker.communicate(timeout=60) for worker in workers]
    assert len({out.split()[1] for out, _ in answers}) == 1, answers
    assert len(own_trials(tmp_path)) == 15
    assert max(started(tmp_path).values()) == 1
    assert (tmp_path / RESULTS / "hierarchical_lr_sweep.png").exists()
    said = "".join(said for _, said in answers)
    assert said.count("📐 스테이지 2") >= 1


def test_the_cumulative_file_follows_from_the_trials(complete, tmp_path):
    root = copy_of(complete, tmp_path)
    path = root / RESULTS / "lr_sweep_cumulative.json"
    content = path.read_bytes()
    path.unlink()
    rebuild(root)
    assert path.read_bytes() == content


def test_importing_the_stage_brings_no_torch_numpy_or_matplotlib():
    code = "import sys, redheart.sweep; print(sorted({'torch', 'matplotlib', 'numpy', 'scipy'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_each_trial_tells_how_many_were_there_before_it(complete):
    """One was imported; a stage begins when the one before it is whole."""
    for path in own_trials(complete[0]):
        trial = json.loads(path.read_text())
        assert 1 + 5 * trial["stage"] <= trial["published_after"] < 1 + 5 * (trial["stage"] + 1)


@pytest.mark.parametrize(
    "damage", ['{"optimal_lr', "null", '{{"optimal_lr": "much", "sweep": "{sweep}"}}', '{{"sweep": "{sweep}"}}']
)
def test_a_choice_that_can_not_be_read_is_written_anew_by_the_same_sweep_as_its_message_says(
    complete, tmp_path, monkeypatch, damage
):
    monkeypatch.setattr("redheart.sweep.plots.plot_stage", lambda *_: None)
    monkeypatch.setattr("redheart.sweep.plots.plot_summary", lambda *_: None)
    root = copy_of(complete, tmp_path)
    path = root / RESULTS / "optimal_lr.json"
    before = path.read_bytes()
    path.write_text(damage.format(sweep=json.loads(before)["sweep"]) if "{{" in damage else damage)
    with pytest.raises(StorageError, match=r"; run `redheart sweep --output .*/copy` again"):
        read_optimal_lr(path)
    assert run_sweep(load_config(None), root / "data.embedded.json", "data-1", root, runner=FAKE).skipped
    assert path.read_bytes() == before
    (root / RESULTS / "chosen_for.json").write_text("[")
    with pytest.raises(StorageError, match=r"; run `redheart sweep --output .*/copy` again"):
        read_chosen_for(root / RESULTS)
