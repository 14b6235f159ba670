"""The whole workflow on real text, as a user starts it: every file, every log line, and honest numbers in them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from redheart.checkpoint import list_epochs, load_modules, read_manifest
from redheart.data.locate import bundled_sample
from redheart.data.splits import SPLITS, split_of
from redheart.paths import OutputPaths
from redheart.storage import read_lines
from redheart.tasks import MODULES, TASKS
from tests import in_this_process

pytestmark = pytest.mark.slow
#: Neither the usual one nor one that hides what is for the owner alone.
MASK = 0o026
#: Situations per split: few, so that the run is short, and enough for every stage to have something to do.
WANTED = {"train": 24, "choose": 8, "judge": 6, "test": 6}


@dataclass(frozen=True)
class Said:
    """An exit code, and what was printed and logged."""

    returncode: int
    stdout: str
    stderr: str


def redheart(*arguments: str, cwd: Path) -> Said:
    """Runs the command line in this process; Korean messages, as by default."""
    done = in_this_process.redheart(*arguments, cwd=cwd, umask=MASK)
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def started(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same as a user does."""
    environment = {k: v for k, v in os.environ.items() if k != "REDHEART_LANG"} | {"OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "redheart", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=500, check=False, umask=MASK
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of the sample's situations under the name that is looked for by default."""
    made = tmp_path_factory.mktemp("workflow")
    left = dict(WANTED)
    chosen = []
    for item in json.loads(bundled_sample().read_text(encoding="utf-8")):
        split = split_of(item["text"])
        if left[split]:
            left[split] -= 1
            chosen.append(item)
    assert not any(left.values())
    (made / "claude_preprocessed_complete.json").write_text(json.dumps(chosen), encoding="utf-8")
    return made


FAST = ("sweep.epochs=1", "report.bootstrap_samples=200", "training.global_batch_size=8")


@pytest.fixture(scope="module")
def first(folder: Path) -> str:
    """The log of a full run with a sweep."""
    done = started("workflow", "unified-test", "--lr-sweep", "--samples", "3", *FAST, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def again(folder: Path, first: str) -> str:
    """The log of the same command once more."""
    done = redheart("workflow", "unified-test", "--lr-sweep", "--samples", "3", *FAST, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def dry(folder: Path, again: str) -> str:
    """The log of a dry run after that, in its own output folder, with another seed's sweep left out."""
    done = redheart(
        *("workflow", "unified-test", "--samples", "2", "--no-param-update", "--debug", "--verbose", "--output", "dry"),
        *FAST,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_every_file_of_the_table_is_there_and_valid(folder: Path, first: str) -> None:
    out = folder / "training"
    results = out / "lr_sweep_results"
    cumulative = json.loads((results / "lr_sweep_cumulative.json").read_text())
    runs = [run for entry in cumulative.values() for run in entry["runs"]]
    assert len(runs) == 25
    assert all(
        {"val_loss", "train_loss", "accuracy", "timestamp", "stage"} <= set(entry) for entry in cumulative.values()
    )
    assert len(list((results / "trials").glob("*.json"))) == 25
    for name in (*(f"hierarchical_lr_sweep_stage{k}" for k in range(5)), "hierarchical_lr_sweep"):
        assert (results / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    embedded = json.loads((folder / "claude_preprocessed_complete.embedded.json").read_text())
    assert len({item["embedding_key"] for item in embedded}) == sum(WANTED.values())
    assert [checkpoint.epoch for checkpoint in list_epochs(out, verify=True)] == [1, 2, 3]
    assert read_manifest(out / "checkpoints" / "start").epoch == 0
    curves = json.loads((out / "plots" / "training_curves.json").read_text())
    assert curves["epoch"] == [0, 1, 2, 3]
    with open(out / "plots" / "training_curves.csv", newline="") as table:
        assert len(list(csv.DictReader(table))) == 4
    assert (out / "plots" / "training_curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "oom_stats" / "oom_stats.json").read_text())["count"] == 0
    spots = json.loads((out / "sweet_spot_analysis" / "sweet_spot_analysis.json").read_text())
    assert set(spots["choices"]) == set(MODULES)
    assert (out / "report" / "report.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    assert read_manifest(out / "best_model").files


def test_whatever_a_full_run_leaves_is_declared_as_a_runs_or_as_shared(folder: Path, first: str, dry: str) -> None:
    for name in ("training", "dry"):
        assert OutputPaths(folder / name).undeclared() == []


def _wanted_mode(path: Path) -> int:
    return (0o777 if path.is_dir() else 0o666) & ~MASK


def test_all_that_a_full_run_leaves_may_be_read_by_those_whom_the_umask_lets(folder: Path, first: str) -> None:
    made = [path for path in folder.rglob("*") if path != folder / "claude_preprocessed_complete.json"]
    assert any(path.suffix == ".lock" for path in made) and any(path.name == "facts.safetensors" for path in made)
    wrong = {str(one): oct(one.stat().st_mode) for one in made if one.stat().st_mode & 0o7777 != _wanted_mode(one)}
    assert wrong == {}


def test_the_learning_rate_is_read_by_grep_and_cut_and_is_the_one_that_trained(folder: Path, first: str) -> None:
    command = "cat training/lr_sweep_results/optimal_lr.json | grep optimal_lr | cut -d'\"' -f4"
    shown = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()
    start = read_lines(folder / "training" / "metrics.jsonl")[0]
    assert float(shown) == start["learning_rate"]


def test_the_log_holds_every_line_that_a_full_run_makes_true(first: str) -> None:
    for line in (
        "📊 임베딩 상태:",
        "✅ 임베딩이 저장되었습니다",
        "💾 누적 결과 저장 완료: ",
        "✅ 목표 파라미터 수 달성: ",
        "M ≈ 730M",
        "출발점 (닫힌 해, 학습 전): 검증 ",
    ):
        assert line in first, line
    for line in ("✅ 파라미터 업데이트됨", "💾 체크포인트 저장: ", "gradient norm"):
        assert first.count(line) == 3, line
    for line in ("⚠️ 파라미터 개수 불일치!", "📂 기존 LR 테스트 결과 로드", "이미 테스트됨. "):
        assert line not in first, line


def test_the_same_command_again_does_nothing_twice(folder: Path, first: str, again: str) -> None:
    for line in (
        "✅ 임베딩이 저장되었습니다",
        "💾 누적 결과 저장 완료",
        "✅ 파라미터 업데이트됨",
        "💾 체크포인트 저장: ",
    ):
        assert line not in again, line
    assert "📂 기존 LR 테스트 결과 로드: " in again
    assert "⏭️" in again


def test_another_sweep_moves_away_from_what_was_tested(folder: Path, again: str) -> None:
    """Another seed is another sweep: its points fall on tested ones and are moved by steps of 10 %."""
    done = redheart("sweep", "--seed", "1", "sweep.stages=2", *FAST, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "📂 기존 LR 테스트 결과 로드: " in done.stderr
    assert "⚠️ LR " in done.stderr and " 이미 테스트됨. " in done.stderr
    cumulative = json.loads((folder / "training" / "lr_sweep_results" / "lr_sweep_cumulative.json").read_text())
    assert sum(len(entry["runs"]) for entry in cumulative.values()) == 35


def test_validation_is_validation(folder: Path, first: str) -> None:
    lines = read_lines(folder / "training" / "metrics.jsonl")
    assert lines[0]["counts"] == WANTED
    for line in lines[1:]:
        assert line["choose"]["count"] == WANTED["choose"]
        assert line["choose"]["loss"] != line["train"]["loss"]
        assert set(line["choose"]["modules"]) == set(MODULES) == set(line["gradient"]["modules"])
        assert all(update["relative"] > 0 for update in line["update"]["modules"].values())
    items = json.loads((folder / "claude_preprocessed_complete.json").read_text())
    assert {split: sum(split_of(i["text"]) == split for i in items) for split in SPLITS} == WANTED


def test_the_crossover_is_made_of_the_chosen_epochs_files(folder: Path, first: str) -> None:
    import torch

    out = folder / "training"
    stored = torch.load(out / "crossover_final.pth", weights_only=True)
    assert set(stored["choices"]) == set(MODULES)
    epochs = {checkpoint.epoch: checkpoint.path for checkpoint in list_epochs(out)}
    for module, epoch in stored["choices"].items():
        for name, tensor in load_modules(epochs[epoch], [module]).items():
            assert torch.equal(stored["state_dict"][name], tensor), name


def test_evaluate_scores_the_delivered_model_beside_the_constant(folder: Path, first: str) -> None:
    done = redheart("evaluate", "--split", "judge", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    scored = json.loads(done.stdout)
    candidates = json.loads((folder / "training" / "crossover" / "candidates.json").read_text())
    assert scored["count"] == WANTED["judge"]
    assert set(scored["tasks"]) == {task.name for task in TASKS}
    assert scored["tasks"]["emotion"]["kl_constant"] > 0
    assert candidates


def test_a_dry_run_changes_no_weight_and_says_that_there_is_nothing_to_choose(folder: Path, dry: str) -> None:
    import torch

    assert "✅ 파라미터 업데이트됨" not in dry
    assert "⚠️ 업데이트되지 않은 모듈: backbone" in dry
    epochs = list_epochs(folder / "dry")
    assert len(epochs) == 2
    one, two = (load_modules(checkpoint.path) for checkpoint in epochs)
    assert all(torch.equal(one[name], two[name]) for name in one)
    spots = json.loads((folder / "dry" / "sweet_spot_analysis" / "sweet_spot_analysis.json").read_text())
    assert spots["choices"] is None and spots["dry_run"] is True
    assert (folder / "dry" / "crossover_final.pth").exists()
    assert (folder / "dry" / "report" / "report.html").exists()


def test_a_learning_rate_that_is_given_is_the_one_that_trains(folder: Path, dry: str) -> None:
    done = redheart("train", "--epochs", "1", "--lr", "1.7e-4", "--output", "given", *FAST, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert read_lines(folder / "given" / "metrics.jsonl")[0]["learning_rate"] == 1.7e-4
    assert json.loads((folder / "given" / "run.json").read_text())["identity"]["learning_rate"] == 1.7e-4


def test_data_without_targets_choose_no_learning_rate(folder: Path, tmp_path: Path) -> None:
    items = json.loads((folder / "claude_preprocessed_complete.json").read_text())
    (tmp_path / "bare.json").write_text(json.dumps([{"id": item["id"], "text": item["text"]} for item in items]))
    for words in (("workflow", "validate"), ("sweep",)):
        done = redheart(*words, "--data", "bare.json", cwd=tmp_path)
        assert done.returncode == 2
        assert "bare.json" in done.stderr and "found no target" in done.stderr
    assert not (tmp_path / "training" / "lr_sweep_results").exists()


def test_a_broken_dataset_stops_the_workflow_with_2_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    items = json.loads((folder / "claude_preprocessed_complete.json").read_text())
    items[3]["emotions"] = [0.5] * 7
    (tmp_path / "broken.json").write_text(json.dumps(items))
    done = redheart("workflow", "unified-test", "--data", "broken.json", cwd=tmp_path)
    assert done.returncode == 2
    assert items[3]["id"] in done.stderr and "emotions" in done.stderr and "broken.json" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["broken.json"]
