"""A learning rate that a sweep chose under other settings is taken, and said to be that, with both values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from redheart.config import Config, load_config
from redheart.embedding import EmbeddedDataset, open_embedded
from redheart.facts.learning_rate import RateOrigin
from redheart.launching import supervisor
from redheart.launching.group import Ended
from redheart.machine import GIB
from redheart.storage import read_json, write_json
from redheart.sweep.identity import open_sweep, sweep_identity
from redheart.training.identity import rate_settings, trial_identity
from redheart.workflow import stages
from redheart.workflow.examinations.plan import plan_training
from redheart.workflow.resolve import resolve
from tests.training.small_data import embedded_items, write_embedded

RATE = 7e-4


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedDataset:
    return open_embedded(write_embedded(tmp_path_factory.mktemp("data")))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Messages about the sweep: how loud, their keys, and what differs."""
    found: list[tuple[str, str]] = []
    for loudness in ("info", "warn"):
        monkeypatch.setattr(
            stages,
            loudness,
            lambda key, loudness=loudness, **values: found.append((f"{loudness} {key}", values.get("differs", ""))),
        )
    return found


def configured(output: Path, *overrides: str) -> Config:
    return load_config(None, [f"output={output}", *overrides])


def swept(output: Path, dataset: EmbeddedDataset, *overrides: str, **others: Any) -> None:
    """What a finished sweep leaves; ``others``: what its files hold otherwise."""
    asked = configured(output, *overrides)
    resolved = resolve(asked).config
    sweep = open_sweep(
        resolved,
        sweep_identity(asked, dataset.identity),
        output / "lr_sweep_results",
        trial=others.get("trial", trial_identity(resolved, dataset.identity)),
        data=others.get("data", dataset.path),
    )
    choice = {
        "optimal_lr": repr(RATE),
        "sweep": sweep.name,
        "epochs": asked.trial_epochs,
        "training_situations": min(dataset.facts.counts["train"], asked.sweep.max_situations),
    }
    write_json(output / "lr_sweep_results" / "optimal_lr.json", {**choice, **others.get("choice", {})})


def origin_of(output: Path, dataset: EmbeddedDataset, *overrides: str) -> RateOrigin:
    return stages._resolve_aloud(configured(output, *overrides), dataset)[1]


SHORT = ("training.epochs=3",)


@pytest.mark.parametrize("given", [[], [f"training.learning_rate={RATE}"]])
def test_the_readmes_example_is_told_that_trials_of_three_epochs_chose_for_sixty(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]], given: list[str]
) -> None:
    """Taken from the file or typed from it: it is the sweep's."""
    swept(tmp_path, dataset, *SHORT)
    origin = origin_of(tmp_path, dataset, "training.epochs=60", *given)
    assert said[1:] == [("warn workflow.lr_differs", "epochs 3 → 60")]
    assert origin.kind == ("given" if given else "sweep") and origin.sweep and not origin.is_by_design


def test_nothing_is_said_where_nothing_differs(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]]
) -> None:
    swept(tmp_path, dataset, *SHORT)
    origin = origin_of(tmp_path, dataset, *SHORT, "model.preset=tiny", "training.precision=no", "seed=4")
    assert len(said) == 1 and origin.differs == () and origin.is_on_record


def test_trials_as_short_as_a_sweep_for_this_run_would_have_are_told_without_a_warning(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]]
) -> None:
    few = ("training.epochs=60", "sweep.max_situations=20")
    swept(tmp_path, dataset, *few)
    origin = origin_of(tmp_path, dataset, *few)
    count = dataset.facts.counts["train"]
    assert (
        said[1:] == [("info workflow.lr_shorter", f"epochs 12 → 60, situations 20 → {count}")] and origin.is_by_design
    )
    assert not origin_of(tmp_path, dataset, *few, "sweep.max_situations=30").is_by_design


#: Another value of each thing that the best learning rate hangs on, and how it is shown.
OTHERWISE = {
    "model.preset": ("model.preset=small", "tiny → small"),
    "model.dropout": ("model.dropout=0.2", "0.1 → 0.2"),
    "training.global_batch_size": ("training.global_batch_size=8", "32 → 8"),
    "training.weight_decay": ("training.weight_decay=0.1", "0.05 → 0.1"),
    "training.warmup_fraction": ("training.warmup_fraction=0.2", "0.1 → 0.2"),
    "training.schedule": ("training.schedule=wsd", "cosine → wsd"),
    "training.final_lr_fraction": ("training.final_lr_fraction=0.1", "0.05 → 0.1"),
    "training.linear_start": ("training.linear_start=false", "True → False"),
    "training.rate_by_coverage": ("training.rate_by_coverage=false", "True → False"),
    "training.layer_lr_decay": ("training.layer_lr_decay=0.9", "1 → 0.9"),
    "training.ema_decay": ("training.ema_decay=0.99", "0 → 0.99"),
    "training.label_smoothing": ("training.label_smoothing=0.1", "0 → 0.1"),
    "training.r_drop": ("training.r_drop=0.5", "0 → 0.5"),
    "training.max_grad_norm": ("training.max_grad_norm=2", "1 → 2"),
    "training.precision": ("training.precision=bf16", "no → bf16"),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_each_setting_that_differs_is_named_once_with_both_values(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]], name: str
) -> None:
    override, shown = OTHERWISE[name]
    swept(tmp_path, dataset, *SHORT)
    origin_of(tmp_path, dataset, *SHORT, override)
    assert said[1:] == [("warn workflow.lr_differs", f"{name} {shown}")]


