"""What an older revision left on disk is read, gone on with and recognised by this one; made by ``make.py``.

Everything goes through the command line and files, so that these tests stay as they are however the package is cut. Where
one of them goes red, a form on disk or an identity has changed: give the reader the older form, or have it refuse that
by name with what to do, and say here which. Fixtures of a later revision are made beside the older ones, not in their place.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from redheart.cli.main import main
from redheart.messages import set_language
from redheart.model import UnifiedModel
from tests.old_runs import make
from tests.old_runs.miniature import shrink

HERE = Path(__file__).parent
REVISIONS = sorted(path.parent.name for path in HERE.glob(f"*/{make.ARCHIVE}"))
#: Numbers of one program on two kinds of CPU differ by less; those of another training by more.
CLOSE = 1e-4
Command = Callable[..., str]


@pytest.fixture(autouse=True)
def miniature(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The preset that the old runs were made with, and one thread, with which they are."""
    shrink(monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    set_language("ko")


@pytest.fixture(params=REVISIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old runs, as the current folder, for a test to write into."""
    runs = make.unpack(HERE / request.param, tmp_path / "runs")
    monkeypatch.chdir(runs)
    return runs


@pytest.fixture
def redheart(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line with the old runs' settings; gives what was said, and has it say so in English."""

    def run(*arguments: str, expected: int = 0, printed: bool = False) -> str:
        capsys.readouterr()
        code = main([*arguments, "--config", "settings.yaml", "--lang", "en"])
        found = capsys.readouterr()
        assert code == expected, found.err
        return found.out if printed else found.err

    return run


@pytest.fixture
def no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that is not recognised fails when it starts its first worker, and not minutes later."""
    start = subprocess.Popen

    def refuse(command: Any, *arguments: Any, **options: Any) -> Any:
        assert "redheart" not in str(command), f"{command} was started: the old sweep was not recognised"
        return start(command, *arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", refuse)


def contents(*places: Path) -> dict[str, str]:
    """The hash of every file, but for locks, logs and what trackers write."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for place in places
        for path in (sorted(place.rglob("*")) if place.is_dir() else [place])
        if path.is_file() and not path.name.endswith(("lock", ".log")) and "tensorboard" not in path.parts
    }


#: Words of sentences for people that are others by now.
RENAMED = ((" rivals", " contenders"), (" rival", " baseline"))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def assert_alike(found: Any, wanted: Any, where: str = "") -> None:
    """Equal, but for the last digits of numbers; with the place where they are not."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict) and found.keys() == wanted.keys(), where
        for key in wanted:
            assert_alike(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list):
        assert isinstance(found, list) and len(found) == len(wanted), where
        for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_alike(one, other, f"{where}[{place}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=CLOSE, abs=CLOSE), where
    elif isinstance(wanted, str):
        for old, new in RENAMED:
            wanted = wanted.replace(old, new)
        assert found == wanted, where
    else:
        assert found == wanted, where


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder of safetensors files."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(checkpoint.glob("*.safetensors")):
        found |= load_file(str(path))
    assert found
    return found


def test_a_finished_run_is_recognised_and_not_trained_again(folder: Path, redheart: Command) -> None:
    """Its identity is what it was; the learning rate, which is part of it, is read from the old sweep's choice."""
    before = contents(folder / "training")
    said = redheart("train")
    assert "Learning rate: 0.0032 (" in said and "optimal_lr.json" in said
    assert "Already trained with these settings and data (3 epochs)" in said
    assert "another dataset" not in said
    assert contents(folder / "training") == before


def test_what_makes_another_run_another_is_told_of_an_old_one(folder: Path, redheart: Command) -> None:
    """Nothing but what was changed: a setting that came later does not make all old runs others."""
    checkpoints = contents(folder / "training" / "checkpoints")
    said = redheart("train", "--epochs", "1")
    assert "training.epochs: 3 → 1" in said
    moved = [line for line in said.splitlines() if "training.epochs: 3 → 1" in line]
    assert len(moved) == 1 and moved[0].count("→") == 1, moved
    (previous,) = (folder / "training" / "previous").iterdir()
    assert list(contents(previous / "checkpoints").values()) == list(checkpoints.values())


def test_a_finished_sweep_is_complete_and_its_choice_stays(folder: Path, redheart: Command, no_trials: None) -> None:
    results = folder / "training" / "lr_sweep_results"
    before = contents(results)
    assert "is complete (6 trials): skipped" in redheart("sweep")
    assert contents(results) == before
    assert read(results / "optimal_lr.json")["optimal_lr"] == "0.0032"


def test_the_choice_is_made_again_from_the_old_trials_alone(folder: Path, redheart: Command, no_trials: None) -> None:
    """Nothing but trials and plans is left of the sweep, and what follows from them is as it was."""
    results = folder / "training" / "lr_sweep_results"
    wanted = {name: read(results / f"{name}.json") for name in ("optimal_lr", "lr_sweep_cumulative")}
    for name in wanted:
        (results / f"{name}.json").unlink()
    assert "is complete (6 trials): skipped" in redheart("sweep")
    for name, content in wanted.items():
        assert_alike(read(results / f"{name}.json"), content, name)


def test_an_old_cumulative_file_gives_a_lost_trial_back(folder: Path, redheart: Command, no_trials: None) -> None:
    lost = max((folder / "training" / "lr_sweep_results" / "trials").glob("*.json"))
    wanted = read(lost)
    lost.unlink()
    assert "is complete (6 trials): skipped" in redheart("sweep")
    assert read(lost) == wanted


def test_analysis_and_crossover_are_recognised_as_done(folder: Path, redheart: Command) -> None:
    before = contents(folder / "training")
    for command in ("analyze", "crossover"):
        assert "done before with the same inputs, skipped" in redheart(command)
    assert contents(folder / "training") == before


def test_an_old_run_is_analysed_to_the_same_epochs(folder: Path, redheart: Command) -> None:
    path = folder / "training" / "sweet_spot_analysis" / "sweet_spot_analysis.json"
    wanted = read(path)
    path.unlink()
    redheart("analyze")
    found = read(path)
    assert found["choices"].keys() == wanted["choices"].keys() and len(wanted["choices"]) == 17
    assert {name: one["epoch"] for name, one in found["choices"].items()} == {
        name: one["epoch"] for name, one in wanted["choices"].items()
    }


def test_an_old_runs_epochs_are_combined_and_compared_as_they_were(folder: Path, redheart: Command) -> None:
    """The analysis of then decides; each module comes from the epoch that it says, bit by bit."""
    path = folder / "training" / "crossover" / "candidates.json"
    wanted = read(path)
    old = torch.load(folder / "training" / "crossover_final.pth", weights_only=True)
    redheart("crossover", "--force")
    assert_alike(read(path), wanted)
    new = torch.load(folder / "training" / "crossover_final.pth", weights_only=True)
    assert new["choices"] == old["choices"] and new["state_dict"].keys() == old["state_dict"].keys()
    assert all(torch.equal(new["state_dict"][name], tensor) for name, tensor in old["state_dict"].items())


def test_the_report_tells_the_same_facts_of_an_old_run(folder: Path, redheart: Command) -> None:
    path = folder / "training" / "report" / "report.json"
    wanted = read(path)
    redheart("report")
    assert (folder / "training" / "report" / "report.html").stat().st_size > 100_000
    found = read(path)
    for facts in (found, wanted):
        # Now, on this machine, of what make.py keeps.
        assert facts.pop("written") and facts.pop("machine") and facts.pop("files")
    assert_alike(found, wanted)


@pytest.mark.parametrize("checkpoint", ["training/best_model", "exported"])
def test_the_delivered_model_has_the_scores_that_it_had(folder: Path, redheart: Command, checkpoint: str) -> None:
    found = json.loads(redheart("evaluate", "--checkpoint", checkpoint, "--json", printed=True))
    assert_alike(found["tasks"], read(folder / "wanted.json")["evaluation"])


@pytest.mark.parametrize("checkpoint", ["checkpoints/start", "checkpoints/epoch_0003", "crossover_final.pth"])
def test_every_kind_of_checkpoint_is_evaluated(folder: Path, redheart: Command, checkpoint: str) -> None:
    said = redheart("evaluate", "--checkpoint", f"training/{checkpoint}", "--split", "choose", "--json", printed=True)
    found = json.loads(said)
    if checkpoint.endswith("epoch_0003"):
        assert found["loss"] == pytest.approx(make.losses(folder / "training")[-1]["choose"], rel=CLOSE)
    assert found["count"] == 6


def test_an_old_model_says_of_a_text_what_it_said(folder: Path, redheart: Command) -> None:
    found = json.loads(redheart("predict", make.TEXT, "--json", printed=True))
    assert_alike(found, read(folder / "wanted.json")["prediction"])


def test_an_old_export_is_loaded_and_holds_the_delivered_model(folder: Path) -> None:
    model = UnifiedModel.from_pretrained("exported")
    delivered = weights(folder / "training" / "best_model")
    state = model.state_dict()
    assert state.keys() == delivered.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in delivered.items())


