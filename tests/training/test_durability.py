"""What a run leaves is on the disk when it is said to be: a machine may lose its power at any moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from redheart.config import Config
from redheart.errors import Interrupted
from redheart.paths import OutputPaths
from tests.storage.synced import Synced
from tests.training.runs import train

#: Lines for people, written as they come, and empty files that are only locked.
NOT_DURABLE = ("tensorboard/", "redheart.log", ".lock")


def missed(synced: Synced, output: Path) -> list[str]:
    return [name for name in synced.missed(output) if not any(part in name for part in NOT_DURABLE)]


def test_all_that_a_run_leaves_is_synced_files_and_the_folders_that_name_them(
    dataset: Path, tmp_path: Path, settings: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = Synced(monkeypatch)
    train(dataset, tmp_path / "run", settings(epochs=1))
    assert missed(synced, tmp_path / "run") == []
    assert OutputPaths(tmp_path / "run").metrics.stat().st_size and list((tmp_path / "run").rglob("*.safetensors"))


def test_so_is_what_a_stopped_run_leaves(
    dataset: Path, tmp_path: Path, settings: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = Synced(monkeypatch)
    asked = iter((False, False, True))
    with pytest.raises(Interrupted):
        train(dataset, tmp_path / "run", settings(epochs=2), should_stop=lambda: next(asked, True))
    assert missed(synced, tmp_path / "run") == []
    assert list((tmp_path / "run").rglob("engine/*")), "a state to go on from"


def test_the_recorder_sees_what_was_written_after_it_was_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    synced = Synced(monkeypatch)
    with open(tmp_path / "a", "wb") as file:
        file.write(b"1")
        file.flush()
        os.fsync(file.fileno())
        file.write(b"2")
    assert synced.missed(tmp_path) == ["./", "a"]
