"""A name that no file can have, or that can't be told of, is refused before anything is done in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from redheart.errors import StorageError, UsageError
from redheart.storage import append_line, write_text
from redheart.storage.names import check_can_be_a_folder, check_name, fault_of_letters, reason_of, shown_name
from redheart.sweep.publish import publish_once

LATIN = os.fsdecode(b"caf\xe9.json")


@pytest.mark.parametrize("name", ["data.json", "데이터 (사본).json", "/a/../b.json", "é" * 120, "[1].json", "a" * 255])
def test_a_name_that_a_file_can_have_is_taken(name: str) -> None:
    check_name(Path(name), "--data")


@pytest.mark.parametrize(
    ("name", "found", "wanted"),
    [
        (LATIN, "a name that is not UTF-8, caf\\xe9.json", "rename it"),
        (f"{os.fsdecode(bytes([0xB0, 0xA1]))}/x.json", "not UTF-8, \\xb0\\xa1;", "rename it"),
        ("x" * 300, "a name of 300 bytes", "at most 255 bytes"),
        ("가" * 100, "a name of 300 bytes", "at most 255 bytes"),
        ("x/" * 2500, "a name of 4999 bytes", "4095 for a path"),
        ("a\0b", "a NUL character, a\\x00b", "another name"),
        ('[{"id": "a", "text": "' + "t" * 400, 'JSON text in a file\'s place: [{"id": "a"', "write the text to a file"),
        ('{"id": "a"}\n', "JSON text in a file's place", "a file's name"),
    ],
)
def test_another_is_refused_in_one_line_that_can_be_printed(name: str, found: str, wanted: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_name(Path(name), "--data")
    line = str(caught.value)
    assert line.startswith("--data: found ") and found in line and wanted in line.split("; wanted ")[1]
    assert line.isprintable() and line.encode() and len(line) < 300


def test_names_are_shown_with_what_can_not_be_seen_as_escapes() -> None:
    assert shown_name(LATIN) == "caf\\xe9.json"
    assert shown_name("데이터\u200b\n.json") == "데이터\\u200b\\n.json"


@pytest.mark.parametrize("name", ["link", "link/below", "there/link/below"])
def test_a_link_to_what_is_not_there_is_named_with_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The system says "File exists", "Not a directory" or "No such file", by what is tried."""
    monkeypatch.chdir(tmp_path)  # a name in full may be too long to be shown whole
    Path("there").mkdir()
    link, path = Path(name.removesuffix("/below")), Path(name)
    link.symlink_to("/nowhere/at/all")
    said = f"{link} is a link to /nowhere/at/all, which is not there"
    with pytest.raises(UsageError, match=re.escape(f"--to: {said}; wanted a folder: make what it names, or remove")):
        check_can_be_a_folder(path, "--to")
    for write in (
        lambda: write_text(path / "x", ""),
        lambda: append_line(path / "x", 1),
        lambda: publish_once(path / "x", 1),
    ):
        with pytest.raises(StorageError, match=re.escape(f"{path}/x: could not ") + ".*" + re.escape(said)):
            write()
    link.unlink()
    link.symlink_to(tmp_path / "there")
    check_can_be_a_folder(path, "--to")


def test_another_reason_is_the_systems(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"(Not a directory|File exists)$"):
        append_line(tmp_path / "file" / "x" / "y", 1)
    assert reason_of(PermissionError(13, "Permission denied"), tmp_path) == "Permission denied"
    assert reason_of(NotImplementedError("no locks here"), tmp_path) == "no locks here"


@pytest.mark.parametrize("name", ["\ud800.json", "a\0b.json"])
def test_letters_that_no_name_has_are_named(name: str) -> None:
    """Half a surrogate pair stands for no byte either."""
    assert fault_of_letters(name) in ("letters that no name has where names are utf-8", "a NUL character")
    with pytest.raises(UsageError, match=r"--data: found (letters that no name has|a NUL character)"):
        check_name(Path(name), "--data")
