"""``--print-config`` prints what a command would run with, says where it comes from, and does nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from redheart.cli.main import main
from redheart.cli.parser import build_parser
from redheart.config import Config, load_config
from redheart.messages import set_language

#: What has to be typed besides.
NEEDED = {"workflow": ["unified-train"], "export": ["--to", "there"], "predict": ["a text"], "checkpoints": ["rm"]}
COMMANDS = [
    *(name for name in build_parser().commands() if name not in ("runs", "params", "help", "version", "completion")),
    "doctor liveness",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDHEART_LANG", "en")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    yield tmp_path
    set_language("ko")


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*words: str) -> str:
        assert main([*words, "--print-config"]) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        return shown.out

    return run


def _read(text: str, folder: Path) -> Config:
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def _commented(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if "#" in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_takes_settings_prints_them_and_leaves_nothing_behind(
    printed: Callable[..., str], folder: Path, command: str
) -> None:
    words = [*command.split(), *NEEDED.get(command, [])]
    text = printed(*words, "training.weight_decay=0.2")
    assert _read(text, folder).training.weight_decay == 0.2
    assert "  weight_decay: 0.2  # given as training.weight_decay=0.2" in text.splitlines()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_printed_is_a_file_of_the_same_settings(
    printed: Callable[..., str], folder: Path, command: str, language: str
) -> None:
    words = [*command.split(), *NEEDED.get(command, []), "--lang", language]
    once = _read(printed(*words, "--preset", "small", "data.path=한 #1/데이터.json"), folder)
    again = _read(printed(*words, "--config", str(folder.parent / f"{folder.name}.yaml")), folder)
    assert again == once
    assert (once.model.preset, once.data.path) == ("small", "한 #1/데이터.json")


def test_each_value_that_is_not_the_default_says_where_it_comes_from(printed: Callable[..., str], folder: Path) -> None:
    (folder / "run.yaml").write_text("seed: 3\ntraining:\n  epochs: 7\n  strict: true\n  max_grad_norm: 1.0\n")
    words = ("--config", "run.yaml", "--epochs", "9", "training.weight_decay=0.2", "training.learning_rate=1e-4")
    assert _commented(printed("train", *words, "--no-param-update", "--output", "out")) == [
        "output: out  # option --output",
        "seed: 3  # from run.yaml",
        "preset: tiny  # auto: there is no CUDA device",
        "epochs: 9  # option --epochs",
        "learning_rate: 0.0001  # given as training.learning_rate=1e-4",
        "weight_decay: 0.2  # given as training.weight_decay=0.2",
        "precision: no  # auto: there is no CUDA device",
        "no_param_update: true  # option --no-param-update",
        "strict: true  # from run.yaml",
    ]


def test_the_learning_rate_is_the_one_that_the_command_would_take(printed: Callable[..., str], folder: Path) -> None:
    def rate(*words: str) -> str:
        (line,) = [line.strip() for line in printed(*words).splitlines() if line.startswith("  learning_rate:")]
        return line

    path = folder / "training" / "lr_sweep_results" / "optimal_lr.json"
    absent = "learning_rate: 0.0003  # the default: there is no training/lr_sweep_results/optimal_lr.json"
    assert rate("train") == rate("ablate") == rate("workflow", "unified-test") == absent
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"optimal_lr": "5.6e-05"}))
    chosen = "learning_rate: 5.6e-05  # the sweep's choice: training/lr_sweep_results/optimal_lr.json"
    assert rate("train") == rate("ablate") == rate("workflow", "unified-test") == chosen
    assert rate("train", "--lr", "1e-3") == "learning_rate: 0.001  # option --lr"
    assert rate("doctor", "liveness") == "learning_rate: 0.0003  # the default"
    assert rate("sweep") == rate("predict", "text") == rate("doctor") == "learning_rate: null"
    found_first = "learning_rate: null  # found by the sweep that runs first"
    assert rate("workflow", "unified-test", "--lr-sweep") == found_first
    assert rate("workflow", "unified-test", "--lr-sweep", "--lr", "1e-3") == "learning_rate: 0.001  # option --lr"


def test_a_command_that_takes_whatever_model_is_there_leaves_the_preset_open(printed: Callable[..., str]) -> None:
    for words in (["predict", "a text"], ["evaluate"], ["crossover"], ["doctor"]):
        assert "  preset: auto" in printed(*words).splitlines()
    assert "  preset: tiny  # auto: the ablation trains the smallest preset" in printed("ablate").splitlines()


def test_the_options_of_the_ablation_are_its_own_settings(printed: Callable[..., str]) -> None:
    shown = _commented(printed("ablate", "--epochs", "4", "--workers", "3", "--seeds", "2", "--preset", "small"))
    assert [line for line in shown if "option" in line] == [
        "preset: small  # option --preset",
        "seeds: 2  # option --seeds",
        "epochs: 4  # option --epochs",
        "workers: 3  # option --workers",
    ]


def test_the_most_epochs_of_a_workflow_are_its_epochs(printed: Callable[..., str]) -> None:
    assert "epochs: 3  # option --samples 3" in _commented(printed("workflow", "unified-test", "--samples", "3"))
    few = printed("workflow", "unified-test", "--samples", "3", "--epochs", "2")
    assert "epochs: 2  # option --epochs" in _commented(few)


def test_wrong_settings_are_refused_as_without_it(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert main(["train", "training.epoch=3", "--print-config"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "did you mean 'training.epochs'?" in shown.err
    assert list(folder.iterdir()) == []


def test_of_several_processes_one_prints(monkeypatch: pytest.MonkeyPatch, printed: Callable[..., str]) -> None:
    place = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    assert printed("train") == ""