def test_an_old_model_is_exported_as_it_was_with_its_old_evaluation(folder: Path, redheart: Command) -> None:
    redheart("export", "--to", "again")
    found, wanted = (read(folder / name / "config.json") for name in ("again", "exported"))
    for config in (found, wanted):
        config["export"].pop("version")
    assert found == wanted
    assert weights(folder / "again").keys() == weights(folder / "exported").keys()
    card = (folder / "again" / "README.md").read_text(encoding="utf-8")
    skill = read(folder / "wanted.json")["evaluation"]["emotion"]["skill"]
    assert f"value: {skill}" in card


@pytest.mark.parametrize("output", ["interrupted", "interrupted_zero2"])
def test_an_old_resume_state_is_made_one_whole_model(folder: Path, redheart: Command, output: str) -> None:
    redheart("consolidate", "--output", output)
    found, epoch = (weights(folder / output / name) for name in ("consolidated", "checkpoints/epoch_0001"))
    assert found.keys() == epoch.keys()
    furthest = max(float((found[name] - tensor).abs().max()) for name, tensor in epoch.items())
    assert 0 < furthest < 0.01  # a step or two further, at a learning rate of 0.0032


def test_an_interrupted_run_goes_on_to_the_losses_of_one_that_never_stopped(folder: Path, redheart: Command) -> None:
    said = redheart("train", "--lr", "0.0032", "--output", "interrupted")
    assert "Resuming at epoch 2, batch 1 (" in said and "Epoch 1/3" not in said
    assert_alike(make.losses(folder / "interrupted"), make.losses(folder / "training"))
    assert "Already trained" in redheart("train", "--lr", "0.0032", "--output", "interrupted")


