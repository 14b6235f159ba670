"""The folder of a start, where it can't be made."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from redheart.errors import StorageError
from redheart.launching.group import run_group


def _start() -> None:
    run_group(["true"], {}, should_stop=lambda: False)


def test_without_a_folder_for_temporary_files_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", none)
    with pytest.raises(StorageError, match=r"TMPDIR: could not make.*No usable temporary directory"):
        _start()


def test_a_folder_without_pipes_is_said_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "mkfifo", refuse)
    with pytest.raises(StorageError, match=f"{tmp_path}: could not make.*not permitted"):
        _start()
    assert list(tmp_path.iterdir()) == []
