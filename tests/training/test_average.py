"""The average of the weights: of applied steps only, evaluated and kept, resumed to the bit, and never in training's way."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from redheart.checkpoint import list_epochs, newest_resume_state
from redheart.checkpoint.restore import restore_model
from redheart.checkpoint.slices import WEIGHT, Slices
from redheart.config import load_config
from redheart.engine.resume_files import slice_files
from redheart.errors import Interrupted, StorageError
from redheart.evaluation.evaluate import evaluate_model
from redheart.storage import read_json
from redheart.training import average as average_module
from redheart.training.average import AVERAGE, WeightAverage, decay_at
from redheart.training.saving.resume_state import ENGINE, Cursor
from redheart.training.trial import TrialRunner
from redheart.workflow.consolidate import consolidate
from tests.training.runs import furthest, make_loop, metrics, same_bits, state_of, train, weights
from tests.training.saving.older_state import write_older_average

DECAY = 0.5
Arrays = dict[str, np.ndarray]


def parameters_of(loop) -> Arrays:
    names = {name for name, _ in loop.engine.unwrapped.named_parameters()}
    return {name: tensor.numpy() for name, tensor in state_of(loop).items() if name in names}


def average_of(loop) -> Arrays:
    with loop.evaluated_weights():
        return parameters_of(loop)


def assert_close(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def assert_equal(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys() and all((found[name] == expected[name]).all() for name in found)


def test_the_decay_rises_to_what_was_asked_for():
    assert [decay_at(t, 0.99) for t in (0, 1, 9, 90)] == [1 / 10, 2 / 11, 10 / 19, 91 / 100]
    assert decay_at(10_000, 0.99) == 0.99


def test_it_is_the_exponential_average_of_the_weights_after_every_step(table, settings):
    loop = make_loop(settings(ema_decay=DECAY, global_batch_size=5), table)
    expected = parameters_of(loop)
    for number, _ in enumerate(loop.epoch(1)):
        decay = min(DECAY, (1 + number) / (10 + number))
        now = parameters_of(loop)
        expected = {name: decay * expected[name] + (1 - decay) * now[name] for name in now}
        assert_close(average_of(loop), expected)
    assert loop.average.updates == 10 and decay == DECAY, "both sides of the minimum were met"
    assert max(np.abs(expected[name] - now[name]).max() for name in now) > 1e-4, "there is something to tell apart"


@pytest.mark.parametrize("norms_every", [1, 1000], ids=["norms measured", "norms not measured"])
def test_a_step_that_was_skipped_does_not_go_in(table, settings, norms_every):
    """Neither where the loop sees that a gradient is not finite, nor where only the engine does, nor in a dry run."""
    loop = make_loop(settings(ema_decay=DECAY, global_batch_size=8), table, norms_every=norms_every)
    planted, hook = next(loop.engine.unwrapped.parameters()), None
    for step in loop.epoch(1):
        assert step.updated == (step.batch_index != 2)
        assert loop.average.updates == (1, 2, 2, 3, 4, 5)[step.batch_index]
        if step.batch_index == 1:
            before = average_of(loop)
            hook = planted.register_hook(lambda gradient: gradient * math.inf)
        elif step.batch_index == 2:
            assert_equal(average_of(loop), before)
            hook.remove()

    dry = make_loop(settings(ema_decay=DECAY, no_param_update=True), table)
    before = average_of(dry)
    list(dry.epoch(1))
    assert dry.average.updates == 0
    assert_equal(average_of(dry), before)


@pytest.mark.parametrize("exchanged", [1 << 22, 1000], ids=["whole", "in pieces"])
@pytest.mark.parametrize("failure", [None, RuntimeError("planted"), Interrupted("planted"), KeyboardInterrupt()])
def test_after_an_evaluation_the_weights_are_what_they_were_to_the_bit(
    table, settings, monkeypatch, failure, exchanged
):
    monkeypatch.setattr(average_module, "EXCHANGED", exchanged)
    loop = make_loop(settings(ema_decay=DECAY, global_batch_size=8), table)
    list(loop.epoch(1))
    with torch.no_grad():
        next(loop.engine.unwrapped.parameters()).view(-1)[0] = -0.0
    before, averaged = state_of(loop), average_of(loop)
    with contextlib.suppress(RuntimeError, Interrupted, KeyboardInterrupt), loop.evaluated_weights():
        assert not same_bits(state_of(loop), before)
        if failure is not None:
            raise failure
    after = state_of(loop)
    assert all(torch.equal(after[n].view(torch.int32), before[n].view(torch.int32)) for n in before)
    assert_equal(average_of(loop), averaged)


class NoMemoryLeft(TorchDispatchMode):
    """Within it, what needs new memory for numbers fails; views, and copies into what is there, do not."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given, found = (
            {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(of) if isinstance(leaf, torch.Tensor)}
            for of in ((args, kwargs), result)
        )
        if found - given:
            raise torch.OutOfMemoryError(f"no memory for {func}")
        return result


def test_the_way_back_needs_no_memory(table, settings):
    """An evaluation that ran out of it would otherwise leave the average in the weights' place."""
    loop = make_loop(settings(ema_decay=DECAY, global_batch_size=16), table)
    list(loop.epoch(1))
    before, exchanged = state_of(loop), loop.average.swapped_in()
    exchanged.__enter__()
    assert not same_bits(state_of(loop), before)
    with NoMemoryLeft():
        assert not exchanged.__exit__(torch.OutOfMemoryError, torch.OutOfMemoryError("planted"), None)
    assert same_bits(state_of(loop), before)


