"""A field that is likely misspelt is a problem with the name that was meant; any other unknown one is a warning, once."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from redheart.data import read_dataset
from redheart.errors import DataError
from redheart.messages import LOGGER_NAME

FEELINGS = [0.1, 0.1, 0.2, 0.1, 0.3, 0.1, 0.1]


def write(folder: Path, *items: dict[str, Any]) -> Path:
    path = folder / "data.json"
    path.write_text(json.dumps([{"id": str(number), "text": "t", **one} for number, one in enumerate(items)]))
    return path


def problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        read_dataset(path)
    return caught.value.problems


def warnings_of(path: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    logging.getLogger(LOGGER_NAME).propagate = True
    caplog.clear()
    with caplog.at_level(logging.WARNING, LOGGER_NAME):
        read_dataset(path)
    return list(dict.fromkeys(record.getMessage() for record in caplog.records))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("emotion", "emotions"),
        ("emotoins", "emotions"),
        ("Emotions", "emotions"),
        ("emotion_scores", "emotions"),
        ("regret", "regret_factor"),
        ("regretFactor", "regret_factor"),
        ("regret_score", "regret_factor"),
        ("bentham", "bentham_scores"),
        ("bentam_scores", "bentham_scores"),
        ("benthamScores", "bentham_scores"),
        ("surd", "surd_metrics"),
        ("surd_scores", "surd_metrics"),
        ("Label", "label"),
        ("labels", "label"),
        ("lable", "label"),
        ("label-scores", "label_scores"),
        ("label_score", "label_scores"),
        ("Title", "title"),
        ("actions", "action"),
        ("\ufeffaction", "action"),
    ],
)
def test_a_misspelt_field_is_a_problem_with_the_name_that_was_meant(tmp_path: Path, name: str, meant: str) -> None:
    (line,) = problems(write(tmp_path, {}, {name: FEELINGS}))
    shown = name.replace("\ufeff", "\\ufeff")
    assert f'item 1 (counting from 0), id "1", field {shown}: found an unknown field without {meant}' in line
    assert f"wanted {meant} (did you mean {meant}?)" in line


def test_all_misspelt_fields_of_an_item_are_told_once_for_all_items(tmp_path: Path) -> None:
    item = {"emotion": FEELINGS, "regret": 0.5, "bentham": {"intensity": 1}, "surd": {"risk": 1}, "Label": "AUTHOR"}
    lines = problems(write(tmp_path, *[item] * 100))
    assert len(lines) == 5
    for name, meant in zip(item, ("emotions", "regret_factor", "bentham_scores", "surd_metrics", "label"), strict=True):
        assert any(f"field {name}: found an unknown field in 100 items" in one and meant in one for one in lines)


@pytest.mark.parametrize(
    "fields",
    [
        {"emotion": "sad", "emotions": FEELINGS},
        {"labels": ["x"], "label": "AUTHOR"},
        {"regret": None},
        {"emotion_notes": "x"},
        {"regret_of_the_other": 0.5},
        {"reaction": "x", "caption": "x", "subtitle": "x", "table": 1, "context": "x"},
        {"binarized_label": "RIGHT", "binarized_label_scores": {"RIGHT": 1}, "post_id": "x", "post_type": "HISTORICAL"},
    ],
)
def test_other_unknown_fields_are_a_warning_once(
    tmp_path: Path, fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = warnings_of(write(tmp_path, fields, fields), caplog)
    unknown = [name for name in fields if name not in ("label", "emotions")]
    assert message.rsplit(": ", 1)[1] == ", ".join(unknown)


def test_fields_that_everyone_has_are_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not warnings_of(write(tmp_path, {"timestamp": "2025", "embedding_key": "k", "embedding_kinds": [2]}), caplog)


def test_a_warning_of_many_names_is_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (message,) = warnings_of(write(tmp_path, {f"note{number}": 1 for number in range(25)}), caplog)
    assert "note9" in message and "note10" not in message and "(+15)" in message


def test_a_misspelt_text_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"id": "a", "txet": "t", "title": "t"}]))
    assert '(did you mean the one under "txet"? rename it to text)' in problems(path)[0]
