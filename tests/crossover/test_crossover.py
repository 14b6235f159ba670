"""The stage from checkpoints to a model to use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from redheart.checkpoint import load_modules, read_manifest
from redheart.checkpoint.restore import restore_model
from redheart.config import Config, CrossoverConfig, ReportConfig
from redheart.crossover import load_result, run_crossover
from redheart.crossover.crossover import write_combined
from redheart.crossover.result import save_result
from redheart.crossover.strategies import EpochFiles, crossover, uniform
from redheart.errors import RedHeartError, StorageError
from redheart.evaluation.evaluate import evaluate_model
from redheart.messages import set_language
from redheart.storage.seal import write_sealed
from redheart.tasks import MODULES
from tests.crossover.small_run import SmallRun, analysis_of, mixed, small_table, train
from tests.storage.full_disk import no_file_over

CONFIG = Config(crossover=CrossoverConfig(random_controls=1), report=ReportConfig(bootstrap_samples=200))


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    set_language("en")
    yield
    set_language("ko")


def test_the_whole_stage_on_a_real_run(run: SmallRun) -> None:
    choices = mixed(6)
    result = run_crossover(CONFIG, run.output, analysis_of(choices, epochs=6), run.table)
    names = [candidate.name for candidate in result.candidates]
    assert names == ["last", "best_epoch", "average", "soup", "crossover", "random_1"]
    assert load_result(run.output) == result

    losses = {c.name: c.scores["judge"].loss for c in result.candidates if not c.is_control}
    assert result.winner == result.delivered == min(losses, key=lambda name: losses[name] or 9e9)
    text = (run.output / "crossover" / "candidates.json").read_text()
    assert "NaN" not in text and "Infinity" not in text

    combined = torch.load(run.output / "crossover_final.pth", weights_only=True)
    assert combined["format"] == 1 and combined["choices"] == choices and combined["what"] == "crossover"
    for name, tensor in combined["state_dict"].items():
        module = next(module for module in MODULES if name.startswith(f"{module}."))
        assert torch.equal(tensor, run.states[choices[module]][name])

    best = restore_model(run.output / "best_model")
    scored = evaluate_model(best, run.table, "judge")
    winner = result[result.delivered].scores["judge"]
    assert scored.item_losses.mean() == pytest.approx(winner.loss)
    selection = read_manifest(run.output / "best_model").selection
    assert selection.candidate == result.winner and selection.decided_on == "judge"
    assert selection.judge.loss == winner.loss and selection.why


def test_skills_and_differences_agree_with_an_evaluation_by_hand(run: SmallRun) -> None:
    result = run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    model = restore_model(run.output / "checkpoints" / "epoch_0006")
    last = evaluate_model(model, run.table, "test")
    model.load_state_dict({name: sum(run.states[epoch][name] for epoch in range(2, 7)) / 5 for name in run.states[6]})
    other = evaluate_model(model, run.table, "test")
    score = result["average"].scores["test"]
    for task, skill in score.tasks.items():
        assert skill.skill == pytest.approx(other.tasks[task].skill, abs=1e-5)
        assert skill.low is not None and skill.high is not None and skill.low < skill.high
    assert score.difference is not None and score.count == len(run.table.split_indices["test"])
    assert score.difference.mean == pytest.approx((other.item_losses - last.item_losses).mean(), abs=1e-6)


def test_the_test_split_changes_nothing_that_is_delivered(run: SmallRun) -> None:
    whole = run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    before = (run.output / "best_model" / "manifest.json").read_text()
    indices = dict(run.table.split_indices)
    try:
        run.table.split_indices["test"] = run.table.split_indices["test"][:5]
        cut = run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    finally:
        run.table.split_indices.update(indices)
    assert cut.winner == whole.winner and cut.outcome == whole.outcome
    assert cut["last"].scores["test"] != whole["last"].scores["test"]
    assert (run.output / "best_model" / "manifest.json").read_text() == before


def test_a_dry_run_claims_no_winner_and_keeps_the_last_epoch(tmp_path: Path) -> None:
    run = train(tmp_path / "training", small_table(tmp_path, 120), epochs=2, dry_run=True)
    analysis = analysis_of(None, epochs=2, dry_run=True, weights_changed=False)
    result = run_crossover(CONFIG, run.output, analysis, run.table)
    assert result.outcome == "dry_run" and result.winner is None and [c.name for c in result.candidates] == ["last"]
    combined = torch.load(run.output / "crossover_final.pth", weights_only=True)
    assert combined["what"] == "last epoch, no crossover: dry_run" and set(combined["choices"].values()) == {2}
    selection = read_manifest(run.output / "best_model").selection
    assert selection.winner is None and "Dry run" in selection.why
    written = json.loads((run.output / "crossover" / "candidates.json").read_text())
    assert "did not change" in written["explanation"][0]


def test_with_one_epoch_all_candidates_are_reported_as_identical(tmp_path: Path) -> None:
    run = train(tmp_path / "training", small_table(tmp_path, 120), epochs=1)
    result = run_crossover(CONFIG, run.output, analysis_of(dict.fromkeys(MODULES, 1), epochs=1), run.table)
    assert result.outcome == "one_epoch" and result.winner is None
    assert {c.identical_to for c in result.candidates[1:]} == {"last"} and result["last"].identical_to is None
    assert all(score.difference is None for c in result.candidates for score in c.scores.values())


def test_the_start_is_a_baseline_that_can_be_delivered_and_is_no_epoch(tmp_path: Path) -> None:
    run = train(tmp_path / "training", small_table(tmp_path, 300), epochs=3, rate=0.3, start=True)
    result = run_crossover(CONFIG, run.output, analysis_of(mixed(3), epochs=3), run.table)
    assert [c.name for c in result.candidates][:3] == ["last", "start", "best_epoch"] and result.epochs == [1, 2, 3]
    others = [c for c in result.candidates if c.name != "start"]
    assert not any(0 in epochs for c in others for epochs in c.epochs.values()) and "0" not in result.choose_loss
    distinct = {c.identity for c in result.candidates if not c.is_control} - {result["last"].identity}
    assert result.comparisons == len(distinct) and result["start"].identity in distinct

    model = restore_model(run.output / "checkpoints" / "start")
    for split in ("judge", "test"):
        own = evaluate_model(model, run.table, split).item_losses
        score = result["start"].scores[split]
        assert score.loss == pytest.approx(own.mean()) and score.difference is not None and score.difference.mean < 0
    assert result.delivered == "start" and result.combined == "crossover", "such a rate only spoils it"
    delivered = load_modules(run.output / "best_model")
    assert all(torch.equal(tensor, run.states[0][name]) for name, tensor in delivered.items())
    explanation = json.loads((run.output / "crossover" / "candidates.json").read_text())["explanation"]
    assert explanation[0].startswith("Start, before training wins") and "What is delivered is the start" in " ".join(
        explanation
    )


def test_a_start_of_another_model_is_refused(tmp_path: Path, run: SmallRun) -> None:
    train(tmp_path / "other", small_table(tmp_path, 120), epochs=1, start=True)
    manifest = json.loads((tmp_path / "other" / "checkpoints" / "start" / "manifest.json").read_text())
    manifest["model"]["d_model"] *= 2
    write_sealed(tmp_path / "other" / "checkpoints" / "start" / "manifest.json", manifest)
    (tmp_path / "other" / "checkpoints" / "start").rename(run.output / "checkpoints" / "start")
    with pytest.raises(RedHeartError, match="checkpoints/start"):
        run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)


def test_a_missing_epoch_stops_the_stage_and_leaves_what_was_there(run: SmallRun) -> None:
    run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    before = (run.output / "crossover_final.pth").read_bytes()
    (run.output / "checkpoints" / "epoch_0003" / "phases.safetensors").unlink()
    choices = dict.fromkeys(MODULES, 3)
    with pytest.raises(StorageError, match="epoch 3"):
        run_crossover(CONFIG, run.output, analysis_of(choices, epochs=6), run.table)
    assert (run.output / "crossover_final.pth").read_bytes() == before


def test_a_disk_that_fills_up_leaves_the_earlier_crossover(run: SmallRun) -> None:
    path = run.output / "crossover_final.pth"
    files, recipe = EpochFiles(run.output), crossover("crossover", mixed(6))
    write_combined(path, files, recipe, {}, "clear")
    before, names = path.read_bytes(), {found.name for found in run.output.iterdir()}
    for limit in (1_000, 100_000):  # PyTorch's writer says so in two ways, depending on where it happens
        assert len(before) > limit
        with no_file_over(limit), pytest.raises(StorageError, match=r"crossover_final\.pth.*intact"):
            write_combined(path, files, uniform("last", [2]), {}, "clear")
        assert path.read_bytes() == before
        assert {found.name for found in run.output.iterdir()} == names, "a part of a file was left behind"


def test_a_disk_that_fills_up_at_the_last_file_leaves_the_earlier_result(run: SmallRun) -> None:
    earlier = run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    with no_file_over(10_000), pytest.raises(StorageError):
        save_result(run.output, earlier, ["x" * 20_000])
    assert load_result(run.output) == earlier


def test_a_path_that_can_not_be_written_is_named(run: SmallRun) -> None:
    (run.output / "crossover_final.pth").mkdir()
    with pytest.raises(StorageError, match=r"crossover_final\.pth"):
        run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    assert not (run.output / "crossover" / "candidates.json").exists()


def test_epochs_of_another_model_are_refused(run: SmallRun) -> None:
    path = run.output / "checkpoints" / "epoch_0002"
    state = load_modules(path)
    state["phases.extra"] = torch.zeros(2)
    from redheart.checkpoint import save_epoch

    save_epoch(run.output, epoch=2, state=state, manifest=read_manifest(path).without_files())
    with pytest.raises(StorageError, match="different models"):
        run_crossover(CONFIG, run.output, analysis_of(dict.fromkeys(MODULES, 2), epochs=6), run.table)


def test_importing_the_package_loads_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, redheart.crossover, redheart.report; sys.exit(bool({'torch', 'numpy', 'jinja2', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