def kept(output: Path, kind: str) -> dict[str, torch.Tensor]:
    """What the newest state has of a kind."""
    state, _ = newest_resume_state(output, Cursor)
    with Slices(slice_files(state.path / ENGINE)) as slices:
        return {name: slices.whole(kind, name) for name in slices.names(kind)}


def raw_weights(output: Path) -> dict[str, torch.Tensor]:
    """What training goes on from."""
    return kept(output, WEIGHT)


@pytest.fixture(scope="module")
def runs(dataset, tmp_path_factory):
    """Two trainings that differ in nothing but the average."""
    folder = tmp_path_factory.mktemp("runs")
    for name, chosen in (("with", [f"training.ema_decay={DECAY}"]), ("without", [])):
        common = ["model.preset=tiny", "model.dropout=0.2", "training.epochs=2", "training.global_batch_size=16"]
        train(dataset, folder / name, load_config(None, [*common, *chosen]))
    return folder


def test_training_goes_on_as_if_there_were_no_average(runs):
    """The raw weights, by the resume state, and every number of training are those of a run without."""
    assert same_bits(raw_weights(runs / "with"), raw_weights(runs / "without"))
    for line, other in zip(metrics(runs / "with"), metrics(runs / "without"), strict=True):
        assert line["train"] == other["train"] and line["gradient"] == other["gradient"]
        assert line["choose"]["loss"] != other["choose"]["loss"]


def test_what_is_off_leaves_nothing(runs, table, settings):
    assert kept(runs / "with", AVERAGE) and not kept(runs / "without", AVERAGE)
    assert "ema_decay" not in read_json(list_epochs(runs / "without")[-1].path / "manifest.json")
    assert make_loop(settings(ema_decay=0), table).average is None


def test_the_epochs_checkpoint_and_its_numbers_are_the_averages(runs, table):
    epoch, averaged = weights(runs / "with"), kept(runs / "with", AVERAGE)
    assert same_bits({name: epoch[name] for name in averaged}, averaged) and len(averaged) > 300
    assert furthest({n: t for n, t in raw_weights(runs / "with").items() if n in averaged}, averaged) > 1e-4
    last = list_epochs(runs / "with")[-1]
    assert last.manifest.ema_decay == DECAY
    again = evaluate_model(restore_model(last.path), table, "choose")
    assert metrics(runs / "with")[-1]["choose"]["loss"] == pytest.approx(again.loss, rel=1e-6)


def test_consolidate_gives_the_average_where_there_is_one(runs, tmp_path):
    for name in ("with", "without"):
        whole = restore_model(consolidate(runs / name, tmp_path / name)).state_dict()
        assert same_bits(dict(whole), weights(runs / name))


class StopAt:
    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def test_a_run_that_is_stopped_again_and_again_ends_with_the_same_bits(dataset, settings, tmp_path):
    """Within an epoch, in its evaluation, between two."""
    config = settings(epochs=2, ema_decay=0.9, global_batch_size=8, dropout=0.2, layer_lr_decay=0.9, monitor_every=4)
    train(dataset, tmp_path / "whole", config)
    places = []
    # Asked before the start's one batch of evaluation; then after each of six steps but the last, before the epoch's one
    # batch of evaluation, and at its end.
    for asked in (1 + 3, 3, 2, 1, 1000):
        try:
            train(dataset, tmp_path / "cut", config, should_stop=StopAt(asked))
        except Interrupted:
            state, _ = newest_resume_state(tmp_path / "cut", Cursor)
            places.append(state.cursor.batches_done)
    assert places == [3, 6, 0, 1], "within an epoch, in its evaluation, between two, within the next"
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    for epoch in (1, 2):
        assert same_bits(weights(tmp_path / "cut", epoch), weights(tmp_path / "whole", epoch))
    assert same_bits(raw_weights(tmp_path / "cut"), raw_weights(tmp_path / "whole"))
    assert same_bits(*(kept(tmp_path / name, AVERAGE) for name in ("cut", "whole")))


def test_a_state_without_the_average_that_was_asked_for_is_refused(table, settings, tmp_path):
    make_loop(settings(ema_decay=0), table).engine.save_state(tmp_path / ENGINE, {})
    loop = make_loop(settings(ema_decay=DECAY), table)
    with pytest.raises(StorageError, match=r"engine: found no average of 'backbone\.\S+' in slices_\*\.safetensors"):
        loop.engine.load_state(tmp_path / ENGINE, loop.average_by_kind())


def test_an_average_of_an_earlier_version_that_is_another_shards_is_refused(table, settings, tmp_path):
    loop = make_loop(settings(ema_decay=DECAY), table)
    with pytest.raises(StorageError, match=r"average_0000\.safetensors: the average of the weights can't be read"):
        loop.average.load_older(tmp_path)
    write_older_average(loop, tmp_path)
    loop.average.load_older(tmp_path)
    other = WeightAverage(loop.engine, DECAY)
    del other._average["backbone.kind.weight"]
    with pytest.raises(StorageError, match="this process's share"):
        other.load_older(tmp_path)


def test_a_trial_is_scored_by_the_average_too(dataset, settings):
    """Its raw weights, by what training loses, are those of a trial without."""
    outcomes = [
        TrialRunner(settings(**chosen), dataset).run(learning_rate=1e-3, seed=0)
        for chosen in ({}, {"ema_decay": DECAY})
    ]
    assert outcomes[0].train_loss == outcomes[1].train_loss and outcomes[0].val_loss != outcomes[1].val_loss
