"""A run's stored settings train it again: the same numbers elsewhere, the same run in its own folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import redheart.sweep
from redheart.cli.main import main
from redheart.config import Config, load_config
from redheart.embedding import open_embedded
from redheart.launching.supervisor import Supervisor
from redheart.machine import GIB
from redheart.messages import set_language, set_up_logging, text
from redheart.model.presets import PRESETS
from redheart.storage import fingerprint, read_json, read_lines
from redheart.sweep.identity import sweep_identity
from redheart.training.identity import run_identity
from redheart.workflow import stages
from redheart.workflow.examinations.plan import plan_training
from tests.training.small_data import write_embedded

#: A learning rate that no default is.
SWEPT = 7.3e-4
WORDS = ("--data", "small.embedded.json", "--epochs", "2", "training.global_batch_size=16")


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to start runs in, with small data and a small ``tiny``."""
    made = tmp_path_factory.mktemp("runs")
    sizes = {"d_model": 32, "layers": 1, "head_width": 32, "analyzer_width": 32, "wrapper_width": 32, "phase_width": 16}
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], **sizes))  # type: ignore[arg-type]
        patch.setenv("REDHEART_LANG", "en")
        patch.chdir(made)
        write_embedded(made)
        yield made
    set_language("ko")
    set_up_logging(quiet=True)


@pytest.fixture(scope="module")
def swept(folder: Path) -> Path:
    """The output folder of a run at the sweep's choice."""
    output = folder / "training"
    (output / "lr_sweep_results").mkdir(parents=True)
    (output / "lr_sweep_results" / "optimal_lr.json").write_text(json.dumps({"optimal_lr": f"{SWEPT:g}"}))
    assert main(["train", *WORDS]) == 0
    return output


def losses(output: Path) -> list[Any]:
    """Everything that the epochs' lines say and a clock does not decide, and the evaluation before the first."""
    lines = read_lines(output / "metrics.jsonl")
    return [lines[0]["choose"]["loss"], *({**line, "seconds": None} for line in lines[1:])]


def test_what_is_stored_is_what_trained(swept: Path) -> None:
    stored = load_config(swept / "config.yaml")
    assert stored.training.learning_rate == SWEPT
    assert (stored.model.preset, stored.training.precision) == ("tiny", "no")
    assert stored.training.micro_batch_size is None, "as it was asked for: what ran stands in run.json"
    assert read_lines(swept / "metrics.jsonl")[0]["learning_rate"] == SWEPT
    origin = read_json(swept / "run.json")["rate_origin"]
    assert origin == {"kind": "sweep", "sweep": "–", "is_on_record": False}, "of such a file nothing else is known"


def test_the_stored_settings_give_the_same_losses_in_another_folder(swept: Path, folder: Path) -> None:
    assert main(["train", "--config", "training/config.yaml", "--output", "again"]) == 0
    assert not (folder / "again" / "lr_sweep_results").exists(), "there is no sweep to ask"
    assert losses(folder / "again") == losses(swept)
    assert len(losses(swept)) == 3


def test_in_its_own_folder_it_is_the_same_run_and_is_not_trained_twice(
    swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (swept / "metrics.jsonl").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["train", "--config", "training/config.yaml"]) == 0
    assert text("training.done_already", epochs=2) in capsys.readouterr().err
    assert (swept / "metrics.jsonl").stat().st_mtime_ns == before and not (swept / "previous").exists()


def test_what_is_trained_is_known_and_only_that(swept: Path, folder: Path) -> None:
    dataset = open_embedded(folder / "small.embedded.json")
    settings = ["training.epochs=2", "training.global_batch_size=16"]
    assert stages.is_trained(load_config(None, settings), dataset)
    assert not stages.is_trained(load_config(None, [*settings, "seed=1"]), dataset)


def test_a_runs_identity_is_that_of_what_was_asked(swept: Path, folder: Path) -> None:
    dataset = open_embedded(folder / "small.embedded.json").identity
    asked = load_config(None, ["training.epochs=2", "training.global_batch_size=16"])
    meant = run_identity(asked, dataset, "tiny", SWEPT)
    assert meant["training"]["precision"] == "auto"
    assert read_json(swept / "run.json")["run"] == fingerprint(meant)


def test_a_sweeps_trials_get_what_was_resolved_and_its_identity_is_that_of_what_was_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Config] = []
    original = redheart.sweep.run_sweep

    def spy(config: Config, *arguments: Any, **asked: Any) -> Any:
        seen.append(config)
        return original(config, *arguments, **asked)

    monkeypatch.setattr(redheart.sweep, "run_sweep", partial(spy, runner="tests.sweep.fake_trial:FakeRunner"))
    dataset = open_embedded(folder / "small.embedded.json")
    asked = load_config(None, ["sweep.stages=1", "sweep.points=3", "sweep.workers=1", "output=sweep"])
    stages.sweep(asked, dataset)
    assert (seen[0].model.preset, seen[0].training.precision) == ("tiny", "no")
    (made,) = (folder / "sweep" / "lr_sweep_results" / "sweeps").iterdir()
    assert made.name == f"{sweep_identity(asked, dataset.identity)}-1"
    assert read_json(folder / "sweep" / "lr_sweep_results" / "chosen_for.json")["preset"] == "tiny"


def test_several_processes_are_handed_the_rate_and_otherwise_what_was_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them settles the rest by its device, so that their run has the identity of what was asked."""
    monkeypatch.setattr(Supervisor, "run", lambda self: None)
    asked = load_config(None, ["training.epochs=2", "output=launched"])
    plan = plan_training(asked, gpus=2, gpu_bytes=24 * GIB)
    stages.train_by(plan, asked, force=False)
    handed = load_config(folder / "launched" / "launch.yaml")
    assert handed == load_config(None, ["training.epochs=2", "output=launched", "training.learning_rate=3e-4"])
