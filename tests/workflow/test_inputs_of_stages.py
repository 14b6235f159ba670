"""What a stage was made from decides whether it is done again: each input is changed in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from redheart.config import Config, load_config
from redheart.paths import OutputPaths
from redheart.workflow import stages


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """As much of a run as the stages look at before they begin."""
    paths = OutputPaths(tmp_path)
    for path in (paths.metrics, paths.analysis, paths.combined, paths.candidates, paths.best_model / "a"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return tmp_path


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that really ran."""
    found: list[str] = []
    monkeypatch.setattr("redheart.sweet_spot.analyze", lambda *_, **__: found.append("analyze"))
    monkeypatch.setattr("redheart.sweet_spot.load_analysis", lambda _: None)
    monkeypatch.setattr("redheart.crossover.run_crossover", lambda *_, **__: found.append("crossover"))
    monkeypatch.setattr("redheart.batches.table.SituationTable.open", lambda _: None)
    return found


def analyze(config: Config) -> None:
    stages.analyze(config)


def crossover(config: Config) -> None:
    dataset: Any = SimpleNamespace(identity="a")
    stages.crossover(config, dataset)


def touch(path: Path) -> None:
    path.write_text('{"changed": 1}')


@pytest.mark.parametrize(
    "stage, overrides",
    [
        (analyze, ["sweet_spot.significance=0.1"]),
        (crossover, ["crossover.average_last=7"]),
        (crossover, ["report.bootstrap_samples=300"]),
        (crossover, ["seed=5"]),
    ],
)
def test_another_setting_does_a_stage_again_and_the_same_does_not(
    output: Path, done: list[str], stage: Callable[[Config], None], overrides: list[str]
) -> None:
    for asked in ([], [], overrides, overrides):
        stage(load_config(None, [f"output={output}", *asked]))
    assert len(done) == 2


@pytest.mark.parametrize("stage, name", [(analyze, "metrics"), (crossover, "metrics"), (crossover, "analysis")])
def test_another_file_does_a_stage_again(
    output: Path, done: list[str], stage: Callable[[Config], None], name: str
) -> None:
    config = load_config(None, [f"output={output}"])
    stage(config)
    touch(getattr(OutputPaths(output), name))
    stage(config)
    stage(config)
    assert len(done) == 2
