"""The removal of checkpoints: what is used or needed stays, nothing is half removed, and what is freed is said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from redheart.checkpoint import list_epochs
from redheart.errors import StorageError
from redheart.inspection.removal import plan_removal, remove
from redheart.inspection.sizes import size_of
from redheart.paths import OutputPaths
from redheart.storage import write_json
from tests.inspection.conftest import Said
from tests.inspection.test_checkpoints import a_stopped_run

Command = Callable[..., Said]


def epochs(output: Path) -> list[int]:
    return [one.epoch for one in list_epochs(output)]


def names(output: Path) -> list[str]:
    return sorted(path.name for path in OutputPaths(output).checkpoints.iterdir())


def test_ranges_and_single_epochs_go_and_what_is_freed_is_said(tmp_path: Path, redheart: Command) -> None:
    a_stopped_run(tmp_path, epochs=7, states=(), finished=True)
    before = size_of(tmp_path)
    freed = sum(size_of(tmp_path / "checkpoints" / f"epoch_000{epoch}") for epoch in (1, 3, 4, 5))
    said = redheart("checkpoints", "rm", "3-5", "--output", tmp_path, "1")
    assert said.code == 0 and epochs(tmp_path) == [2, 6, 7]
    assert f"({freed} bytes)" in said.out and before - size_of(tmp_path) >= freed - 1
    assert names(tmp_path) == ["epoch_0002", "epoch_0006", "epoch_0007"], "nothing is left under another name"


def test_a_dry_run_says_the_same_and_removes_nothing(runs: Path, redheart: Command) -> None:
    before = sorted(map(str, runs.rglob("*")))
    said = redheart("checkpoints", "rm", "start", "1-2", "--dry-run", "--output", runs / "training")
    assert said.code == 0 and sorted(map(str, runs.rglob("*"))) == before, "not even a lock"
    assert "would remove checkpoints/epoch_0002" in said.out and "This would free 382.8 KiB" in said.out
    assert said.out.count("is refused without --force") == 3


@pytest.mark.parametrize(
    ("epoch", "why"),
    [
        ("3", "best_model is made of it"),
        ("2", "the analysis chose it for heads.surd, dsp_simulator; the crossover has it in"),
        ("start", "the crossover has it in start"),
    ],
)
def test_what_is_used_is_refused_with_the_reason_and_goes_by_force(
    runs: Path, redheart: Command, epoch: str, why: str
) -> None:
    output = runs / "training"
    before = names(output)
    said = redheart("checkpoints", "rm", epoch, "--output", output)
    assert said.code == 2 and why in said.err and "nothing was removed: 1 of 1 are needed" in said.err
    assert names(output) == before
    assert redheart("checkpoints", "rm", epoch, "--force", "--output", output).code == 0
    assert len(names(output)) == len(before) - 1


def test_one_that_is_needed_keeps_all_that_were_named_with_it(runs: Path, redheart: Command) -> None:
    output = runs / "training"
    shutil.copytree(output / "checkpoints/epoch_0001", output / "checkpoints/epoch_0009")
    said = redheart("checkpoints", "rm", "1", "9", "--output", output)
    assert said.code == 2 and "1 of 2 are needed" in said.err and 9 in epochs(output)
    assert redheart("checkpoints", "rm", "9", "--output", output).code == 0 and epochs(output) == [1, 2, 3]


@pytest.mark.parametrize("file", ["analysis", "candidates"])
def test_where_what_may_name_it_is_damaged_it_stays(runs: Path, redheart: Command, file: str) -> None:
    output = runs / "training"
    shutil.copytree(output / "checkpoints/epoch_0001", output / "checkpoints/epoch_0009")
    path: Path = getattr(OutputPaths(output), file)
    path.write_text("{")
    said = redheart("checkpoints", "rm", "9", "--output", output)
    assert said.code == 2 and f"what may name it can't be read: {path}" in said.err and 9 in epochs(output)


def test_what_a_stopped_run_would_train_again_stays(tmp_path: Path, redheart: Command) -> None:
    a_stopped_run(tmp_path, epochs=5, states=(4, 6))
    for epoch in (4, 5):
        said = redheart("checkpoints", "rm", epoch, "--output", tmp_path)
        assert said.code == 2 and "would go back to state_000001 to train it again" in said.err
    said = redheart("checkpoints", "rm", "1-3", "--output", tmp_path)
    assert said.code == 0 and epochs(tmp_path) == [4, 5]
    assert "Epochs of this run are gone: `redheart train`" in said.err


def test_states_go_together_unless_one_is_gone_on_from(tmp_path: Path, redheart: Command) -> None:
    a_stopped_run(tmp_path, epochs=2, states=(2, 3))
    said = redheart("checkpoints", "rm", "--resume-states", "--output", tmp_path)
    assert said.code == 2 and "state_000002: the run is not finished, and goes on from it" in said.err
    assert len(list(OutputPaths(tmp_path).resume.iterdir())) == 2
    OutputPaths(tmp_path).run.write_text('{"run": "r", "finished": true}')
    said = redheart("checkpoints", "rm", "--resume-states", "--output", tmp_path)
    assert said.code == 0 and list(OutputPaths(tmp_path).resume.iterdir()) == [] and epochs(tmp_path) == [1, 2]
    assert "Epochs of this run are gone" not in said.err


def test_whoever_removes_the_states_of_a_run_that_lacks_epochs_is_told_what_follows(
    tmp_path: Path, redheart: Command
) -> None:
    a_stopped_run(tmp_path, epochs=2, states=(3,))
    run = {"run": "r", "finished": True, "identity": {"training": {"epochs": 3}}}
    write_json(OutputPaths(tmp_path).run, run)
    said = redheart("checkpoints", "rm", "--resume-states", "--output", tmp_path)
    assert said.code == 0 and "without a resume state it trains all of them again" in said.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["9"], "checkpoints: found no checkpoint of '9'; there: epoch_0001, epoch_0002"),
        (["1", "8-9"], "found no checkpoint of '8-9'"),
        (["start"], "found no checkpoint of 'start'"),
        (["2-1"], "found '2-1', which ends before it begins; wanted an epoch such as 3"),
        (["last"], "found 'last'; wanted an epoch such as 3, a range such as 3-7, or start"),
        ([], "found nothing to remove; wanted epochs, such as 3 or 3-7, or --resume-states"),
        (["1", "--json"], "'--json' is an option of checkpoints ls and verify only"),
    ],
)
def test_what_names_nothing_is_refused(tmp_path: Path, redheart: Command, words: list[str], line: str) -> None:
    a_stopped_run(tmp_path, epochs=2, states=(), finished=True)
    said = redheart("checkpoints", "rm", *words, "--output", tmp_path)
    assert said.code == 2 and line in said.err and epochs(tmp_path) == [1, 2]


@pytest.mark.parametrize("words", [["ls", "3"], ["verify", "--force"], ["ls", "--resume-states"], ["ls", "--dry-run"]])
def test_words_of_rm_are_refused_elsewhere(redheart: Command, words: list[str]) -> None:
    said = redheart("checkpoints", *words)
    assert said.code == 2 and "checkpoints rm only" in said.err


def test_a_folder_in_use_is_left_alone(tmp_path: Path, redheart: Command) -> None:
    a_stopped_run(tmp_path, epochs=2, states=(), finished=True)
    with FileLock(OutputPaths(tmp_path).lock):
        said = redheart("checkpoints", "rm", "1", "--output", tmp_path)
    assert said.code == 10 and epochs(tmp_path) == [1, 2]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_renaming_that_fails_undoes_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    a_stopped_run(tmp_path, epochs=3, states=(), finished=True)
    plan, rename = plan_removal(tmp_path, ["1-3"], states=False), Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "epoch_0003":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    expected = StorageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        remove(tmp_path, plan)
    assert names(tmp_path) == ["epoch_0001", "epoch_0002", "epoch_0003"]
    assert len(list_epochs(tmp_path, verify=True)) == 3


def test_what_a_killed_removal_left_is_no_checkpoint_and_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redheart: Command
) -> None:
    a_stopped_run(tmp_path, epochs=3, states=(), finished=True)

    def killed(path: Path) -> None:
        os.unlink(path / "backbone.safetensors")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(tmp_path, plan_removal(tmp_path, ["1"], states=False))
    assert epochs(tmp_path) == [2, 3] and len(names(tmp_path)) == 3
    assert "epoch_0001" not in redheart("checkpoints", "ls", "--output", tmp_path).out
    assert redheart("checkpoints", "rm", "2", "--output", tmp_path).code == 0
    assert names(tmp_path) == ["epoch_0003"]


def test_damaged_epochs_and_all_generations_go_too(tmp_path: Path, redheart: Command) -> None:
    a_stopped_run(tmp_path, epochs=2, states=(), finished=True)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "epoch_0001", folder / "epoch_0001.g2")
    (folder / "epoch_0001" / "manifest.json").write_text("{")
    assert redheart("checkpoints", "rm", "1", "--output", tmp_path).code == 0
    assert names(tmp_path) == ["epoch_0002"]
