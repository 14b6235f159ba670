"""Curves as files: what was recorded, in three forms."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path

import pytest

from redheart.errors import NotYetDone
from redheart.report import export_curves
from redheart.report.curves import read_curves
from redheart.storage import append_line, read_lines


def test_json_and_csv_hold_the_recorded_numbers(output: Path) -> None:
    records = [line for line in read_lines(output / "metrics.jsonl") if line["kind"] == "epoch"]
    as_json, as_csv, picture = export_curves(output)
    curves = json.loads(as_json.read_text())
    assert curves["epoch"] == [1, 2, 3, 4]
    assert curves["choose_loss"] == [record["choose"]["loss"] for record in records]
    assert curves["skill_surd"] == [record["choose"]["tasks"]["surd"]["skill"] for record in records]
    rows = list(csv.DictReader(as_csv.open()))
    assert [float(row["choose_loss"]) for row in rows] == curves["choose_loss"]
    assert struct.unpack(">II", picture.read_bytes()[16:24])[0] >= 1200


def test_a_number_that_was_not_measured_is_null_and_an_empty_field(tmp_path: Path) -> None:
    append_line(tmp_path / "metrics.jsonl", {"kind": "start", "dry_run": False})
    append_line(tmp_path / "metrics.jsonl", {"kind": "epoch", "epoch": 1, "train": {"loss": 1.5}, "choose": {}})
    as_json, as_csv, _ = export_curves(tmp_path)
    curves = json.loads(as_json.read_text())
    assert curves["train_loss"] == [1.5] and curves["skill_emotion"] == [None] and curves["best_epoch"] is None
    assert as_csv.read_text().splitlines()[1] == "1,1.5,,,,,,,,"


def test_an_epoch_that_was_run_twice_counts_once_with_its_last_record(tmp_path: Path) -> None:
    for loss in (1.0, 0.5):
        append_line(tmp_path / "metrics.jsonl", {"kind": "epoch", "epoch": 3, "choose": {"loss": loss}})
    curves = read_curves(tmp_path / "metrics.jsonl")
    assert curves.epochs == [3] and curves.choose_loss == [0.5] and curves.best_epoch == 3


def test_the_start_is_epoch_0_without_a_training_loss(tmp_path: Path) -> None:
    start = {
        "kind": "start",
        "dry_run": False,
        "learning_rate": 0.1,
        "choose": {"loss": 0.9, "tasks": {"surd": {"skill": 0.2}}},
    }
    append_line(tmp_path / "metrics.jsonl", start)
    for epoch, loss in ((1, 1.1), (2, 1.0)):
        record = {
            "kind": "epoch",
            "epoch": epoch,
            "train": {"loss": loss},
            "choose": {"loss": loss},
            "learning_rate": 0.1,
        }
        append_line(tmp_path / "metrics.jsonl", record)
    as_json, as_csv, _ = export_curves(tmp_path)
    curves = json.loads(as_json.read_text())
    assert curves["epoch"] == [0, 1, 2] and curves["choose_loss"] == [0.9, 1.1, 1.0] and curves["best_epoch"] == 0
    assert curves["train_loss"] == [None, 1.1, 1.0] and curves["learning_rate"] == [None, 0.1, 0.1]
    assert curves["skill_surd"] == [0.2, None, None]
    assert as_csv.read_text().splitlines()[1] == "0,,0.9,,,,0.2,,,"


def test_a_dry_run_has_no_best_epoch(tmp_path: Path) -> None:
    append_line(tmp_path / "metrics.jsonl", {"kind": "start", "dry_run": True})
    append_line(tmp_path / "metrics.jsonl", {"kind": "epoch", "epoch": 1, "choose": {"loss": 1.0}})
    assert read_curves(tmp_path / "metrics.jsonl").best_epoch is None


def test_no_records_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(NotYetDone, match="redheart train"):
        export_curves(tmp_path)
