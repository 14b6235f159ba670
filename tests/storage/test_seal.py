"""Sealed JSON: every flipped bit that leaves it JSON is seen, and what was never sealed is read."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from redheart.errors import StorageError
from redheart.storage import read_json, write_json
from redheart.storage.seal import SEAL, read_sealed, sealed, write_sealed

CONTENT = {
    "loss": 0.1234567890123456789,
    "tiny": -1e-300,
    "names": ["감정", "b"],
    "inner": {"b": 2, "a": None},
    "on": True,
}


def test_what_was_sealed_comes_back_however_it_is_indented_and_ordered(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, CONTENT)
    assert read_sealed(path) == {**CONTENT, SEAL: sealed(CONTENT)[SEAL]}
    path.write_text(json.dumps(dict(reversed(read_json(path).items())), indent=7))
    assert read_sealed(path).keys() == {*CONTENT, SEAL}


def test_each_flipped_bit_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, CONTENT)
    whole, seen, silent = path.read_bytes(), 0, 0
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                found = read_sealed(path)
            except StorageError:
                seen += 1
            else:  # white space; or the checksum's own name, and then it is as a file of before
                silent += 1
                assert {name: found.get(name) for name in CONTENT} == CONTENT
    assert seen > 900 and silent < seen / 2, (seen, silent)


def test_the_error_names_the_place_both_checksums_and_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {**sealed(CONTENT), "loss": 0.5}
    write_json(path, content)
    with pytest.raises(StorageError) as found:
        read_sealed(path, fix="put it back")
    said = str(found.value)
    assert said.startswith(f"{path}: damaged, or changed by hand: checksum: found '{content[SEAL]}', wanted '")
    assert sealed({**CONTENT, "loss": 0.5})[SEAL] in said and said.endswith("; put it back")


def test_a_number_that_is_none_was_never_sealed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({**sealed(CONTENT), "loss": float("nan")}))
    with pytest.raises(StorageError, match="damaged, or changed by hand"):
        read_sealed(tmp_path / "a.json")


@pytest.mark.parametrize("content", [CONTENT, [1, 2], None, "text", {}])
def test_what_has_no_seal_is_read_as_it_is(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "a.json", content)
    assert read_sealed(tmp_path / "a.json") == content


def test_what_is_sealed_again_has_one_seal_of_what_it_says_now() -> None:
    class Facts(msgspec.Struct):
        value: int

    again = sealed({**sealed(Facts(1)), "value": 2})
    assert again == sealed(Facts(2)) and again.keys() == {"value", SEAL}
