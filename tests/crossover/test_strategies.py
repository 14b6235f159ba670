"""A crossover is a choice of files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from redheart.checkpoint import list_epochs, save_epoch
from redheart.checkpoint.restore import build_from_manifest
from redheart.checkpoint.tensor_file import form_of
from redheart.checkpoint.thinning import thin
from redheart.config.schema import SweetSpotConfig
from redheart.crossover.controls import greedy_soup, last_average, random_crossovers
from redheart.crossover.evaluation import Scorer, whole_state
from redheart.crossover.strategies import EpochFiles, Recipe, crossover, uniform
from redheart.errors import NotYetDone, StorageError
from redheart.evaluation.evaluate import evaluate_model
from redheart.model.losses import served_loss
from redheart.sweet_spot import analysis as analysis_module
from redheart.sweet_spot import analyze
from redheart.tasks import MODULES
from tests.crossover.small_run import SmallRun, mixed


def module_of(name: str) -> str:
    return next(module for module in MODULES if name.startswith(f"{module}."))


def test_every_tensor_of_a_crossover_is_bit_equal_to_its_chosen_epochs(trained: SmallRun) -> None:
    choices = mixed(6)
    state = whole_state(EpochFiles(trained.output), crossover("crossover", choices))
    assert set(state) == set(trained.states[1])
    for name, tensor in state.items():
        assert torch.equal(tensor, trained.states[choices[module_of(name)]][name])


def test_the_uniform_average_is_the_exact_mean_rounded_once(trained: SmallRun) -> None:
    state = whole_state(EpochFiles(trained.output), last_average([1, 2, 3, 4, 5, 6], 3))
    for name, tensor in state.items():
        exact = sum(trained.states[epoch][name].double() for epoch in (4, 5, 6)) / 3
        assert tensor.dtype == trained.states[6][name].dtype
        assert torch.equal(tensor, exact.to(tensor.dtype))


def test_an_average_over_epochs_of_two_types_has_the_wider(trained: SmallRun, tmp_path: Path) -> None:
    """As where ``training.checkpoint_dtype`` changed in the midst of a run."""
    output = tmp_path / "mixed"
    for epoch, dtype in ((1, torch.bfloat16), (2, torch.float32)):
        state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in trained.states[epoch].items()}
        save_epoch(
            output, epoch=epoch, state=state, manifest=EpochFiles(trained.output).manifest(epoch).without_files()
        )
    files = EpochFiles(output)
    recipe = uniform("average", [1, 2])
    state = whole_state(files, recipe)
    assert {name: form_of(tensor) for name, tensor in state.items()} == files.forms(recipe)
    name = next(name for name, tensor in state.items() if tensor.dtype == torch.float32)
    exact = (trained.states[1][name].to(torch.bfloat16).double() + trained.states[2][name].double()) / 2
    assert torch.equal(state[name], exact.float())


def test_an_average_of_more_epochs_than_there_are_takes_those_there_are() -> None:
    assert last_average([2, 1], 5).epochs["phases"] == (1, 2)


def test_an_average_of_the_last_epochs_holds_no_earlier_one_that_was_kept_as_one_of_the_best() -> None:
    """Epoch 2 is whole as one of the best, 3 and 4 were thinned since: with 5 and 6 it would be no average of the last."""
    assert last_average([2, 5, 6], 4, thinned=[1, 3, 4]).epochs["phases"] == (5, 6)
    assert last_average([2, 5, 6], 1, thinned=[1, 3, 4]).epochs["phases"] == (6,)
    assert last_average([1, 2], 4, thinned=[3]).epochs["phases"] == (1, 2), (
        "the last whole ones, where later ones are thinned"
    )


def test_weights_come_one_tensor_at_a_time(trained: SmallRun) -> None:
    files, recipe = EpochFiles(trained.output), uniform("average", [1, 2])
    names = [name for name, _ in files.tensors(recipe)]
    assert [module_of(name) for name in names] == sorted(map(module_of, names), key=MODULES.index)
    assert list(files.forms(recipe)) == names and set(names) == set(trained.states[1])


def test_recipes_with_equal_weights_have_one_identity(run: SmallRun) -> None:
    files = EpochFiles(run.output)
    assert files.identity(uniform("best_epoch", [3])) == files.identity(
        crossover("crossover", dict.fromkeys(MODULES, 3))
    )
    assert files.identity(uniform("a", [3])) != files.identity(uniform("b", [4]))
    assert files.identity(uniform("a", [3])) != files.identity(uniform("b", [3, 4]))


def test_a_missing_checkpoint_is_named_with_epoch_module_and_remedy(run: SmallRun) -> None:
    shutil.rmtree(run.output / "checkpoints" / "epoch_0003")
    choices = dict.fromkeys(MODULES, 6) | {"heads.surd": 3}
    with pytest.raises(StorageError) as caught:
        whole_state(EpochFiles(run.output), crossover("crossover", choices))
    message = str(caught.value)
    assert "epoch 3" in message and "heads.surd" in message and "epoch_0003" in message
    assert "1, 2, 4, 5, 6" in message and "redheart" in message


def test_going_on_without_an_epoch_is_possible_as_the_message_says(run: SmallRun) -> None:
    """``redheart analyze --force`` chooses among the other epochs, and the crossover of these can be made."""
    (run.output / "checkpoints" / "epoch_0003" / "phases.safetensors").unlink()
    analysis = analyze(run.output / "metrics.jsonl", run.output, SweetSpotConfig(), plots=False)
    assert analysis.epochs == (1, 2, 4, 5, 6) and analysis.choices is not None
    chosen = {module: choice.epoch for module, choice in analysis.choices.items()}
    assert 3 not in chosen.values()
    assert whole_state(EpochFiles(run.output), crossover("crossover", chosen))


def test_an_analysis_warns_of_epochs_without_a_checkpoint_and_of_those_without_a_record(
    run: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(analysis_module, "warn", lambda key, **values: said.update({key: values}))
    shutil.rmtree(run.output / "checkpoints" / "epoch_0002")
    log = run.output / "metrics.jsonl"
    log.write_bytes(log.read_bytes()[:-10])
    assert analyze(log, run.output, SweetSpotConfig(), plots=False).epochs == (1, 3, 4, 5)
    assert said["sweet_spot.no_checkpoint"]["epochs"] == "2" and said["sweet_spot.no_record"]["epochs"] == "6"
    shutil.rmtree(run.output / "checkpoints")
    said.clear()
    assert analyze(log, run.output, SweetSpotConfig(), plots=False).epochs == (1, 2, 3, 4, 5), "records alone will do"
    assert said == {}


def test_a_module_file_that_was_changed_on_disk_is_refused(run: SmallRun) -> None:
    path = run.output / "checkpoints" / "epoch_0002" / "phases.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    files = EpochFiles(run.output)
    with pytest.raises(StorageError, match=r"phases.*epoch 2.*damaged"):
        whole_state(files, uniform("last", [2]))
    assert whole_state(files, uniform("last", [3]))


def test_a_run_without_checkpoints_says_so(tmp_path: object) -> None:
    with pytest.raises(NotYetDone, match="redheart train"):
        EpochFiles(tmp_path)  # type: ignore[arg-type]


def test_a_recipe_names_every_module() -> None:
    with pytest.raises(ValueError, match="17 modules"):
        Recipe("crossover", {"backbone": (1,)})


def test_the_soup_is_never_worse_on_choose_than_its_first_ingredient(trained: SmallRun) -> None:
    files = EpochFiles(trained.output)
    scorer = Scorer(files, trained.table, samples=100, confidence=0.95, seed=0)
    recorded = {epoch: scorer.choose_loss(uniform("one", [epoch])) for epoch in files.epochs}
    soup, trail = greedy_soup(recorded, 5, scorer.choose_loss)
    assert [step.epoch for step in trail] == sorted(recorded, key=lambda epoch: recorded[epoch])[:5]
    assert soup.epochs["backbone"] == tuple(sorted(step.epoch for step in trail if step.kept))
    assert scorer.choose_loss(soup) <= trail[0].loss == min(recorded.values())
    kept = [step.loss for step in trail if step.kept]
    assert kept == sorted(kept, reverse=True)
    assert any(not step.kept for step in trail), "all were kept: this run shows nothing"


def test_an_ingredient_that_only_equals_the_soup_stays_out() -> None:
    soup, _ = greedy_soup({1: 0.5, 2: 0.6}, 5, lambda recipe: 0.5)
    assert soup.epochs["backbone"] == (1,)


def test_a_loaded_recipe_scores_as_the_model_of_that_epoch_does(trained: SmallRun) -> None:
    files = EpochFiles(trained.output)
    scorer = Scorer(files, trained.table, samples=100, confidence=0.95, seed=0)
    scorer.choose_loss(uniform("average", [1, 2, 3]))  # leaves other weights behind
    model = build_from_manifest(files.manifest(2))
    model.load_state_dict(trained.states[2])
    evaluation = evaluate_model(model, trained.table, "judge")
    scored = scorer.evaluate(uniform("best_epoch", [2]), "judge")
    assert (scored.item_losses == evaluation.item_losses).all()
    assert served_loss(scored.terms) == pytest.approx(evaluation.item_losses.mean(), rel=1e-5)


_ALL = dict.fromkeys(MODULES, range(1, 21))


def test_random_controls_draw_between_the_chosen_epochs_and_repeat_with_the_seed() -> None:
    choices = dict.fromkeys(MODULES, 8) | {"phases": 5}
    drawn = random_crossovers(choices, _ALL, 3, seed=4)
    assert drawn == random_crossovers(choices, _ALL, 3, seed=4)
    assert drawn != random_crossovers(choices, _ALL, 3, seed=5)
    assert {epoch for recipe in drawn for epochs in recipe.epochs.values() for epoch in epochs} == {5, 6, 7, 8}
    assert len({tuple(recipe.epochs.values()) for recipe in drawn}) == 3


def test_random_controls_draw_from_all_epochs_where_one_was_chosen_for_all() -> None:
    (drawn,) = random_crossovers(dict.fromkeys(MODULES, 8), _ALL, 1, seed=0)
    assert len(set(drawn.epochs.values())) > 3


def test_random_controls_draw_each_module_from_the_epochs_that_it_is_kept_of() -> None:
    choices = dict.fromkeys(MODULES, 8) | {"phases": 2}
    kept = {module: [1, 3, 7, 8, 20] for module in MODULES} | {"dsp_simulator": [4, 6], "kalman_filter": [19, 20]}
    drawn = random_crossovers(choices, kept, 20, seed=0)
    found = {
        module: {recipe.epochs[module][0] for recipe in drawn}
        for module in ("backbone", "dsp_simulator", "kalman_filter")
    }
    assert found == {"backbone": {3, 7, 8}, "dsp_simulator": {4, 6}, "kalman_filter": {19, 20}}


def test_a_thinned_epoch_gives_the_modules_that_are_kept_of_it_and_no_whole_model(run: SmallRun) -> None:
    listed = {one.epoch: one for one in list_epochs(run.output)}
    thin(run.output, listed[2], {"phases", "heads.emotion"})
    thin(run.output, listed[3], ())
    files = EpochFiles(run.output)
    assert files.epochs == [1, 4, 5, 6] and files.all_epochs == [1, 2, 4, 5, 6]
    assert files.kept["phases"] == [1, 2, 4, 5, 6] and files.kept["backbone"] == files.epochs
    mixed = crossover("crossover", dict.fromkeys(MODULES, 6) | {"phases": 2})
    state = whole_state(files, mixed)
    for name, tensor in state.items():
        assert torch.equal(tensor, run.states[2 if name.startswith("phases.") else 6][name])
    with pytest.raises(
        StorageError, match=r"epoch_0002\.g2: module 'backbone'.*given up.*kept of epochs 1, 4, 5, 6.*analyze"
    ):
        whole_state(files, uniform("last", [2]))


def test_nothing_but_thinned_epochs_is_no_run_to_combine(run: SmallRun) -> None:
    for one in list_epochs(run.output):
        thin(run.output, one, {"phases"})
    with pytest.raises(StorageError, match="found thinned epochs only"):
        EpochFiles(run.output)
