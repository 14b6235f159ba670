"""A dataset annotated with one thing only goes through the whole workflow, and no number is made up for the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from redheart.checkpoint import read_manifest
from redheart.cli.main import main
from redheart.messages import set_language
from redheart.storage import read_json, read_lines
from redheart.tasks import TASKS
from tests.training.small_data import embedded_items, write_embedded

FAST = ("report.bootstrap_samples=100", "training.global_batch_size=16", "model.preset=tiny", "--lang", "en")
#: The sweep knows no targets, only losses: once is enough.
SWEEP = {"label": ("--lr-sweep", "sweep.stages=1", "sweep.points=3", "sweep.epochs=1", "sweep.workers=1")}
Annotate = Callable[[dict[str, Any]], dict[str, Any]]
#: What is left of the annotations, and the task that it is for.
SINGLE: dict[str, tuple[str, Annotate]] = {
    "label": ("verdict", lambda item: {"label": item["label"]}),
    "one of Bentham's seven": (
        "bentham",
        lambda item: {"bentham_scores": {"purity": item["bentham_scores"]["purity"]}},
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDHEART_LANG", "en")
    yield tmp_path
    set_language("ko")


def numbers(value: Any) -> Iterator[float]:
    """Every number of a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, float):
        yield value


@pytest.mark.parametrize("left", SINGLE)
def test_it_trains_is_analysed_crossed_reported_and_evaluated(
    folder: Path, left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    only, annotate = SINGLE[left]
    items = []
    for item in embedded_items():
        kept = {
            key: item[key] for key in ("id", "text", "title", "action", "embedding", "embedding_kinds") if key in item
        }
        items.append({**kept, **annotate(item)})
    write_embedded(folder, items)
    words = ["workflow", "unified-test", "--samples", "2", "--data", "small.embedded.json", *FAST]
    assert main([*words, *SWEEP.get(left, ())]) == 0, capsys.readouterr().err
    output = folder / "training"
    if left in SWEEP:
        trials = [read_json(path) for path in (output / "lr_sweep_results" / "trials").glob("*.json")]
        assert len(trials) == 3 and all(math.isfinite(number) for trial in trials for number in numbers(trial))
    for record in read_lines(output / "metrics.jsonl")[1:]:
        assert math.isfinite(record["train"]["loss"]) and record["train"]["loss"] > 0
        assert {name for name, task in record["choose"]["tasks"].items() if "skill" in task} == {only}
        for name, term in record["train"]["terms"].items():
            assert (term > 0) == name.endswith(f".{only}") or name.split(".")[0] in (
                "phases",
                "dsp_simulator",
                "kalman_filter",
            )
    page = (output / "report" / "report.html").read_text(encoding="utf-8")
    facts = read_json(output / "report" / "report.json")
    scored = {row["task"] for row in facts["result"]["tasks"] if row["test"]["skill"] is not None}
    assert scored == {only} and "NaN" not in json.dumps(facts)
    assert page.count("no target to score") >= 2 * (len(TASKS) - 1)
    assert facts["rival"]["status"] == "present"
    capsys.readouterr()
    assert main(["evaluate", "--json", *FAST]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(math.isfinite(number) for number in numbers(found))
    assert {name for name, task in found["comparison"]["tasks"].items() if task["metrics"]} == {only}
    assert {name for name, task in found["rival"]["tasks"].items() if "absent" not in task} == {only}
    assert main(["evaluate", *FAST]) == 0
    table = capsys.readouterr().out
    assert table.count("no target to score") == len(TASKS) - 1 and "No baseline for" in table
    counts = read_manifest(output / "best_model").target_counts
    assert {name for name, one in counts.items() if any(one)} - {"votes"} == {only}
