"""Broken datasets are refused with everything a person needs to mend them, and nothing is written."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from redheart.data import read_dataset
from redheart.errors import DataError
from tests.other_user import as_another_user, let_others_reach

GOOD: dict[str, Any] = {
    "id": "a",
    "text": "I took the last seat on the bus and pretended to sleep.",
    "title": "The last seat",
    "action": "pretending to sleep",
    "label": "AUTHOR",
    "label_scores": {"AUTHOR": 3, "OTHER": 1},
    "emotions": [0.1, 0.1, 0.2, 0.1, 0.3, 0.1, 0.1],
    "regret_factor": 0.5,
    "bentham_scores": {"intensity": 0.4, "duration": 0.6, "certainty": 0.8, "propinquity": 0.9, "extent": 0.1},
    "surd_metrics": {"selection": 0.7, "uncertainty": 0.3, "risk": 0.2, "decision": 0.5},
    "timestamp": "2025-08-16T04:14:52",
}
ABSENT = object()


@dataclass(frozen=True)
class Fault:
    """A change to the second item of three, and what the message about it must hold."""

    field: str
    value: Any
    found: str
    wanted: str
    named: str | None = None  # the field as the message has it

    @property
    def name(self) -> str:
        return f"{self.field}-{self.found}"[:60]


LABELS = "AUTHOR, OTHER, EVERYBODY, NOBODY, INFO"
FAULTS = [
    Fault("id", 7, "a number: 7", 'a string (in quotes: "7")'),
    Fault("id", True, "a boolean: true", "a string"),
    Fault("id", "", "a blank string", "something in it"),
    Fault("id", " \t", "a blank string", "something in it"),
    Fault("id", "x" * 300, "300 characters", "at most 256"),
    Fault("id", "two\nlines", "control characters", "printable"),
    Fault("id", ABSENT, "nothing", "unique"),
    Fault("id", None, "null", "a string"),
    Fault("text", ABSENT, "nothing", "the story"),
    Fault("text", None, "null", "the story"),
    Fault("text", "", "an empty string", "the story"),
    Fault("text", " \n\u3000", "only white space", "the story"),
    Fault("text", 3.5, "a number: 3.5", "a string"),
    Fault("text", ["a"], "an array", "a string"),
    Fault("text", "half \ud83d", "half a surrogate pair", "UTF-8"),
    Fault("title", 5, "a number: 5", "a string"),
    Fault("action", {"a": 1}, "an object", "a string"),
    Fault("label", "author", '"author"', f"{LABELS} (did you mean AUTHOR, in upper case?)"),
    Fault("label", "AUTOR", '"AUTOR"', "did you mean AUTHOR"),
    Fault("label", 1, "a number: 1", LABELS),
    Fault("label_scores", [3, 1], "an array", LABELS),
    Fault("label_scores", {"AUTHOR": -1, "OTHER": 2}, "-1", "0 or more", "label_scores.AUTHOR"),
    Fault("label_scores", {"AUTHOR": "3"}, 'a string: "3"', "without quotes", "label_scores.AUTHOR"),
    Fault("label_scores", {"AUTHOR": True}, "a boolean", "a number", "label_scores.AUTHOR"),
    Fault("label_scores", {"AUTHOR": 0, "OTHER": 0}, "sum to 0", "at least one vote"),
    Fault("label_scores", {"AUTHOR": None, "OTHER": 0}, "sum to 0", "at least one vote"),
    Fault("label_scores", {}, "sum to 0", "at least one vote"),
    Fault("label_scores", {"Writer": 3}, '"Writer"', LABELS, "label_scores.Writer"),
    Fault("emotions", [0.5, 0.5], "2 values", "7 numbers"),
    Fault("emotions", [], "0 values", "7 numbers"),
    Fault("emotions", [0.1] * 7, "a sum of 0.7", "1 within 0.02"),
    Fault("emotions", [0.2, 0.2, 0.2, 0.2, 0.2, 0.2, -0.2], "-0.2", "0 to 1", "emotions[6] (anger)"),
    Fault("emotions", [1, 0, 0, 0, 0, 0, False], "a boolean: false", "0 to 1", "emotions[6] (anger)"),
    Fault("emotions", [0.4, float("nan"), 0.1, 0.1, 0.1, 0.1, 0.1], "NaN", "0 to 1", "emotions[1] (trust)"),
    Fault("emotions", [0.4, None, 0.1, 0.1, 0.1, 0.1, 0.1], "null", "0 to 1", "emotions[1] (trust)"),
    Fault("emotions", {"joy": 1}, "no value for trust, fear", "7 numbers"),
    Fault("emotions", {"happiness": 1}, '"happiness"', "joy, trust", "emotions.happiness"),
    Fault("emotions", "joy", 'a string: "joy"', "7 numbers"),
    Fault("regret_factor", 1.5, "1.5", "from 0 to 1"),
    Fault("regret_factor", -0.01, "-0.01", "from 0 to 1"),
    Fault("regret_factor", "0.5", 'a string: "0.5"', "from 0 to 1 (without quotes)"),
    Fault("regret_factor", True, "a boolean: true", "from 0 to 1"),
    Fault("regret_factor", float("inf"), "Infinity", "from 0 to 1"),
    Fault("regret_factor", [0.5], "an array", "from 0 to 1"),
    Fault("bentham_scores", [0.1, 0.2, 0.3, 0.4], "an array", "intensity, duration"),
    Fault("bentham_scores", {"intensty": 0.5}, '"intensty"', "did you mean intensity", "bentham_scores.intensty"),
    Fault("bentham_scores", {"purity": 2}, "2", "from 0 to 1", "bentham_scores.purity"),
    Fault("surd_metrics", {"risk": float("-inf")}, "-Infinity", "from 0 to 1", "surd_metrics.risk"),
    Fault("surd_metrics", {"risc": 0.1}, '"risc"', "did you mean risk", "surd_metrics.risc"),
    Fault("surd_metrics", 0.5, "a number", "selection, uncertainty"),
    Fault("timestamp", float("nan"), "NaN or Infinity", "JSON"),
    Fault("extra", {"deep": [float("inf")]}, "NaN or Infinity", "JSON"),
    Fault("embedding", [], "an array", "a vector"),
    Fault("embedding", [[0.1, 0.2], [0.1]], "different sizes", "one size"),
    Fault("embedding", [0.1, "x"], "other than numbers", "a vector"),
    Fault("embedding", [0.1, float("nan")], "NaN", "finite"),
    Fault("embedding", [1e300], "beyond 32-bit", "finite"),
]


def refused(path: Path, **options: Any) -> DataError:
    """Reads a dataset that must be refused, and sees that reading wrote nothing."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        read_dataset(path, **options)
    assert sorted(path.parent.rglob("*")) == before
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)
    return caught.value


