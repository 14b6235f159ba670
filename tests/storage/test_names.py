"""A name that no file can have, or that can't be told of, is refused before anything is done in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from redheart.errors import UsageError
from redheart.storage.names import check_name, shown_name

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
