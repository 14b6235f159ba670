"""Files of the project's own in the place of a dataset: one line that names what each is."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from redheart.data import read_dataset
from redheart.data.files.own_files import own_file
from redheart.errors import DataError, UsageError
from redheart.prediction.formatting import PredictionRecord
from redheart.prediction.inputs import read_inputs

OLD = Path(__file__).parents[2] / "old_runs" / "4238d59"
PREDICTED = {name: None for name in PredictionRecord.__struct_fields__}


def refused(path: Path) -> str:
    """The one problem that reading it has."""
    with pytest.raises(DataError) as told:
        read_inputs([], path)
    (problem,) = told.value.problems
    return problem


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("training/run.json", "run.json"),
        ("training/stages.json", "stages.json"),
        ("training/oom_stats/oom_stats.json", "oom_stats.json"),
        ("training/plots/training_curves.json", "training_curves.json"),
        ("training/lr_sweep_results/optimal_lr.json", "optimal_lr.json"),
        ("training/lr_sweep_results/chosen_for.json", "chosen_for.json"),
        ("training/lr_sweep_results/trials/*_point0.json", "a trial of a sweep"),
        ("training/lr_sweep_results/sweeps/*/plan_stage0.json", "a plan of a sweep"),
        ("training/lr_sweep_results/sweeps/*/sweep.json", "sweep.json"),
        ("stories.vectors/*.index.jsonl", ".index.jsonl"),
        ("stories.vectors/written.json", "written.json"),
    ],
)
def test_a_file_of_a_run_is_named(pattern: str, name: str) -> None:
    for path in OLD.glob(pattern):
        assert f"found {name}" in refused(path) or f"({name})" in refused(path)
        assert "which is no dataset; wanted a dataset: situations with id and text" in refused(path)
    assert list(OLD.glob(pattern))


def test_the_record_of_a_training_is_one_fact_however_many_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"kind": "run", "run": "a", "config": {}},
        *({"kind": "epoch", "epoch": n, "global_step": n} for n in range(9)),
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "found the record of a training (metrics.jsonl)" in refused(path)


@pytest.mark.parametrize("as_array", [True, False])
def test_predictions_are_named_as_such(tmp_path: Path, as_array: bool) -> None:
    path = tmp_path / "out.json"
    rows = [{**PREDICTED, "id": None if n == 0 else str(n)} for n in range(60)]
    path.write_text(json.dumps(rows) if as_array else "".join(json.dumps(row) + "\n" for row in rows))
    assert "found a prediction without its text, as `redheart predict --json` prints them" in refused(path)


def test_a_story_among_others_that_lacks_its_text_is_still_told_by_its_id(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"id": "a", "text": "x"}, {**PREDICTED, "id": "b"}]))
    with pytest.raises(DataError) as told:
        read_dataset(path)
    (problem,) = told.value.problems
    assert 'id "b", field text' in problem


@pytest.mark.parametrize(
    "item", [{"id": "a"}, {"text": "x", "kind": "run", "run": "", "config": ""}, {}, [], "x", {"a": {}}]
)
def test_what_may_be_a_situation_or_is_anothers_is_not_taken_for_ours(item: object) -> None:
    assert own_file(item) is None


def test_what_predict_prints_has_the_names_by_which_it_is_known() -> None:
    printed = msgspec.to_builtins(PredictionRecord(None, {}, None, {}, {}, None, {}))
    assert own_file(printed) is not None
    for name in printed:
        assert own_file({key: value for key, value in printed.items() if key != name}) is None, name


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "config.yaml",
            "output: run\nseed: 0\ndata:\n  path: x\nembedding:\n  model: y\n",
            "a run's settings: config.yaml",
        ),
        ("other.yaml", "key: value\n", "YAML"),
        ("redheart.log", "2026-11-26 17:43:43,619 INFO x\n", "a log"),
        ("table.csv", "id,text\n", "CSV"),
    ],
)
def test_of_a_file_of_another_name_it_is_said_what_it_looks_like(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=f"the file looks like {said}"):
        read_inputs([], tmp_path / name)
    with pytest.raises(DataError) as told:
        read_dataset(tmp_path / name)
    assert name in str(told.value) and (name == "redheart.log" or f"looks like {said}" in str(told.value))
