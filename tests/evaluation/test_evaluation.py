"""Evaluation: of the right items, the same however it is cut and shared."""

from __future__ import annotations

import itertools
import json

import msgspec
import numpy as np
import pytest
import torch

from redheart.batches.table import SituationTable
from redheart.data import read_dataset
from redheart.data.splits import normalise
from redheart.errors import Interrupted, OutOfMemory
from redheart.evaluation.batch_size import BatchSize
from redheart.evaluation.evaluate import evaluate_model, predict_split
from redheart.model import UnifiedModel, dimensions
from redheart.model.losses import TERMS
from redheart.tasks import MODULES
from tests.training.runs import metrics, train
from tests.training.small_data import D_EMBED, embedded_items, write_embedded


@pytest.fixture(scope="module")
def model(table):
    torch.manual_seed(5)
    statistics = table.statistics(table.split_indices["train"])
    made = UnifiedModel(dimensions("tiny", d_embed=D_EMBED, dropout=0.1), statistics)
    with torch.no_grad():  # away from the constant predictor, where it starts
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return made


def assert_equal(a, b, tolerance=1e-5):
    assert a.loss == pytest.approx(b.loss, rel=tolerance)
    for name, task in a.tasks.items():
        assert task.skill == pytest.approx(b.tasks[name].skill, abs=1e-4)
    assert a.ids == b.ids


def test_splits_are_disjoint_by_text(table):
    situations = read_dataset(table.path)
    texts = {
        split: {normalise(situations[index].text) for index in indices}
        for split, indices in table.split_indices.items()
    }
    assert all(texts.values()) and sum(map(len, texts.values())) == len(table.ids)
    for a, b in itertools.combinations(texts.values(), 2):
        assert not a & b


def test_the_batch_size_changes_nothing(model, table):
    whole = evaluate_model(model, table, "choose", batch_size=64)
    assert whole.count == table.counts["choose"] > 3
    assert_equal(evaluate_model(model, table, "choose", batch_size=3), whole)


@pytest.mark.parametrize("split", ["choose", "judge"])
def test_sharing_among_two_processes_changes_nothing(model, table, split):
    whole = evaluate_model(model, table, split)
    shares: list[torch.Tensor] = []

    def collect(own: torch.Tensor) -> torch.Tensor:
        shares.append(own)
        return torch.cat([own, own])

    for rank in (0, 1):
        evaluate_model(model, table, split, rank=rank, world_size=2, gather=collect)
    assert shares[0].shape == shares[1].shape, "a collective needs equal shapes"
    for rank in (0, 1):
        both = torch.cat(shares)
        shared = evaluate_model(model, table, split, rank=rank, world_size=2, gather=lambda own, both=both: both)
        assert_equal(shared, whole)


def test_item_losses_average_to_the_heads_part_of_the_loss(model, table):
    scored = evaluate_model(model, table, "choose")
    heads = sum(term.weight * scored.terms[term.name] for term in TERMS if term.name.startswith("heads."))
    assert scored.item_losses.shape == (scored.count,)
    assert scored.item_losses.mean() == pytest.approx(heads, rel=1e-5)


def test_every_module_has_a_loss_and_nothing_is_nan(model, table):
    record = msgspec.to_builtins(evaluate_model(model, table, "choose", with_items=False).scores())
    json.dumps(record, allow_nan=False)
    assert set(record["modules"]) == set(MODULES)
    assert record["modules"]["backbone"]["loss"] == record["loss"]


def test_the_model_is_put_back_into_training_even_when_stopped(model, table):
    model.train()
    evaluate_model(model, table, "choose")
    assert model.training
    with pytest.raises(Interrupted):
        evaluate_model(model, table, "choose", should_stop=lambda: True)
    assert model.training
    model.eval()
    evaluate_model(model, table, "choose")
    assert not model.training


