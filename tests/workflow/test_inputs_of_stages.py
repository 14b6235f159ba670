"""What a stage was made from decides whether it is done again: each input is changed in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from redheart.batches.trained_on import TrainedOn
from redheart.checkpoint import list_epochs, save_epoch
from redheart.checkpoint.manifest import FORMAT, FileEntry, Manifest, write_manifest
from redheart.checkpoint.thinning import thin
from redheart.config import load_config
from redheart.paths import OutputPaths
from redheart.storage import fingerprint, write_json
from redheart.tasks import MODULES
from redheart.workflow import datasets, stages
from redheart.workflow.inputs import inputs_of, inputs_of_analyze, inputs_of_crossover
from tests.checkpoint.states import MANIFEST, a_state

#: How an input becomes another: by a setting, by another dataset, or by what is done to the run's files.
Change = str | Callable[[OutputPaths], None]


def save_checkpoint(paths: OutputPaths, epoch: int) -> None:
    """As much of one as is looked at: a manifest, and files of the sizes that it names."""
    folder = paths.checkpoints / f"epoch_{epoch:04d}"
    folder.mkdir(parents=True)
    for module in MODULES:
        (folder / f"{module}.safetensors").write_bytes(b"1")
    files = {f"{module}.safetensors": FileEntry(f"{module} {epoch}", 1, {}) for module in MODULES}
    write_manifest(folder, Manifest(format=FORMAT, files=files))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """As much of a run as the stages look at before they begin."""
    paths = OutputPaths(tmp_path)
    for path in (paths.metrics, paths.analysis, paths.combined, paths.candidates, paths.best_model / "a"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    write_json(paths.run, {"identity": {"dataset": "a", "preset": "tiny"}})
    save_checkpoint(paths, 1)
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


def analyze(output: Path, dataset: str, *overrides: str) -> None:
    stages.analyze(load_config(None, [f"output={output}", *overrides]))


def crossover(output: Path, dataset: str, *overrides: str) -> None:
    stages.crossover(load_config(None, [f"output={output}", *overrides]), opened(dataset))


def opened(dataset: str) -> Any:
    """A dataset as the stages see it: identities of data and texts, with a blank between them where they are not the same."""
    identity, _, texts = dataset.partition(" ")
    return SimpleNamespace(identity=identity, texts_identity=texts)


def touch(name: str) -> Callable[[OutputPaths], None]:
    return lambda paths: (getattr(paths, name).write_text('{"changed": 1}'), None)[1]


ANALYZE: dict[str, Change] = {
    "metrics": touch("metrics"),
    "settings.significance": "sweet_spot.significance=0.1",
    "settings.loss_weight": "sweet_spot.loss_weight=0.35 sweet_spot.task_weight=0.35",
    "settings.task_weight": "sweet_spot.task_weight=0.45 sweet_spot.stability_weight=0.1",
    "settings.stability_weight": "sweet_spot.stability_weight=0.2 sweet_spot.gradient_weight=0.1",
    "settings.gradient_weight": "sweet_spot.gradient_weight=0.2 sweet_spot.loss_weight=0.25",
}
CROSSOVER: dict[str, Change] = {
    "metrics": touch("metrics"),
    "analysis": touch("analysis"),
    "checkpoints": lambda paths: save_checkpoint(paths, 2),
    "dataset": "b",
    "texts": "a edited",
    "trained_on": touch("trained_on"),
    "preset": "model.preset=small",
    "settings.average_last": "crossover.average_last=7",
    "settings.random_controls": "crossover.random_controls=1",
    "report.bootstrap_samples": "report.bootstrap_samples=300",
    "report.confidence": "report.confidence=0.9",
    "seed": "seed=5",
}
STAGES = {"analyze": (analyze, ANALYZE), "crossover": (crossover, CROSSOVER)}


@pytest.mark.parametrize("stage, name", [(stage, name) for stage, (_, changes) in STAGES.items() for name in changes])
def test_another_input_does_a_stage_again_and_the_same_does_not(
    output: Path, done: list[str], stage: str, name: str
) -> None:
    run, changes = STAGES[stage]
    change, dataset, overrides = changes[name], "a", []
    run(output, dataset)
    run(output, dataset)
    assert len(done) == 1
    if callable(change):
        change(OutputPaths(output))
    elif "=" in change:
        overrides = change.split()
    else:
        dataset = change
    run(output, dataset, *overrides)
    run(output, dataset, *overrides)
    assert done == [stage, stage]


def test_each_input_of_a_stages_record_is_changed_above(output: Path) -> None:
    config, paths = load_config(None, [f"output={output}"]), OutputPaths(output)
    records = {
        "analyze": inputs_of_analyze(config, paths.metrics),
        "crossover": inputs_of_crossover(config, opened("a"), paths.metrics, paths.analysis),
    }
    for stage, record in records.items():
        assert set(flat(inputs_of(record))) == set(STAGES[stage][1])
        left_out = set(record.__struct_fields__) - inputs_of(record).keys()
        assert left_out == ({"lost", "thinned"} if stage == "analyze" else set()), (
            "changed in tests of their own, below"
        )


def test_an_epoch_that_was_thinned_is_looked_at_again(output: Path, done: list[str]) -> None:
    save_epoch(output, epoch=1, state=a_state(1), manifest=MANIFEST)
    for number, keep in enumerate((["phases", "backbone"], ["phases"]), 1):
        thin(output, list_epochs(output)[0], keep)
        analyze(output, "a")
        analyze(output, "a")
        assert done == ["analyze"] * number


def test_an_epoch_that_is_lost_or_put_back_is_looked_at_again(
    output: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = SimpleNamespace(epochs={1: None, 2: None})
    monkeypatch.setattr("redheart.workflow.inputs.read_records", lambda _: recorded)
    paths = OutputPaths(output)
    save_checkpoint(paths, 2)
    analyze(output, "a")
    folder, away = paths.checkpoints / "epoch_0002", output / "away"
    for number, (source, target) in enumerate(((folder, away), (away, folder)), 2):
        source.rename(target)
        analyze(output, "a")
        analyze(output, "a")
        assert done == ["analyze"] * number


def flat(inputs: Mapping[str, Any]) -> list[str]:
    """``{"settings": {"seed": 1}}`` -> ``["settings.seed"]``."""
    return [
        f"{name}.{inner}" if inner else name
        for name, value in inputs.items()
        for inner in (value if isinstance(value, dict) else [""])
    ]


def test_the_runs_own_preset_is_the_same_asked_for_by_its_name_or_not(output: Path, done: list[str]) -> None:
    crossover(output, "a")
    crossover(output, "a", "model.preset=tiny")
    assert len(done) == 1


@pytest.mark.parametrize("dataset, overrides, runs", [("a", [], 0), ("b", [], 1), ("a", ["model.preset=small"], 1)])
def test_what_an_earlier_version_remembered_counts_for_the_runs_own_data_and_preset(
    output: Path, done: list[str], dataset: str, overrides: list[str], runs: int
) -> None:
    """It remembered neither of them."""
    config, paths = load_config(None, [f"output={output}"]), OutputPaths(output)
    now = inputs_of(inputs_of_crossover(config, opened("a"), paths.metrics, paths.analysis))
    then = {
        "metrics": now["metrics"],
        "analysis": now["analysis"],
        "settings": [now["settings"], now["report"], now["seed"]],
    }
    write_json(paths.stages, {"crossover": fingerprint(then)})
    crossover(output, dataset, *overrides)
    assert len(done) == runs


@pytest.mark.parametrize(
    "identity, texts, said", [("a", "t", 0), ("b", "t", 1), ("a", "edited", 1), ("a", "unreadable", 0)]
)
def test_analyze_says_that_the_data_has_changed_since_training(
    output: Path, done: list[str], monkeypatch: pytest.MonkeyPatch, identity: str, texts: str, said: int
) -> None:
    """Data that can't be read does not hinder it."""
    (output / "data.embedded.json").write_text("[]")
    paths = OutputPaths(output)
    write_json(paths.run, {"run": "r", "identity": {"dataset": "a"}, "dataset": str(output / "data.embedded.json")})
    write_json(paths.trained_on, TrainedOn(run="r", dataset="a", texts="t", splits={}))
    if texts != "unreadable":
        monkeypatch.setattr("redheart.embedding.open_embedded", lambda _: opened(f"{identity} {texts}"), raising=False)
    warned: list[str] = []
    monkeypatch.setattr(datasets, "warn", lambda key, **_: warned.append(key))
    analyze(output, "a")
    assert warned == ["workflow.data_changed"] * said and done == ["analyze"]