def test_each_setting_that_a_rate_hangs_on_is_among_these(dataset: EmbeddedDataset) -> None:
    settings = rate_settings(trial_identity(load_config(), dataset.identity))
    assert settings.keys() == OTHERWISE.keys() | {"dataset", "epochs"}


def test_another_dataset_is_named_by_its_path_and_identity(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]]
) -> None:
    other = open_embedded(write_embedded(tmp_path, embedded_items(81)[1:]))
    swept(tmp_path, other, *SHORT)
    origin_of(tmp_path, dataset, *SHORT)
    ((_, differs),) = said[1:]
    assert f"dataset {other.path} ({other.identity}) → {dataset.path} ({dataset.identity})" in differs


def test_the_same_vectors_with_other_texts_are_other_data(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]]
) -> None:
    swept(tmp_path, dataset, *SHORT)
    (described,) = (tmp_path / "lr_sweep_results" / "sweeps").glob("*/sweep.json")
    write_json(described, {**read_json(described), "texts": dataset.texts_identity})
    assert origin_of(tmp_path, dataset, *SHORT).differs == ()
    write_json(described, {**read_json(described), "texts": "of before an edit"})
    (differs,) = origin_of(tmp_path, dataset, *SHORT).differs
    assert differs.name == "dataset" and differs.sweep != differs.run


@pytest.mark.parametrize("overrides, differs", [(["seed=3"], 0), (["training.weight_decay=0.1"], 1)])
def test_of_a_sweep_that_kept_no_settings_their_hash_tells_whether_they_are_these(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]], overrides: list[str], differs: int
) -> None:
    swept(tmp_path, dataset, "training.epochs=3", trial=None, data=None)
    origin = origin_of(tmp_path, dataset, "training.epochs=3", "sweep.points=7", *overrides)
    assert [key for key, _ in said[1:]] == ["warn workflow.lr_not_on_record"] * differs
    assert origin.is_on_record is not bool(differs)


def test_a_number_that_another_program_left_is_known_to_be_of_nothing(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]]
) -> None:
    (tmp_path / "lr_sweep_results").mkdir()
    write_json(tmp_path / "lr_sweep_results" / "optimal_lr.json", {"optimal_lr": RATE, "epochs": "three"})
    origin = origin_of(tmp_path, dataset)
    assert said[1:] == [("warn workflow.lr_not_on_record", "–")] and not origin.is_on_record


@pytest.mark.parametrize("name", ["optimal_lr.json", "sweeps"])
def test_a_damaged_sweep_is_no_hindrance_to_a_rate_that_is_given(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]], name: str
) -> None:
    swept(tmp_path, dataset, *SHORT)
    for path in (tmp_path / "lr_sweep_results").rglob("*.json"):
        if name in path.parts:
            path.write_text("{")
    origin = origin_of(tmp_path, dataset, *SHORT, f"training.learning_rate={RATE}")
    assert origin.kind == "given" and (origin.sweep is None) is (name == "optimal_lr.json")
    assert len(said) == (1 if name == "optimal_lr.json" else 2)


def test_a_rate_that_is_no_sweeps_is_told_to_be_that(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]]
) -> None:
    assert origin_of(tmp_path, dataset) == RateOrigin(kind="default")
    swept(tmp_path, dataset)
    assert origin_of(tmp_path, dataset, "training.learning_rate=1e-4") == RateOrigin(kind="given")
    assert len(said) == 2


def test_the_training_keeps_it_and_several_processes_say_it_themselves(
    tmp_path: Path, dataset: EmbeddedDataset, said: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: dict[str, Any] = {}

    class Trainer:
        def __init__(self, *_: Any, **values: Any) -> None:
            handed.update(values)

        def run(self) -> None: ...

    monkeypatch.setattr("redheart.training.trainer.Trainer", Trainer)
    swept(tmp_path, dataset, *SHORT)
    stages.train(configured(tmp_path), dataset)
    assert handed["rate_origin"].differs[0].name == "epochs" and handed["rate_origin"].kind == "sweep"
    assert [key for key, _ in said] == ["info workflow.lr_sweep", "warn workflow.lr_differs"]
    said.clear()
    monkeypatch.setattr(supervisor, "run_group", lambda *_, **__: Ended(0, (), (), 0, asked_to_stop=False))
    monkeypatch.setattr(supervisor, "info", stages.info)
    plan = plan_training(configured(tmp_path), gpus=2, gpu_bytes=24 * GIB)
    stages.train_by(plan, configured(tmp_path), force=False)
    assert [key for key, _ in said] == ["info workflow.lr_sweep", "info workflow.launch"]
    launched = load_config(tmp_path / "launch.yaml")
    stages.train(launched, dataset)
    assert handed["rate_origin"].kind == "given" and handed["rate_origin"].sweep is not None
    assert (
        json.loads((tmp_path / "lr_sweep_results" / "optimal_lr.json").read_text())["sweep"]
        == handed["rate_origin"].sweep
    )