class TestMemory:
    @staticmethod
    def plant(model, most):
        """A stand-in whose forward pass takes no more situations than ``most``."""
        asked = []

        def forward(*inputs):
            asked.append(len(inputs[0]))
            if asked[-1] > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return model(*inputs)

        return forward, asked

    def test_a_batch_that_does_not_fit_is_predicted_in_halves_and_later_ones_begin_there(self, model, table):
        model.eval()
        forward, asked = self.plant(model, 3)
        told = []
        batches = BatchSize(16, on_shrink=lambda failure, *sizes: told.append((failure.phase, *sizes)))
        found = evaluate_model(forward, table, "test", statistics=model.statistics, batches=batches)
        assert_equal(found, evaluate_model(model, table, "test"))
        assert told == [("evaluation", 16, 8), ("evaluation", 8, 4), ("evaluation", 4, 2)] and batches.size == 2
        asked.clear()
        evaluate_model(forward, table, "choose", statistics=model.statistics, batches=batches)
        assert max(asked) == 2

    def test_another_process_that_ran_out_takes_this_one_along(self, model, table):
        answers = iter([True])
        batches = BatchSize(4, agree=lambda failed: next(answers, failed), on_shrink=lambda *told: None)
        asked = self.plant(model.eval(), 99)
        found = evaluate_model(asked[0], table, "test", statistics=model.statistics, batches=batches)
        assert_equal(found, evaluate_model(model, table, "test"))
        assert asked[1][:2] == [4, 2]

    def test_a_single_situation_that_does_not_fit_is_an_error_that_says_so(self, model, table):
        forward, asked = self.plant(model, 0)
        with pytest.raises(OutOfMemory, match=r"a single situation is evaluated \(CUDA out of memory"):
            predict_split(forward, table, "test", batch_size=4)
        assert asked == [4, 2, 1]

    def test_where_others_wait_amid_their_pass_the_error_is_raised_as_it_is(self, model, table):
        forward, _ = self.plant(model, 0)
        with pytest.raises(torch.OutOfMemoryError):
            predict_split(forward, table, "test", batches=BatchSize(4, is_fixed=True))


def test_dropout_is_off(model, table):
    model.train()
    first, second = (evaluate_model(model, table, "judge").loss for _ in range(2))
    assert first == second


def test_validation_comes_from_other_items_than_training(tmp_path, settings, monkeypatch):
    """Regret is 0.9 in training and 0.1 in validation: who validates on training items can't see a loss that grows."""
    items = embedded_items()
    path = write_embedded(tmp_path, items)
    plain = SituationTable.open(path)
    held_out = {plain.ids[index] for split in ("choose", "judge") for index in plain.split_indices[split]}
    for number, item in enumerate(items):
        item["regret_factor"] = (0.1 if item["id"] in held_out else 0.9) + 0.001 * (number % 7)
    path = write_embedded(tmp_path, items)
    seen: dict[str, set[str]] = {"train": set(), "validation": set()}
    original = SituationTable.batch

    def spy(self, indices):
        batch = original(self, indices)
        seen["train" if torch.is_grad_enabled() and not inside_evaluation() else "validation"].update(batch.ids)
        return batch

    def inside_evaluation() -> bool:
        import inspect

        return any(frame.function == "evaluate_model" for frame in inspect.stack())

    monkeypatch.setattr(SituationTable, "batch", spy)
    train(path, tmp_path / "out", settings(epochs=3, micro_batch_size=16), learning_rate=3e-3)
    table = SituationTable.open(path)
    assert seen["train"] == {table.ids[index] for index in table.split_indices["train"]}
    assert seen["validation"] == {table.ids[index] for index in table.split_indices["choose"]}
    last = metrics(tmp_path / "out")[-1]
    assert last["train"]["terms"]["heads.regret"] < 1.0
    assert last["choose"]["terms"]["heads.regret"] > 10 * last["train"]["terms"]["heads.regret"]
    assert last["choose"]["count"] == table.counts["choose"]


def test_statistics_know_only_the_training_split(table):
    train_only = table.statistics(table.split_indices["train"])
    expected = table.targets.values["regret"][table.split_indices["train"]].mean()
    assert train_only["regret"].mean[0] == pytest.approx(float(expected), rel=1e-6)
    assert train_only["regret"].mean != table.statistics(np.arange(len(table.ids)))["regret"].mean


def test_the_trained_model_scores_the_same_outside_the_engine(table, dataset, settings, tmp_path):
    from redheart.checkpoint import list_epochs
    from redheart.checkpoint.restore import restore_model

    train(dataset, tmp_path / "out", settings(epochs=1))
    alone = evaluate_model(restore_model(list_epochs(tmp_path / "out")[-1].path), table, "choose", with_items=False)
    assert alone.loss == pytest.approx(metrics(tmp_path / "out")[-1]["choose"]["loss"], rel=1e-6)


def test_too_few_situations_are_refused_with_the_counts(tmp_path):
    from redheart.errors import DataError

    path = write_embedded(tmp_path, embedded_items()[:8])
    with pytest.raises(DataError, match="wanted at least"):
        SituationTable.open(path)


def test_what_was_predicted_before_is_scored_without_asking_the_model_again(model, table):
    def never(*inputs):
        raise AssertionError("asked again")

    predicted = predict_split(model, table, "judge")
    scored = evaluate_model(never, table, "judge", statistics=model.statistics, predicted=predicted)
    whole = evaluate_model(model, table, "judge")
    assert scored.scores() == whole.scores() and (scored.item_losses == whole.item_losses).all()
    with pytest.raises(Interrupted):
        evaluate_model(model, table, "judge", predicted=predicted, should_stop=lambda: True)
