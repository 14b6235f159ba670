"""The stages hand on the opened dataset: in one workflow it is read and checked once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from redheart.batches.table import SituationTable
from redheart.config import Config, load_config
from redheart.data import reader
from redheart.workflow import datasets, run, stages
from tests.training.small_data import write_embedded


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The datasets that are read and checked from here on."""
    seen: list[Path] = []
    stream = reader.stream_items

    def watched(path: Path, *rest: Any) -> Any:
        seen.append(path)
        return stream(path, *rest)

    monkeypatch.setattr(reader, "stream_items", watched)
    return seen


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A run on vectors that lie in the file as lists: nothing can be stored beside them, so a second opening would read."""
    return load_config(None, [f"data.path={write_embedded(tmp_path)}", f"output={tmp_path / 'out'}"])


def test_a_workflow_reads_its_dataset_once(
    config: Config, reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities: list[str] = []

    def sweep(config: Config, path: Path, identity: str, output: Path, **_: Any) -> Any:
        identities.append(identity)
        (output / "lr_sweep_results").mkdir(parents=True)
        return SimpleNamespace(learning_rate=1e-3)

    class Trainer:
        def __init__(self, config: Config, dataset: Any, output: Path, **_: Any) -> None:
            identities.append(SituationTable.open(dataset).identity)

        def run(self) -> None: ...

    def crossover(config: Config, output: Path, analysis: Any, table: SituationTable, **_: Any) -> None:
        identities.append(table.identity)

    monkeypatch.setattr("redheart.sweep.run_sweep", sweep)
    monkeypatch.setattr("redheart.training.trainer.Trainer", Trainer)
    monkeypatch.setattr("redheart.crossover.run_crossover", crossover)
    monkeypatch.setattr("redheart.sweet_spot.load_analysis", lambda _: None)
    monkeypatch.setattr(stages, "analyze", lambda *_, **__: None)
    for name in ("analysis_file", "_metrics_file"):
        monkeypatch.setattr(stages, name, lambda _: tmp_path / "small.embedded.json")
    monkeypatch.setattr(stages, "report", lambda *_, **__: tmp_path)
    monkeypatch.setattr(run, "inspect_machine", lambda _: SimpleNamespace(gpus=[]))
    for name in ("describe_machine", "foretell_disk"):
        monkeypatch.setattr(run, name, lambda *_, **__: None)
    monkeypatch.setattr("redheart.workflow.examinations.parameter_check.check_parameters", lambda _: None)
    seconds: list[float] = []
    monkeypatch.setattr(run, "info", lambda key, **values: seconds.append(values.get("seconds", 0.0)))
    run.run_workflow(config, mode="full", most_epochs=1, lr_sweep=True, force=False, should_stop=lambda: False)
    assert 0 < seconds[-1] < 300, "what the whole took"
    assert reads == [tmp_path / "small.embedded.json"]
    assert len(identities) == 3 and len(set(identities)) == 1


def test_the_choice_of_a_learning_rate_does_not_open_the_dataset_again(config: Config, reads: list[Path]) -> None:
    dataset = datasets.prepare(config)
    assert len(reads) == 1
    stages._resolve_aloud(config, dataset)
    SituationTable.open(dataset)
    assert len(reads) == 1
