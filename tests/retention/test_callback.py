"""Retention within a training: thinned when it is due, by the main process alone, and what is named afterwards is there."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from redheart.checkpoint import list_epochs
from redheart.checkpoint.thinning import thin
from redheart.config import Config, load_config
from redheart.config.schema import SweetSpotConfig
from redheart.crossover import crossover as crossover_module
from redheart.crossover import run_crossover
from redheart.errors import StorageError
from redheart.messages import set_up_logging
from redheart.retention import callback as callback_module
from redheart.retention.callback import Retention
from redheart.sweet_spot import analyze
from redheart.tasks import MODULES
from redheart.training.callbacks.run import EpochEnd, Run
from tests.crossover.small_run import SmallRun, small_table, train

EPOCHS = 12


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("small_run")
    return train(folder / "training", small_table(folder), epochs=EPOCHS)


@pytest.fixture
def run(trained: SmallRun, tmp_path: Path) -> SmallRun:
    """A copy that a test may write to."""
    shutil.copytree(trained.output, tmp_path / "training")
    return SmallRun(tmp_path / "training", trained.table, trained.states)


def _config(*settings: str) -> Config:
    return load_config(None, ["crossover.average_last=2", "training.keep_last=2", "training.keep_best=1", *settings])


def _after(retention: Retention, epoch: int, *, is_main: bool = True) -> None:
    engine = SimpleNamespace(is_main=is_main)
    retention.after_epoch(cast(Run, SimpleNamespace(engine=engine)), cast(EpochEnd, SimpleNamespace(epoch=epoch)))


def _modules(output: Path) -> dict[int, tuple[str, ...]]:
    return {one.epoch: one.manifest.modules for one in list_epochs(output, verify=True)}


@pytest.mark.parametrize(
    "keep, is_short, is_main, thins",
    [("auto", False, True, False), ("auto", True, True, True), ("auto", True, False, False),
     ("all", True, True, False), ("thinned", False, True, True)],
)  # fmt: skip
def test_thinning_is_due_where_it_is_asked_for_or_room_is_short(
    run: SmallRun, keep: str, is_short: bool, is_main: bool, thins: bool
) -> None:
    asked = []

    def short(epoch: int) -> bool:
        asked.append(epoch)
        return is_short

    _after(Retention(run.output, _config(f"training.keep_epochs={keep}"), short), EPOCHS, is_main=is_main)
    there = _modules(run.output)
    assert [*there] == [*range(1, EPOCHS + 1)], "each epoch is still an epoch that was trained"
    assert (sum(map(len, there.values())) < EPOCHS * len(MODULES)) == thins
    assert asked == ([EPOCHS] if keep == "auto" and is_main else [])


def test_analysis_crossover_and_controls_choose_among_what_is_kept_and_say_so(
    run: SmallRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = _config("training.keep_epochs=thinned", "report.bootstrap_samples=100", "crossover.random_controls=4")
    free = analyze(run.output / "metrics.jsonl", run.output, SweetSpotConfig(), plots=False)
    assert free.choices is not None
    wanted = {module: choice.epoch for module, choice in free.choices.items()}
    retention = Retention(run.output, config, lambda epoch: False)
    for epoch in range(1, EPOCHS + 1):
        _after(retention, epoch)
    lost = next(module for module, epoch in wanted.items() if epoch < EPOCHS - 1)  # one that no rule would give up
    chosen = list_epochs(run.output)[wanted[lost] - 1]
    thin(run.output, chosen, set(chosen.manifest.modules) - {lost})
    there = _modules(run.output)
    thinned = analyze(run.output / "metrics.jsonl", run.output, SweetSpotConfig(), plots=False)
    assert thinned.choices is not None and thinned.epochs == free.epochs and thinned.inputs != free.inputs
    for module, choice in thinned.choices.items():
        assert module in there[choice.epoch]
        kept = module in there[wanted[module]]
        assert (choice.epoch, choice.not_kept) == (wanted[module], None) if kept else choice.not_kept == wanted[module]
        assert choice.techniques == {**free.choices[module].techniques, "voting": choice.techniques["voting"]}
    gone = [module for module, choice in thinned.choices.items() if choice.not_kept is not None]
    assert gone, "nothing was missed: this run shows nothing"
    report = (run.output / "sweet_spot_analysis" / "sweet_spot_report.md").read_text()
    assert report.count(str(thinned.choices[gone[0]].because)) >= 1
    result = run_crossover(config, run.output, thinned, run.table, device="cpu")
    for candidate in result.candidates:
        for module, epochs in candidate.epochs.items():
            assert all(module in there[epoch] for epoch in epochs), candidate.name
    assert set(result.epochs) == {epoch for epoch, modules in there.items() if len(modules) == len(MODULES)}
    best = min(free_losses := _recorded(run), key=lambda epoch: (free_losses[epoch], epoch))
    assert result["best_epoch"].epochs["backbone"] == [best], "the best whole epoch is never given up"


@pytest.mark.parametrize(
    "wanted, said",
    [([EPOCHS - 1, EPOCHS], ["fewer_whole"]), ([EPOCHS - 1], ["last_thinned", "fewer_whole"])],
)
def test_a_crossover_that_averages_more_than_the_training_kept_takes_the_last_whole_ones_alone_and_says_so(
    run: SmallRun, monkeypatch: pytest.MonkeyPatch, wanted: list[int], said: list[str]
) -> None:
    settings = ("report.bootstrap_samples=100", "crossover.random_controls=0", "crossover.average_last=6")
    _after(Retention(run.output, _config("training.keep_epochs=thinned"), lambda epoch: False), EPOCHS)
    checkpoints = list_epochs(run.output)
    assert min(one.epoch for one in checkpoints if one.is_whole) < EPOCHS - 1, (
        "only the last are whole: this shows nothing"
    )
    if EPOCHS not in wanted:
        thin(run.output, checkpoints[-1], ["phases"])
    analysis = analyze(run.output / "metrics.jsonl", run.output, SweetSpotConfig(), plots=False)
    warned: list[str] = []
    monkeypatch.setattr(crossover_module, "warn", lambda key, **values: warned.append(key.removeprefix("crossover.")))
    result = run_crossover(load_config(None, settings), run.output, analysis, run.table, device="cpu")
    assert result["average"].epochs["backbone"] == wanted
    assert [key for key in warned if key in ("fewer_whole", "last_thinned")] == said


def _recorded(run: SmallRun) -> dict[int, float]:
    from redheart.crossover.crossover import recorded_choose_loss

    return recorded_choose_loss(run.output / "metrics.jsonl", list(range(1, EPOCHS + 1)))


def test_epochs_of_before_a_state_that_the_run_went_back_to_are_left_alone(run: SmallRun) -> None:
    _after(Retention(run.output, _config("training.keep_epochs=thinned"), lambda epoch: False), 6)
    there = _modules(run.output)
    assert all(len(there[epoch]) == len(MODULES) for epoch in range(5, EPOCHS + 1))
    assert any(len(there[epoch]) < len(MODULES) for epoch in range(1, 5))


@pytest.mark.parametrize("keep", ["auto", "all", "thinned"])
def test_after_each_epoch_the_main_process_looks_whether_there_is_room_for_the_next(run: SmallRun, keep: str) -> None:
    looked: list[int] = []
    retention = Retention(run.output, _config(f"training.keep_epochs={keep}"), lambda epoch: False, looked.append)
    _after(retention, EPOCHS)
    _after(retention, EPOCHS, is_main=False)
    assert looked == [EPOCHS]


def test_what_can_not_be_thinned_stays_and_the_run_goes_on(
    run: SmallRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*arguments: Any) -> None:
        raise StorageError("epoch_0001: not thinned: it is read-only; it is as it was")

    monkeypatch.setattr(callback_module, "thin", fail)
    set_up_logging(file=tmp_path / "said.log")
    try:
        _after(Retention(run.output, _config("training.keep_epochs=thinned"), lambda epoch: False), EPOCHS)
    finally:
        set_up_logging(quiet=True)
    assert "not thinned: it is read-only" in (tmp_path / "said.log").read_text()
    assert all(len(modules) == len(MODULES) for modules in _modules(run.output).values())
