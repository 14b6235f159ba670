"""What is named as a dataset and can't be one for all stages is refused where it is looked for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from redheart.data import locate_dataset
from redheart.errors import DataError, UsageError

CONTENT = json.dumps([{"id": "a", "text": "t"}])


def refusal(name: str, folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        locate_dataset(Path(name), folder)
    assert caught.value.exit_code == 2
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_pipe_a_folder_and_a_device_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder").mkdir()
    assert refusal("pipe.json", tmp_path).startswith("pipe.json: found a pipe; wanted a dataset's file")
    assert "read more than once" in refusal("pipe.json", tmp_path)
    assert refusal("folder", tmp_path).startswith("folder: found a folder; wanted a dataset's file")
    assert "found a device or socket" in refusal("/dev/null", tmp_path)


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "dangling.json").symlink_to("gone.json")
    (tmp_path / "circle.json").symlink_to("circle.json")
    assert "found a link to what is not there, gone.json" in refusal("dangling.json", tmp_path)
    assert "can't be looked at: Too many levels of symbolic links" in refusal("circle.json", tmp_path)
    (tmp_path / "file").write_text("")
    assert "found no such file" in refusal("file/data.json", tmp_path)


@pytest.mark.parametrize("name", ["x" * 300, CONTENT, "a\0b.json", '{"id": "a", "text": "' + "t" * 5000])
def test_what_is_no_name_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    assert "data.path (--data): found " in refusal(name, tmp_path)


def test_a_name_that_leaves_no_room_for_what_is_made_of_it_is_refused(tmp_path: Path) -> None:
    for stem, fits in (("x" * 217, True), ("x" * 218, False), ("가" * 72, True), ("가" * 73, False)):
        path = tmp_path / f"{stem}.json"
        path.write_text(CONTENT)
        if fits:
            assert locate_dataset(path, tmp_path).path == path
            (tmp_path / f".{stem}.embedded.json.4194304-0123abcd.tmp").write_text("")
        else:
            assert "wanted at most 217 before its ending" in refusal(str(path), tmp_path)


def test_names_that_are_not_utf8_are_refused_with_their_bytes(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xb5\xa5\xc0\xcc\xc5\xcd")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    (folder / "data.json").write_text(CONTENT)
    assert "\\xb5\\xa5\\xc0\\xcc\\xc5\\xcd" in refusal("data.json", folder)
    (folder / "claude_preprocessed_complete.json").write_text(CONTENT)
    with pytest.raises(UsageError, match="not UTF-8"):
        locate_dataset(None, folder)
    named = tmp_path / os.fsdecode(b"caf\xe9.json")
    named.write_text(CONTENT)
    assert "caf\\xe9.json" in refusal(str(named), tmp_path)


def test_a_folder_under_the_usual_name_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "claude_preprocessed_complete.json").mkdir()
    with pytest.raises(DataError, match="found a folder"):
        locate_dataset(None, tmp_path)
