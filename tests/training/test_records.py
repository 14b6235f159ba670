"""The records of a training: one rule for what counts, one reader; files of older versions are read too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redheart.errors import NotYetDone, StorageError
from redheart.facts.scores import ModuleScores, SplitScores, TaskScores
from redheart.storage import append_line, read_lines
from redheart.tasks import MODULES, TASKS
from redheart.training.records import (
    EpochRecord,
    GradientRecord,
    ModuleUpdate,
    NormSpread,
    RunRecord,
    TrainLosses,
    UpdateRecord,
    append_record,
    drop_records_from,
    read_records,
)

PROJECT = Path(__file__).parents[2]
STORED = PROJECT / "docs" / "runs" / "2026-11-23-bundled-sample" / "metrics.jsonl"


def file_of(tmp_path: Path, *lines: dict[str, Any]) -> Path:
    path = tmp_path / "metrics.jsonl"
    for line in lines:
        append_line(path, line)
    return path


def epoch(number: int, loss: float = 1.0) -> dict[str, Any]:
    return {"kind": "epoch", "epoch": number, "choose": {"loss": loss}}


def test_a_stored_run_of_an_older_version_is_read_whole() -> None:
    records = read_records(STORED)
    assert records.run is not None and not records.is_dry_run
    assert (records.run.preset, records.run.parameters, records.run.engine) == ("tiny", 4650935, "plain")
    assert records.run.choose is not None and records.run.choose.count == 33
    assert list(records.epochs) == list(range(1, 21))
    for record in records.epochs.values():
        assert record.choose is not None and set(record.choose.tasks) == {task.name for task in TASKS}
        assert record.gradient is not None and set(record.gradient.modules or ()) == set(MODULES)


def test_what_was_read_of_it_is_written_as_it_stands() -> None:
    """Every name and number of an older version's line comes back; the settings, which are not read, are left out."""
    first, *lines = read_lines(STORED)
    records = read_records(STORED)
    assert [msgspec.to_builtins(record) for record in records.epochs.values()] == lines
    first.pop("config")
    assert msgspec.to_builtins(records.run) == {**first, "kind": "run"}


def test_what_is_appended_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    scores = SplitScores(
        count=3,
        loss=0.5,
        terms={"heads.emotion": 0.5},
        tasks={"emotion": TaskScores(count=0, loss=0.5)},
        modules={"backbone": ModuleScores(loss=0.5)},
    )
    run = RunRecord(run="one", dry_run=False, choose=scores)
    record = EpochRecord(
        epoch=1,
        train=TrainLosses(loss=1.0),
        choose=scores,
        gradient=GradientRecord(modules={"backbone": NormSpread(mean=1.0, std=0.0, max=1.0)}),
        update=UpdateRecord(modules={"backbone": ModuleUpdate(relative=0.1, dead_fraction=0.0)}),
    )
    append_record(path, run)
    append_record(path, record)
    found = read_records(path)
    assert (found.run, found.epochs) == (run, {1: record})
    assert [line["kind"] for line in read_lines(path)] == ["run", "epoch"]
    assert read_lines(path)[1]["choose"]["tasks"] == {"emotion": {"count": 0, "loss": 0.5}}


def test_the_later_record_of_an_epoch_counts(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"kind": "run", "dry_run": False}, epoch(1), epoch(2), epoch(1, 0.25))
    records = read_records(path)
    assert list(records.epochs) == [1, 2] and records.epochs[1].choose == SplitScores(loss=0.25)
    assert records.where(1) == f"{path}: line 4"


@pytest.mark.parametrize("kind", ["run", "start"])
@pytest.mark.parametrize("change", [{"run": "other"}, {"dry_run": True}])
def test_another_runs_line_cuts_what_was_before_it(tmp_path: Path, kind: str, change: dict[str, Any]) -> None:
    one = {"kind": kind, "run": "one", "dry_run": False}
    path = file_of(tmp_path, one, epoch(1), epoch(2), {**one, **change}, epoch(1, 0.5))
    records = read_records(path)
    assert list(records.epochs) == [1] and records.where(1).endswith("line 5")
    assert records.is_dry_run == change.get("dry_run", False)


