"""An output folder that this user may not write: one line with the cure, whichever stage meets it, and reading goes on."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from redheart.cli.commands import COMMANDS
from redheart.cli.output_folder import advice_for, begin_log
from redheart.cli.parser import parse_arguments
from redheart.errors import StorageError
from tests.other_user import as_another_user, let_others_reach

CURE = "take a copy of the folder (cp -r) and name it with --output"


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may write; that its owner made it so is respected for root too."""
    folder = tmp_path / "theirs"
    (folder / "lr_sweep_results").mkdir(parents=True)
    for one in (folder / "lr_sweep_results", folder):
        one.chmod(0o555)
    yield folder
    for one in (folder, folder / "lr_sweep_results"):
        one.chmod(0o755)


def refused(path: Path | None, number: int = 13) -> OSError:
    return OSError(number, "Permission denied", None if path is None else str(path))


def wrapped(path: Path | None, number: int = 13) -> StorageError:
    """As a stage raises it."""
    error = StorageError(f"{path}: could not write")
    error.__cause__ = refused(path, number)
    return error


@pytest.mark.parametrize("command", ["sweep", "embed", "doctor"])
@pytest.mark.parametrize("made", [refused, wrapped])
def test_whatever_is_refused_below_the_output_folder_has_the_cure(theirs: Path, command: str, made) -> None:
    with pytest.raises(StorageError) as told, advice_for(COMMANDS[command], theirs):
        raise made(theirs / "lr_sweep_results" / "trials" / "x.json")
    assert f"{theirs}: may not be written by this user (Permission denied: lr_sweep_results)" in str(told.value)
    assert f"`redheart {command}` writes files there" in str(told.value) and CURE in str(told.value)


def test_of_a_folder_that_can_not_be_made_no_copy_is_advised(theirs: Path) -> None:
    with pytest.raises(StorageError, match="name another with --output"), advice_for(COMMANDS["train"], theirs / "a"):
        raise wrapped(theirs / "a")


@pytest.mark.parametrize("inner", ["a", ".a.writing", "a/model.safetensors"])
def test_of_a_folder_that_is_named_otherwise_its_option_is_told(theirs: Path, inner: str) -> None:
    told = pytest.raises(StorageError, match=r"`redheart export` writes files there: name another with --to$")
    with told, advice_for(COMMANDS["export"], theirs / "a", option="--to"):
        try:
            raise wrapped(theirs / inner)
        except StorageError as error:
            raise StorageError("not exported") from error


def test_a_folder_that_is_closed_to_this_user_is_not_said_to_be_written_in(theirs: Path) -> None:
    let_others_reach(theirs.parent)
    within = theirs / "lr_sweep_results"

    def told() -> str:
        try:
            with advice_for(COMMANDS["evaluate"], theirs):
                raise wrapped(within / "best_model" / "manifest.json")
        except StorageError as error:
            return str(error)

    assert f"{theirs}: may not be written" in told()
    within.chmod(0o700)
    assert as_another_user(told) == (
        f"{within}: may not be read by this user (Permission denied), and `redheart evaluate` needs it: ask its owner for the "
        "right to"
    )


def test_what_may_not_be_read_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"could not write$"), advice_for(COMMANDS["evaluate"], tmp_path):
        raise wrapped(tmp_path / "checkpoints" / "epoch_0001")


@pytest.mark.parametrize(
    "error", [wrapped(Path("/elsewhere/x")), wrapped(None), refused(Path("/elsewhere/x")), StorageError("damaged")]
)
def test_what_is_refused_elsewhere_is_told_as_it_is(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as told, advice_for(COMMANDS["train"], tmp_path):
        raise error
    assert told.value is error


def test_a_full_disk_is_not_a_matter_of_rights(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not write"), advice_for(COMMANDS["train"], tmp_path):
        raise wrapped(tmp_path / "x", 28)


@pytest.mark.parametrize(
    ("words", "writes"),
    [("sweep", True), ("train", True), ("doctor liveness", True), ("evaluate", False), ("embed", False)],
)
def test_who_writes_a_run_is_refused_before_it_starts_and_who_reads_one_does_without_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, writes: bool
) -> None:
    begun: list[Path | None] = []
    monkeypatch.setattr("redheart.messages.set_up_logging", lambda **settings: begun.append(settings["file"]))
    monkeypatch.setattr("redheart.storage.writable.may_be_made", lambda path: False)
    arguments: Namespace = parse_arguments(words.split())
    begin_log(COMMANDS[arguments.command], arguments, tmp_path / "log")
    assert begun == [tmp_path / "log" if writes else None], "opening it says what is refused"
