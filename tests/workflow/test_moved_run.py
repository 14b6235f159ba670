"""A run that was moved or copied: its data is found again where it was brought along, and is never taken for other data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from redheart.config import load_config
from redheart.embedding import open_embedded
from redheart.errors import UsageError
from redheart.paths import OutputPaths
from redheart.storage import write_json
from redheart.training.run_folder import RunDescription
from redheart.workflow.datasets import check_dataset_of_run, embedded_of_run, open_dataset_of_run
from tests.training.small_data import embedded_items, write_embedded


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with data and a run on it, moved as a whole from where it was."""
    made = tmp_path / "was"
    made.mkdir()
    dataset = write_embedded(made)
    identity = open_embedded(dataset).identity
    write_json(
        OutputPaths(made / "training").run,
        RunDescription(run="r", finished=True, dataset=str(dataset), identity={"dataset": identity}),
    )
    return made.rename(tmp_path / "is")


def _config(output: Path):  # type: ignore[no-untyped-def]
    return load_config(None, [f"output={output}"])


@pytest.mark.parametrize("place", ["", "training"])
def test_data_that_was_brought_along_is_the_runs(project: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset,) = project.glob("*.json")
    moved = shutil.move(dataset, project / place / dataset.name) if place else dataset
    config = _config(project / "training")
    assert embedded_of_run(config) == Path(moved)
    check_dataset_of_run(config)
    assert open_dataset_of_run(config).path == Path(moved)


def test_data_in_the_folder_that_one_is_in_is_found_for_a_run_that_was_copied_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "elsewhere" / "run"
    shutil.copytree(project / "training", copy)
    with pytest.raises(UsageError, match=r"no other file of that name in .*run or beside it holds the same.*--data"):
        check_dataset_of_run(_config(copy))
    monkeypatch.chdir(project)
    assert embedded_of_run(_config(copy)) == next(project.glob("*.json"))


def test_other_data_of_the_same_name_is_not_taken_for_the_runs(project: Path) -> None:
    (dataset,) = project.glob("*.json")
    write_embedded(project, embedded_items()[:-1])
    assert dataset.is_file() and embedded_of_run(_config(project / "training")) is None
    dataset.write_text("[")
    with pytest.raises(UsageError, match="is not there"):
        check_dataset_of_run(_config(project / "training"))
