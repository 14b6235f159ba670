"""Reading training's records: nothing that is missing passes for a zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sweet_spot_records import START, epoch_record, realistic_run, write_records

from redheart.errors import NotYetDone, StorageError
from redheart.sweet_spot.curves import read_history


def numbers(module: str) -> tuple[float, float]:
    return 1.0, 0.1


def test_epochs_are_the_numbers_in_the_records_not_positions_in_the_file(tmp_path: Path) -> None:
    path = write_records(tmp_path / "metrics.jsonl", [START, *(epoch_record(epoch, numbers) for epoch in (4, 5, 7))])
    assert read_history(path).epochs.tolist() == [4, 5, 7]


def test_the_last_record_of_a_repeated_epoch_wins(tmp_path: Path) -> None:
    again = epoch_record(2, lambda module: (0.25, 0.1))
    records = [START, epoch_record(1, numbers), epoch_record(2, numbers), START, again]
    history = read_history(write_records(tmp_path / "metrics.jsonl", records))
    assert history.curves["backbone"].loss.tolist() == [1.0, 0.25]


def test_a_module_without_gradients_is_an_error_that_names_it(tmp_path: Path) -> None:
    record = epoch_record(1, numbers)
    gradients = record["gradient"]["modules"]
    gradients["neural_analyzer.regret"] = gradients.pop("neural_analyzers.regret")
    path = write_records(tmp_path / "metrics.jsonl", [START, record])
    with pytest.raises(StorageError, match=r"line 2: gradient\.modules: module 'neural_analyzers\.regret' is missing"):
        read_history(path)


def test_a_gradient_without_its_mean_is_an_error_not_a_zero(tmp_path: Path) -> None:
    record = epoch_record(1, numbers)
    del record["gradient"]["modules"]["phases"]["mean"]
    path = write_records(tmp_path / "metrics.jsonl", [START, record])
    with pytest.raises(StorageError, match=r"line 2: gradient\.modules\.phases\.mean: found nothing"):
        read_history(path)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = realistic_run(tmp_path / "metrics.jsonl", 4)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:50], *lines[3:]]) + "\n")
    with pytest.raises(StorageError, match="line 3"):
        read_history(path)


@pytest.mark.parametrize("epoch", [0, -1, 1.5, "1", True, None])
def test_an_epoch_that_is_no_number_from_one_is_refused(tmp_path: Path, epoch: object) -> None:
    path = write_records(tmp_path / "metrics.jsonl", [START, epoch_record(1, numbers) | {"epoch": epoch}])
    with pytest.raises(StorageError, match="line 2: epoch"):
        read_history(path)


def test_infinite_numbers_are_refused(tmp_path: Path) -> None:
    path = write_records(tmp_path / "metrics.jsonl", [START, epoch_record(1, lambda module: (1e300, 0.0))])
    path.write_text(path.read_text().replace("1e+300", "Infinity", 1))
    with pytest.raises(StorageError, match=r"line 2: choose\.modules\.backbone\.loss"):
        read_history(path)


def test_missing_files_and_files_without_epochs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotYetDone, match="not found"):
        read_history(tmp_path / "metrics.jsonl")
    with pytest.raises(NotYetDone, match="no epoch"):
        read_history(write_records(tmp_path / "metrics.jsonl", [START]))


def test_a_task_without_targets_is_not_measured_rather_than_zero(tmp_path: Path) -> None:
    history = read_history(realistic_run(tmp_path / "metrics.jsonl", 3))
    assert np.isnan(history.curves["heads.verdict"].skill).all()


def test_a_dry_run_with_changing_weights_is_two_runs_in_one_file(tmp_path: Path) -> None:
    path = write_records(tmp_path / "metrics.jsonl", [START | {"dry_run": True}, epoch_record(1, numbers)])
    with pytest.raises(StorageError, match="mixes two runs"):
        read_history(path)


def test_a_real_run_after_a_dry_run_leaves_the_dry_epochs_out(tmp_path: Path) -> None:
    records = [START | {"dry_run": True}, *(epoch_record(epoch, numbers, relative=0.0) for epoch in (1, 2, 3))]
    records += [START, epoch_record(1, numbers)]
    history = read_history(write_records(tmp_path / "metrics.jsonl", records))
    assert (history.epochs.tolist(), history.weights_changed) == ([1], True)


def test_steps_an_epoch_follow_from_the_global_steps(tmp_path: Path) -> None:
    path = write_records(tmp_path / "metrics.jsonl", [START, *(epoch_record(epoch, numbers) for epoch in (1, 2, 4))])
    assert read_history(path).curves["backbone"].steps.tolist() == [12.0, 12.0, 12.0]