@pytest.mark.parametrize("lines", [False, True], ids=["array", "lines"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_broken_value_is_named_with_file_item_id_field_found_and_wanted(
    tmp_path: Path, fault: Fault, lines: bool
) -> None:
    items = [{**copy.deepcopy(GOOD), "id": name} for name in ("a", "b", "c")]
    items[1][fault.field] = fault.value
    if fault.value is ABSENT:
        del items[1][fault.field]
    path = tmp_path / "data.json"
    path.write_text("\n".join(json.dumps(item) for item in items) if lines else json.dumps(items))
    error = refused(path)
    assert len(error.problems) == 1
    line = error.problems[0]
    assert line.startswith(f"{path}, item 1 (counting from 0), id ")
    expected_id = '"b"' if fault.field != "id" else ("(none)" if fault.value in (None, ABSENT) else "")
    assert f", id {expected_id}" in line
    assert f", field {fault.named or fault.field}: found " in line
    found, wanted = line.split(": found ", 1)[1].split("; wanted ", 1)
    assert fault.found in found
    assert fault.wanted in wanted


ONE = json.dumps(GOOD)
FILES: list[tuple[str, bytes, int | None, str, str]] = [
    ("empty", b"", None, "an empty file", "a JSON array"),
    ("blank", b" \n\t\n", None, "an empty file", "a JSON array"),
    ("only a byte order mark", b"\xef\xbb\xbf", None, "an empty file", "a JSON array"),
    ("empty array", b"[]", None, "an empty array", "at least one situation"),
    ("a string", b'"hello"', None, "'\"' as the first character", "a JSON array"),
    ("CSV", b"id,text\n1,abc\n", None, "'i' as the first character", "a JSON array"),
    ("truncated in an item", f"[{ONE}, {ONE[:200]}".encode(), 1, "the end of the file inside the item", "valid JSON"),
    ("truncated in a number", f'[{ONE}, {{"id": "b", "regret_factor": 0.'.encode(), 1, "", "valid JSON"),
    ("truncated in a literal", f'[{ONE}, {{"id": "b", "title": nul'.encode(), 1, "end of the file", "valid JSON"),
    ("truncated between items", f"[{ONE}".encode(), 1, "the end of the file (it is truncated)", "']'"),
    ("truncated after a comma", f"[{ONE},".encode(), 1, "the end of the file", "valid JSON"),
    ("comma at the end", f"[{ONE},]".encode(), 1, "a comma before the closing ]", "no comma"),
    ("two arrays", f"[{ONE}] []".encode(), 1, "'[' after the closing ]", "nothing after the array"),
    ("missing comma", f"[{ONE} {ONE}]".encode(), 1, "'{' at line 1", "',' and another item"),
    ("missing quote", f'[{ONE}, {{"id": "b, "text": "t"}}]'.encode(), 1, "Expecting", "valid JSON"),
    ("single quotes", b"[{'id': 'a'}]", 0, "property name enclosed in double quotes", "valid JSON"),
    ("Python's None", b'[{"id": None, "text": "a long text to come after it"}]', 0, "Expecting value", "valid JSON"),
    ("line break in a string", b'[{"id": "a", "text": "one\ntwo"}]', 0, "Invalid control character", "valid JSON"),
    ("bad escape", b'[{"id": "a", "text": "C:\\qqqqqqqqqqqqqqqqqq"}]', 0, "Invalid \\escape", "valid JSON"),
    ("not UTF-8", b'[{"id": "a", "text": "caf\xe9 au lait"}]', None, "byte 0xe9 at byte offset 25", "UTF-8"),
    ("cut in a character", '[{"id": "a", "text": "é'.encode()[:-1], None, "byte 0xc3 at byte offset 22", "UTF-8"),
    ("UTF-16", f"[{ONE}]".encode("utf-16"), None, "looks like UTF-16", "UTF-8"),
    ("gzip", b"\x1f\x8b\x08\x00\x00", None, "compressed with gzip", "UTF-8"),
    ("item is a string", f'[{ONE}, "b"]'.encode(), 1, 'a string: "b"', "an object with id and text"),
    ("item is null", f"[{ONE}, null]".encode(), 1, "null", "an object with id and text"),
    ("item is an array", f"[{ONE}, [1]]".encode(), 1, "an array: [1]", "an object with id and text"),
    ("nested garbage", b"[" * 5000 + b"]" * 5000, 0, "", ""),
    ("nested deep in a field", f'[{{"id": "a", "text": "t", "x": {"[" * 99999}'.encode(), 0, "nested too deeply", ""),
    ("a number of 5000 digits", f'[{{"id": "a", "text": "t", "x": {"9" * 5000}}}]'.encode(), 0, "digits", "JSON"),
    ("broken line", f"{ONE}\n{{oops}}".encode(), 1, "line 2 column 2", "one whole situation on each line"),
    ("truncated line", f"{ONE}\n{ONE[:90]}".encode(), 1, "line 2", "one whole situation on each line"),
    ("two on a line", f"{ONE}{ONE}".encode(), 0, "after the value on line 1", "one whole situation on each line"),
    ("object over lines", b'{\n"items": []\n}\n', 0, "line 1", "or an array"),
    ("wrapped array", f'{{"items": [{ONE}]}}'.encode(), 0, "nothing", "a string"),
]


@pytest.mark.parametrize(
    ("content", "index", "found", "wanted"), [one[1:] for one in FILES], ids=[one[0] for one in FILES]
)
def test_a_broken_file_is_named_with_the_place(
    tmp_path: Path, content: bytes, index: int | None, found: str, wanted: str
) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    line = refused(path).problems[0]
    place = f"{path}: found " if index is None else f"{path}, item {index} (counting from 0)"
    if "UTF-8" not in wanted:
        assert line.startswith(place)
    assert found in line
    assert wanted in line.split("; wanted ", 1)[1]


def test_a_bad_byte_far_into_the_file_is_named_by_its_offset(tmp_path: Path) -> None:
    items = [json.dumps({"id": str(number), "text": "é" * 3000}, ensure_ascii=False) for number in range(200)]
    good = ("[" + ",".join(items)).encode()
    path = tmp_path / "data.json"
    path.write_bytes(good + b',{"id": "z", "text": "\xff"}]')
    line = refused(path).problems[-1]
    assert f"byte 0xff at byte offset {len(good) + 22}" in line


def test_a_syntax_error_far_into_the_file_is_named_by_line_and_column(tmp_path: Path) -> None:
    good = ",".join(json.dumps({"id": str(number), "text": "t" * 3000}) for number in range(300))
    path = tmp_path / "data.json"
    path.write_text(f"[{good}\n,{good}, {{'x'}}, 1, 2, 3, 4, 5]")
    assert f"line 2 column {len(good) + 5}" in refused(path, problem_limit=1000).problems[-1]


def test_duplicate_ids_name_both_items(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{**GOOD, "id": name} for name in ("a", "b", "c", "b")]))
    (line,) = refused(path).problems
    assert (
        'item 3 (counting from 0), id "b", field id: found the same id in items 1 and 3; wanted every id once' in line
    )