def test_the_same_runs_line_cuts_nothing(tmp_path: Path) -> None:
    one = {"kind": "run", "run": "one", "dry_run": False}
    assert list(read_records(file_of(tmp_path, one, epoch(1), one, epoch(2))).epochs) == [1, 2]


def test_what_a_newer_version_adds_is_passed_over(tmp_path: Path) -> None:
    newer = {**epoch(1), "weather": "fine", "choose": {"loss": 1.0, "mood": {"good": 1}}}
    path = file_of(tmp_path, {"kind": "run", "dry_run": False, "config": {"new": 1}}, {"kind": "weather"}, newer)
    assert read_records(path).epochs[1].choose == SplitScores(loss=1.0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ([1, 2], "line 1: kind: found [1, 2], wanted a record with its kind"),
        ({"kind": "run"}, "line 1: dry_run: found nothing"),
        ({"kind": "run", "dry_run": 1}, "line 1: dry_run: found 1, wanted true or false"),
        ({"kind": "epoch", "epoch": 0}, "line 1: epoch: found 0, wanted a whole number >= 1"),
        (
            {"kind": "epoch", "epoch": 1, "choose": {"modules": {"phases": {"loss": "low"}}}},
            "line 1: choose.modules.phases.loss: found 'low', wanted a number or null",
        ),
    ],
)
def test_a_line_that_does_not_fit_is_named_with_field_found_and_wanted(tmp_path: Path, line: Any, said: str) -> None:
    path = file_of(tmp_path, line)
    with pytest.raises(StorageError) as found:
        read_records(path)
    assert str(found.value) == f"{path}: {said}"


def test_reading_records_loads_no_torch() -> None:
    code = "import sys, redheart.training.records; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert found.stdout == "False\n"


def test_a_file_without_epochs_is_empty_until_one_is_needed(tmp_path: Path) -> None:
    records = read_records(file_of(tmp_path, json.loads('{"kind": "run", "dry_run": false}')))
    assert records.epochs == {}
    with pytest.raises(NotYetDone, match="found no epoch, wanted at least one; `redheart train` writes them"):
        records.needed()


def test_a_damaged_line_is_named_with_what_trains_the_run_again(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"kind": "run", "dry_run": False}, epoch(1), epoch(2))
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": '))
    (tmp_path / "config.yaml").touch()
    with pytest.raises(StorageError) as found:
        read_records(path)
    assert str(found.value).startswith(f"{path}: line 2 is damaged")
    assert str(found.value).endswith(f"trained again: `redheart train --config {tmp_path}/config.yaml --force`")


class TestEpochsThatAreTrainedAgain:
    def test_their_records_go_and_all_other_lines_stay_as_they_are(self, tmp_path: Path) -> None:
        run, other = {"kind": "run", "dry_run": False}, {"kind": "note", "epoch": 2}
        path = file_of(tmp_path, run, epoch(1, 0.1), epoch(2), other, epoch(3))
        drop_records_from(path, 2)
        assert read_lines(path) == [run, epoch(1, 0.1), other]

    def test_where_there_are_none_the_file_is_not_written_again(self, tmp_path: Path) -> None:
        path = file_of(tmp_path, {"kind": "run", "dry_run": False}, epoch(1))
        before = path.stat().st_ino
        drop_records_from(path, 2)
        assert path.stat().st_ino == before
        drop_records_from(tmp_path / "none.jsonl", 1)
        assert not (tmp_path / "none.jsonl").exists()

    def test_a_file_with_a_damaged_line_is_left_to_whoever_reads_it(self, tmp_path: Path) -> None:
        path = file_of(tmp_path, {"kind": "run", "dry_run": False}, epoch(1))
        damaged = b"{damaged\n" + path.read_bytes()
        path.write_bytes(damaged)
        drop_records_from(path, 1)
        assert path.read_bytes() == damaged