def test_a_sharded_state_is_not_gone_on_with_by_one_process_and_says_what_to_do(redheart: Command) -> None:
    said = redheart("train", "--lr", "0.0032", "--output", "interrupted_zero2", expected=2)
    assert "this run was stopped, by an earlier version, under zero2 with 2 processes" in said
    assert "what that version saved can't go on under plain with 1" in said
    assert "start it as before (its next state fits every engine), or anew with --force" in said


@pytest.mark.slow
def test_a_sharded_state_is_gone_on_with_by_two_processes(folder: Path) -> None:
    for name in ("launch", "ds_configs"):
        shutil.copytree(make.PROJECT / name, folder / name)
    make.Maker(make.PROJECT, folder).run_two("train", "--lr", "0.0032", "--output", "interrupted_zero2")
    assert "Resuming at epoch 2, batch 1 (" in (folder / "interrupted_zero2" / "redheart.log").read_text(
        encoding="utf-8"
    )
    assert_alike(make.losses(folder / "interrupted_zero2"), read(folder / "wanted.json")["zero2"])


@pytest.mark.slow
@pytest.mark.skipif(
    "REDHEART_FAULTS" not in os.environ, reason="a minute, for make faults; what it left once is gone on with above"
)
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_state_that_the_old_code_leaves_on_this_machine_ends_with_the_old_codes_bits(
    revision: str, tmp_path: Path
) -> None:
    """Made here and now, because the last bits are a machine's own."""
    if not make.has_revision(revision):
        pytest.skip(f"the history does not reach back to {revision}: a shallow clone, or no git here")
    old = make.Maker(make.take_out(revision, tmp_path / "tree"), tmp_path / "made")
    old.prepare()
    old.check_code()
    old.run("train", "--lr", "0.003", "--output", "whole")
    make.interrupt(old, "0.003")
    new = make.Maker(make.PROJECT, old.folder)
    new.check_code()
    new.run("train", "--lr", "0.003", "--output", "interrupted")
    for epoch in ("epoch_0001", "epoch_0002", "epoch_0003"):
        found, wanted = (weights(old.folder / output / "checkpoints" / epoch) for output in ("interrupted", "whole"))
        assert found.keys() == wanted.keys()
        assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    assert make.losses(old.folder / "interrupted") == make.losses(old.folder / "whole")
