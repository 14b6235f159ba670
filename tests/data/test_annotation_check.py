"""Annotations as averages, 32-bit floats and tables write them are taken, and one fault is one problem."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redheart.data import Situation, read_dataset
from redheart.data.targets import build_targets
from redheart.errors import DataError
from redheart.messages import LOGGER_NAME
from redheart.tasks import BENTHAM_OPTIONAL, BENTHAM_REQUIRED, EMOTIONS, LABELS, SURD

BENTHAM = BENTHAM_REQUIRED + BENTHAM_OPTIONAL
FLOAT32_ONE_TENTH_TIMES_TEN = float(np.cumsum(np.full(10, 0.1, np.float32))[-1])  # 1.0000001


def read(folder: Path, **fields: Any) -> Situation:
    path = folder / "data.json"
    path.write_text(json.dumps([{"id": "a", "text": "t", **fields}]))
    return read_dataset(path)[0]


def problems(folder: Path, **fields: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        read(folder, **fields)
    return caught.value.problems


@pytest.mark.parametrize("beyond", [1.0000000000000002, 1.0000001, 1.000001, FLOAT32_ONE_TENTH_TIMES_TEN])
def test_a_number_above_1_by_rounding_is_1_in_every_field(tmp_path: Path, beyond: float) -> None:
    assert beyond > 1
    assert read(tmp_path, regret_factor=beyond).regret_factor == 1
    assert read(tmp_path, bentham_scores={"extent": beyond}).bentham_scores == {"extent": 1}
    assert read(tmp_path, surd_metrics={"risk": beyond}).surd_metrics == {"risk": 1}
    assert read(tmp_path, emotions=[beyond, 0, 0, 0, 0, 0, 0]).emotions == (1, 0, 0, 0, 0, 0, 0)
    named = dict.fromkeys(EMOTIONS, 0.0) | {"anger": beyond}
    assert read(tmp_path, emotions=named).emotions == (0, 0, 0, 0, 0, 0, 1)


@pytest.mark.parametrize("beyond", [-5.551115123125783e-17, -1.4e-17, -1e-6])
def test_a_number_below_0_by_rounding_is_0_in_every_field(tmp_path: Path, beyond: float) -> None:
    assert read(tmp_path, regret_factor=beyond).regret_factor == 0
    assert read(tmp_path, bentham_scores={"extent": beyond}).bentham_scores == {"extent": 0}
    assert read(tmp_path, surd_metrics={"risk": beyond}).surd_metrics == {"risk": 0}
    assert read(tmp_path, emotions=[1, 0, 0, 0, 0, 0, beyond]).emotions == (1, 0, 0, 0, 0, 0, 0)
    assert read(tmp_path, label_scores={"INFO": beyond, "OTHER": 2}).label_scores == {"INFO": 0, "OTHER": 2}


@pytest.mark.parametrize("beyond", [1.0000021, 1.01, -2.1e-6, -0.01])
def test_a_number_further_out_is_no_rounding(tmp_path: Path, beyond: float) -> None:
    for fields in (
        {"regret_factor": beyond},
        {"bentham_scores": {"extent": beyond}},
        {"surd_metrics": {"risk": beyond}},
        {"emotions": [beyond, 0, 0, 0, 0, 0, 0]},
        {"label_scores": {"AUTHOR": -abs(beyond), "OTHER": 3}},
    ):
        assert len([one for one in problems(tmp_path, **fields) if "0 or more" in one or "from 0 to 1" in one]) == 1


def test_votes_that_are_dust_alone_sum_to_0(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, label_scores={"AUTHOR": -1e-17, "OTHER": 0.0})
    assert "votes that sum to 0" in line


def test_rounded_numbers_are_said_once_with_their_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = [
        {"id": "exact", "text": "s", "regret_factor": 1.0},
        {"id": "over", "text": "t", "regret_factor": 1.0000001, "surd_metrics": {"risk": 1.0000001, "decision": -1e-9}},
        {"id": "under", "text": "u", "regret_factor": -1e-17},
    ]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(items))
    logging.getLogger(LOGGER_NAME).propagate = True
    with caplog.at_level(logging.WARNING, LOGGER_NAME):
        read_dataset(path)
    (message,) = {record.getMessage() for record in caplog.records}
    assert "4" in message and "over" in message and "under" not in message


NULLS: list[dict[str, Any]] = [
    {"emotions": dict.fromkeys(EMOTIONS)},
    {"emotions": [None] * 7},
    {"label_scores": dict.fromkeys(LABELS)},
    {"label_scores": [None] * 5},
    {"bentham_scores": dict.fromkeys(BENTHAM)},
    {"bentham_scores": [None]},
    {"surd_metrics": dict.fromkeys(SURD)},
    {"label": None, "regret_factor": None},
]


@pytest.mark.parametrize("fields", NULLS, ids=lambda fields: "-".join(map(str, fields.items()))[:40])
def test_nulls_only_are_an_absent_annotation_in_every_field(tmp_path: Path, fields: dict[str, Any]) -> None:
    found = read(tmp_path, **fields)
    assert not any(known.any() for known in build_targets([found]).mask.values())
    assert not (found.emotions or found.label_scores or found.bentham_scores or found.surd_metrics)


def test_unknown_names_of_nulls_are_no_absent_annotation(tmp_path: Path) -> None:
    for field in ("emotions", "label_scores", "bentham_scores", "surd_metrics"):
        (line,) = problems(tmp_path, **{field: {"happiness": None}})
        assert f"field {field}.happiness: found an unknown name" in line


def test_nulls_among_numbers_are_one_problem(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, emotions=[0.5, None, 0.5, None, None, None, None])
    assert "field emotions: found null in 5 of 7 values (trust: null, surprise: null" in line
    assert "wanted a number from 0 to 1" in line
    (line,) = problems(tmp_path, emotions=dict.fromkeys(EMOTIONS) | {"joy": 1.0})
    assert "no value for trust, fear, surprise, sadness, disgust, anger" in line


@pytest.mark.parametrize(
    ("fields", "found", "wanted"),
    [
        ({"emotions": ["0.1", "0.1", "0.2", "0.1", "0.3", "0.1", "0.1"]}, "in 7 of 7 values", "(without quotes)"),
        ({"emotions": [10, 10, 20, 10, 30, 10, 10]}, "a number out of bounds in 7 of 7 values", "0 to 1"),
        ({"bentham_scores": {"purity": 7, "extent": 8}}, "2 of 2 values (purity: 7, extent: 8)", "0 to 1"),
        ({"label_scores": {"AUTHOR": "3", "INFO": "1"}}, "a string in 2 of 2 values", "(without quotes)"),
        ({"label_scores": {"author": 3, "other": 1}}, '2 unknown names: "author" (did you mean AUTHOR?)', "AUTHOR"),
        ({"surd_metrics": {"risk": True, "decision": False, "selection": 1}}, "a boolean in 2 of 3 values", "0 to 1"),
    ],
)
def test_one_fault_of_several_values_is_one_problem(
    tmp_path: Path, fields: dict[str, Any], found: str, wanted: str
) -> None:
    (line,) = problems(tmp_path, **fields)
    assert found in line.split("; wanted ")[0]
    assert wanted in line.split("; wanted ")[1]


def test_different_faults_of_one_field_are_each_told(tmp_path: Path) -> None:
    lines = problems(tmp_path, surd_metrics={"risk": 2, "decision": "0.1", "selection": "x"})
    assert [line.split(": found ")[0].rsplit(" ", 1)[1] for line in lines] == [
        "surd_metrics.risk",
        "surd_metrics.decision",
        "surd_metrics.selection",
    ]


def test_what_can_not_be_seen_in_a_value_is_shown_as_an_escape(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, label="AUTHOR\u200b")
    assert 'found "AUTHOR\\u200b"' in line
    (line,) = problems(tmp_path, label_scores={"\ufeffAUTHOR": 1})
    assert "field label_scores.\\ufeffAUTHOR: " in line and "(did you mean AUTHOR?)" in line
