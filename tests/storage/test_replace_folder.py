"""A folder takes another's place without a moment in which there is none."""

from __future__ import annotations

import threading
from importlib import import_module
from pathlib import Path

import pytest

from redheart.storage import replace_folder
from redheart.storage.replace_folder import exchange

#: The module; the package has its function under the same name.
replace_module = import_module("redheart.storage.replace_folder")


def _folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "what").write_text(content)
    return path


@pytest.fixture(params=["exchanged", "renamed twice"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways: in one step, and where the filesystem can't do that."""
    if request.param == "renamed twice":
        monkeypatch.setattr(replace_module, "exchange", lambda first, second: False)
    elif not exchange(_folder(tmp_path / "x", ""), _folder(tmp_path / "y", "")):
        pytest.skip("this filesystem can't exchange two names")
    return str(request.param)


def test_the_new_content_is_in_place_and_the_old_is_gone(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    target = folder / "best_model"
    for content in ("one", "two", "three"):
        replace_folder(_folder(folder / ".new", content), target)
        assert (target / "what").read_text() == content
        assert [path.name for path in folder.iterdir()] == ["best_model"]


def test_what_a_killed_replacement_left_is_cleared_away(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    target = _folder(folder / "best_model", "old")
    _folder(folder / ".best_model.old", "older")
    replace_folder(_folder(folder / ".new", "new"), target)
    assert (target / "what").read_text() == "new"
    assert [path.name for path in folder.iterdir()] == ["best_model"]


def test_a_reader_never_finds_the_place_empty(tmp_path: Path) -> None:
    if not exchange(_folder(tmp_path / "x", ""), _folder(tmp_path / "y", "")):
        pytest.skip("this filesystem can't exchange two names")
    target = _folder(tmp_path / "best_model", "0")
    done = threading.Event()
    missing = []

    def look() -> None:
        while not done.is_set():
            if not target.exists():
                missing.append(True)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(200):
            replace_folder(_folder(tmp_path / ".new", str(number)), target)
    finally:
        done.set()
        reader.join()
    assert not missing


def test_names_that_are_not_there_are_not_exchanged(tmp_path: Path) -> None:
    assert not exchange(tmp_path / "absent", _folder(tmp_path / "there", ""))
    assert (tmp_path / "there").exists()