def test_a_name_twice_in_one_object_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text('[{"id": "a", "text": "t", "surd_metrics": {"risk": 0.1, "risk": 0.2}}]')
    (line,) = refused(path).problems
    assert 'id "a", field risk: found the same name twice in one object; wanted every name once' in line


def test_all_problems_are_told_at_once_up_to_the_limit(tmp_path: Path) -> None:
    items = [{**GOOD, "id": str(number), "regret_factor": 2, "label": "nobody"} for number in range(30)]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(items))
    error = refused(path, problem_limit=7)
    assert len(error.problems) == 8
    assert error.problems[-1] == "…and 53 more"
    assert "60 problems" in error.summary
    assert len(refused(path, problem_limit=60).problems) == 60


def test_broken_lines_do_not_hide_the_problems_of_other_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(f'{{"id": "a"}}\n{{broken\n{ONE.replace("0.5", "5")}\n')
    fields = [line.split(" (counting from 0)")[0] for line in refused(path).problems]
    assert fields[0].endswith("item 0")
    assert fields[1].endswith("item 1")
    assert fields[2].endswith("item 2")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.json").mkdir()
    assert "found a folder; wanted a file" in refused(tmp_path / "data.json").problems[0]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "found no such file" in refused(tmp_path / "data.json").problems[0]


@pytest.mark.skipif(sys.platform == "win32", reason="file modes of POSIX")
def test_a_file_without_read_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([GOOD]))
    let_others_reach(tmp_path)

    def read() -> str:
        try:
            return f"{len(read_dataset(path))} situations"
        except DataError as error:
            return f"{error.exit_code}\n{error}"

    assert read() == "1 situations"
    path.chmod(0o000)
    answer = as_another_user(read)  # root reads everything
    path.chmod(0o644)
    assert answer.startswith("2\n"), answer
    assert f"{path}: found a file that may not be read (no permission); wanted read permission" in answer
