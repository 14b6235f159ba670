"""JSON as structs: what does not fit is named by file, field, found and wanted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest

from redheart.errors import StorageError
from redheart.storage import append_line, as_struct, fingerprint, read_lines, read_struct, without_nonfinite, write_json


class Part(msgspec.Struct, omit_defaults=True):
    """A part."""

    count: Annotated[int, msgspec.Meta(ge=1)]
    rates: dict[str, float] | None = None
    names: list[str] | None = None


class Whole(msgspec.Struct):
    """A whole."""

    part: Part | None
    parts: dict[str, Part] | None = None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "found [], wanted a mapping"),
        ({}, "part: found nothing"),
        ({"part": {}}, "part.count: found nothing"),
        ({"part": {"count": 0}}, "part.count: found 0, wanted a whole number >= 1"),
        ({"part": {"count": True}}, "part.count: found True, wanted a whole number"),
        (
            {"part": None, "parts": {"a": {"count": 1, "rates": {"b": "c"}}}},
            "parts.a.rates.b: found 'c', wanted a number",
        ),
        ({"part": {"count": 1, "names": ["a", 2]}}, "part.names.1: found 2, wanted text"),
        ({"part": {"count": 1, "rates": 3}}, "part.rates: found 3, wanted a mapping or null"),
    ],
)
def test_what_does_not_fit_is_named_at_the_innermost_place(value: Any, said: str) -> None:
    with pytest.raises(StorageError) as found:
        as_struct(value, Whole, "a.json")
    assert str(found.value) == f"a.json: {said}"


def test_the_fix_ends_the_message() -> None:
    with pytest.raises(StorageError, match=r"^a\.json: part: found nothing; train again$"):
        as_struct({}, Whole, "a.json", fix="train again")


def test_unknown_fields_are_left_out_and_what_is_absent_stays_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"part": {"count": 2, "colour": "red"}, "weather": {"fine": true}}')
    whole = read_struct(path, Whole)
    assert whole == Whole(Part(2))
    write_json(path, whole)
    assert json.loads(path.read_text()) == {"part": {"count": 2}, "parts": None}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(StorageError, match=r"a\.json: damaged"):
        read_struct(tmp_path / "a.json", Whole)


def test_a_number_that_is_no_number_is_refused_in_a_struct_as_in_a_mapping(tmp_path: Path) -> None:
    for value in (Part(1, {"a": math.nan}), {"a": math.nan}):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", value)
        with pytest.raises(ValueError, match="not JSON compliant"):
            append_line(tmp_path / "a.jsonl", value)
    assert not (tmp_path / "a.json").exists() and read_lines(tmp_path / "a.jsonl") == []


def test_without_nonfinite_leaves_out_what_is_no_number() -> None:
    assert without_nonfinite(Part(1, {"a": 1.0, "b": math.inf, "c": math.nan})) == Part(1, {"a": 1.0})


def test_a_struct_has_the_fingerprint_of_its_json() -> None:
    assert fingerprint(Whole(Part(1))) == fingerprint({"parts": None, "part": {"count": 1}})


def test_numpys_floats_and_words_of_an_enumeration_are_written_as_before(tmp_path: Path) -> None:
    class Word(str):
        pass

    write_json(tmp_path / "a.json", {"a": np.float64(0.5), "b": Word("c"), "d": Part(1, {"e": np.float64(0.25)})})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": 0.5,
        "b": "c",
        "d": {"count": 1, "rates": {"e": 0.25}},
    }
    with pytest.raises(TypeError, match="object has no form in JSON"):
        write_json(tmp_path / "a.json", {"a": object()})
