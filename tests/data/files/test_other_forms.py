"""Situations in another form are refused with the keys that are there and a command that helps, which is followed here."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from redheart.data import read_dataset
from redheart.errors import DataError

ROWS: list[dict[str, Any]] = [
    {"id": f"x{number}", "text": f"I kept the change. Case {number}.", "title": None, "emotions": [1, 0, 0, 0, 0, 0, 0]}
    for number in range(3)
]
NAMES = list(ROWS[0])
BY_ID = {one["id"]: {name: value for name, value in one.items() if name != "id"} for one in ROWS}
DILEMMAS = [
    {"id": f"d{number}", "actions": [{"id": f"{number}{side}", "description": f"act {side}"} for side in "ab"], "gold_label": 0}
    for number in range(2)
]  # fmt: skip
PANDAS_SPLIT = {"columns": NAMES, "index": [0, 1, 2], "data": [list(one.values()) for one in ROWS]}
FORMS: dict[str, tuple[Any, str]] = {
    "wrapped": ({"version": "1.0", "data": ROWS}, '"version", "data"; arrays of objects are under data (3 objects)'),
    "wrapped deep": ({"dataset": {"all": {"items": ROWS}}}, "under dataset.all.items (3 objects)"),
    "wrapped under an odd name": ({"my stories": ROWS}, "under my stories (3 objects)"),
    "in two splits": ({"train": ROWS[:2], "test": ROWS[2:]}, "under train, test (2 objects in the first)"),
    "a page of a viewer": (
        {"features": [{"name": "id"}], "rows": [{"row_idx": n, "row": one} for n, one in enumerate(ROWS)]},
        "under rows (3 objects)",
    ),
    "rows of a viewer": (
        [{"row_idx": n, "row": one, "truncated_cells": []} for n, one in enumerate(ROWS)],
        '"row_idx", "row", "truncated_cells": a row of a dataset viewer',
    ),
    "pandas split": (PANDAS_SPLIT, '"columns", "index", "data": pandas\' form "split"'),
    "pandas columns": (
        {name: {str(n): one[name] for n, one in enumerate(ROWS)} for name in NAMES},
        'pandas\' form "columns"',
    ),
    "pandas index": ({str(n): one for n, one in enumerate(ROWS)}, '"0", "1", "2": situations by key (pandas\' form "index"'),
    "pandas table": ({"schema": {"fields": []}, "data": ROWS}, 'pandas\' form "table"'),
    "columns as lists": ({name: [one[name] for one in ROWS] for name in NAMES}, "a table by its columns"),
    "by id": (BY_ID, '"x0", "x1", "x2": situations by key'),
    "dilemmas": (DILEMMAS, '"id", "actions", "gold_label": a pair of actions, a dilemma without a story'),
    "texts alone": ([one["text"] for one in ROWS], 'a string: "I kept the change. Case 0."'),
}  # fmt: skip


def refused(path: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        read_dataset(path)
    return caught.value.problems


def follow(advice: str, path: Path) -> Path:
    """Does what the message says: a command of ``jq``."""
    if shutil.which("jq") is None:
        pytest.skip("the advice needs jq, which is not here")
    found = re.search(r"as by: (jq -c .*) FILE > NEW\.jsonl\)", advice)
    assert found is not None, advice
    new = path.with_name("new.jsonl")
    new.write_bytes(subprocess.run([*shlex.split(found[1]), str(path)], check=True, capture_output=True).stdout)
    return new


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("indent", [None, 2], ids=["on one line", "over several lines"])
def test_another_form_is_one_problem_with_its_keys_and_advice_that_works(
    tmp_path: Path, form: str, indent: int | None
) -> None:
    content, named = FORMS[form]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(content, indent=indent))
    first, *more = refused(path)
    assert len(more) <= 1 and all("more items that are no situations either" in one for one in more)
    assert named in first
    made = read_dataset(follow(first, path))
    if form == "dilemmas":
        assert [(one.id, one.text) for one in made] == [(f"{n}{side}", f"act {side}") for n in (0, 1) for side in "ab"]
    else:
        assert [one.text for one in made] == [one["text"] for one in ROWS]
        assert form == "texts alone" or [one.id for one in made] == [one["id"] for one in ROWS]


@pytest.mark.parametrize("form", ["rows of a viewer", "dilemmas"])
def test_another_form_on_each_line_is_told_once_with_the_number_of_the_others(tmp_path: Path, form: str) -> None:
    content, named = FORMS[form]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, content)))
    first, more = refused(path)
    assert named in first and "item 0" in first
    assert f"{len(content) - 1} more items" in more
    assert len(read_dataset(follow(first, path))) in (3, 4)


def test_a_pair_of_texts_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"id": "a", "option_1": "I lied.", "option_2": "I stole."}]))
    (line,) = refused(path)
    assert 'no text, but the keys "id", "option_1", "option_2": a pair of actions' in line
    assert 'each of "option_1" and "option_2" as an item of its own' in line


def test_rows_without_names_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([list(one.values()) for one in ROWS]))
    first, _ = refused(path)
    assert "a row without names?" in first


@pytest.mark.parametrize("name", ["story", "body", "selftext", "Text", "\ufefftext", " text"])
def test_a_story_under_another_name_is_asked_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"id": "a", name: "I kept the change."}]))
    lines = refused(path)
    shown = name.replace("\ufeff", "\\ufeff")
    assert any(f'(did you mean the one under "{shown}"? rename it to text)' in line for line in lines)
    assert any(f'found nothing (the keys that are there: "id", "{shown}")' in line for line in lines)


@pytest.mark.parametrize("name", ["ID", "_id", "\ufeffid", "post_id", "index"])
def test_an_id_under_another_name_is_asked_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{name: "a", "text": "I kept the change."}]))
    lines = refused(path)
    shown = name.replace("\ufeff", "\\ufeff")
    assert any(f'(did you mean the one under "{shown}"? rename it to id)' in line for line in lines)


def test_objects_over_several_lines_are_read_as_lines_are(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(
        "\n".join(json.dumps(one, indent=2) for one in ROWS) + "\n" + json.dumps({"id": "last", "text": "t"})
    )
    assert [one.id for one in read_dataset(path)] == ["x0", "x1", "x2", "last"]
    path.write_text(json.dumps(ROWS[0], indent=2))
    assert [one.id for one in read_dataset(path)] == ["x0"]


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_objects_over_several_lines_are_the_same_wherever_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("redheart.data.files.text_window._CHUNK", chunk)
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(one, indent=2) for one in ROWS))
    assert [one.id for one in read_dataset(path)] == ["x0", "x1", "x2"]


def test_an_object_over_several_lines_that_is_broken_is_said_to_be_one(tmp_path: Path) -> None:
    whole = json.dumps(ROWS[0], indent=2)
    path = tmp_path / "data.jsonl"
    for content, found in (
        (f"{whole}\n{whole[:-40]}", "the end of the file inside the item (it is truncated)"),
        (whole.replace('"title": null', "title: null"), "line 4 column 3"),
        (f"{whole},\n{whole}", "',' after the value on line 14".replace("'", '"')),
    ):
        path.write_text(content)
        line = refused(path)[0]
        assert found in line, line
        assert "one whole situation on each line" in line
        assert "after the value" in found or "an object that goes over several lines, from line " in line


def test_a_line_that_ends_too_early_is_not_called_the_end_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"id": "a", "text":\n{"id": "b", "text": "t"}\n')
    (line,) = refused(path)
    assert "the end of the line" in line and "the end of the file" not in line


def test_a_wrapper_larger_than_any_item_is_told_by_how_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redheart.data.files.json_stream.MAX_ITEM_CHARACTERS", 1000)
    monkeypatch.setattr("redheart.data.files.text_window._CHUNK", 100)
    path = tmp_path / "data.json"
    for content in (json.dumps({"data": ROWS * 9}), '{"data": [\n' + ",\n".join(map(json.dumps, ROWS * 9)) + "\n]}"):
        path.write_text(content)
        (line,) = refused(path)
        assert '{\\"data\\": [' in line and "more than 1000 characters" in line


def test_a_byte_order_mark_between_two_parts_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    one, two = ("\ufeff" + json.dumps(row) for row in ROWS[:2])
    for content in (f"{one}\n{two}\n", f"{one}\n\ufeff{two}\ufeff\n", f"\ufeff[{one},{two}]\ufeff"):
        path.write_text(content)
        assert [row.id for row in read_dataset(path)] == ["x0", "x1"]


def test_a_byte_order_mark_where_none_may_be_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f"{json.dumps(ROWS[0])}\ufeff{json.dumps(ROWS[1])}")
    assert "after the value on line 1" in refused(path)[0]
    path.write_text('[{\ufeff"id": "a", "text": "t"}]')
    assert "\\ufeff" in refused(path)[0]


@pytest.mark.parametrize(
    "text", ["\u200b\u200b\u200d", "\u2060", "\ufeff", "\u3164 \u2800", "\u00ad\ufe0f\n", "\u202e\u2066"]
)
def test_a_story_of_which_nothing_can_be_seen_is_an_empty_story(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"id": "a", "text": text, "title": text}]))
    (line,) = refused(path)
    assert "field text: found an empty story, only characters that can't be seen: \"" in line
    path.write_text(json.dumps([{"id": text, "text": "t"}]))
    assert "a blank string" in refused(path)[0]
    path.write_text(json.dumps([{"id": "a", "text": f"{text}!", "title": text, "action": text}]))
    (one,) = read_dataset(path)
    assert (one.title, one.action) == (None, None)
