"""Files of a run of an older version: read whole, and written again as they stand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from redheart.crossover import load_result
from redheart.messages import set_language
from redheart.paths import OutputPaths
from redheart.report.curves import read_curves
from redheart.sweet_spot import load_analysis
from redheart.sweet_spot.choice import save_analysis
from redheart.sweet_spot.curves import read_history
from redheart.tasks import MODULES

STORED = Path(__file__).parents[2] / "docs" / "runs" / "2026-11-23-bundled-sample"


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    set_language("en")
    yield
    set_language("ko")


@pytest.fixture
def paths(tmp_path: Path) -> OutputPaths:
    """The stored run where its stages left it."""
    made = OutputPaths(tmp_path)
    for source, target in (
        ("metrics.jsonl", made.metrics),
        ("candidates.json", made.candidates),
        ("sweet_spots/sweet_spot_analysis.json", made.analysis),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(STORED / source, target)
    return made


def test_the_candidates_come_back_with_every_number(paths: OutputPaths) -> None:
    stored = json.loads(paths.candidates.read_text())
    result = load_result(paths.root)
    assert result.delivered == stored["delivered"] and len(result.candidates) == len(stored["candidates"])
    again = {"format": stored["format"], "explanation": stored["explanation"], **msgspec.to_builtins(result)}
    assert again == stored


def test_the_analysis_is_written_as_it_was(paths: OutputPaths) -> None:
    stored = json.loads(paths.analysis.read_text())
    analysis = load_analysis(paths.root)
    assert analysis.choices is not None and set(analysis.choices) == set(MODULES)
    save_analysis(paths.root, analysis)
    assert json.loads(paths.analysis.read_text()) == stored


def test_curves_and_history_are_of_the_same_epochs(paths: OutputPaths) -> None:
    curves, history = read_curves(paths.metrics), read_history(paths.metrics)
    assert curves.epochs == [0, *range(1, 21)] and history.epochs.tolist() == curves.epochs[1:]
    assert json.loads((STORED / "training_curves.json").read_text()) == {
        "format": 1,
        "dry_run": curves.dry_run,
        "best_epoch": curves.best_epoch,
        **curves.columns(),
    }
