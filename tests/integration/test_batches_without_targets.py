"""Batches in which a head has no target at all: a zero that keeps the graph, so that processes agree and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from redheart.batches.order import BatchGeometry, epoch_order, global_batches, micro_batches
from redheart.batches.table import SituationTable
from redheart.config import load_config
from redheart.data.splits import split_of
from tests.integration.launching import LEARNING_RATE, launched
from tests.training.runs import assert_same_but_few, make_loop, metrics, train, weights
from tests.training.small_data import embedded_items, write_embedded

OVERRIDES = ["training.epochs=2", "training.global_batch_size=8", "model.preset=tiny", "model.dropout=0.0"]
CUT = [*OVERRIDES, "training.gradient_accumulation_steps=2"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Regret everywhere; of the training situations two have a label, three emotions, and none anything of SURD."""
    items: list[dict[str, Any]] = embedded_items()
    seen = 0
    for item in items:
        del item["surd_metrics"]
        if split_of(item["text"]) == "train":
            seen += 1
            for field, places in (("label", (5, 30)), ("label_scores", ()), ("emotions", (2, 17, 40))):
                if seen not in places:
                    item.pop(field, None)
    return write_embedded(tmp_path_factory.mktemp("data"), items)


@pytest.fixture(scope="module")
def plain(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, nothing cut."""
    output = tmp_path_factory.mktemp("plain")
    train(dataset, output, load_config(None, OVERRIDES), learning_rate=LEARNING_RATE)
    return output


def test_a_step_without_any_target_of_a_head_counts_it_as_nothing_and_trains_the_others(dataset: Path) -> None:
    table = SituationTable.open(dataset)
    loop = make_loop(load_config(None, OVERRIDES), table, LEARNING_RATE)
    batches = global_batches(epoch_order(loop.train, seed=loop.seed, epoch=1), 8)
    known = [bool(table.targets.mask["verdict"][batch].any()) for batch in batches]
    assert 0 < sum(known) <= 2 and len(known) > 4
    before = loop.engine.full_state_dict()
    for step, has_verdict in zip(loop.epoch(1), known, strict=True):
        assert step.updated and step.terms["heads.regret"] > 0
        assert (step.terms["heads.verdict"] > 0) is has_verdict
        assert (step.module_norms["heads.verdict"] > 0) is has_verdict
        assert step.terms["heads.surd"] == step.module_norms["heads.surd"] == 0
        now = loop.engine.full_state_dict()
        assert any((now[name] != before[name]).any() for name in now if name.startswith("heads.regret."))
        before = now


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["multi_cpu", "zero2_offload"])
def test_two_processes_whose_pieces_lack_targets_equal_one_process(
    dataset: Path, plain: Path, tmp_path: Path, strategy: str
) -> None:
    """Each piece is two situations: nearly all of them have no target for the verdict, and some processes never have."""
    output = tmp_path / "out"
    done = launched(strategy, "train", dataset, output, overrides=CUT)
    assert done.returncode == 0, done.stderr
    for line, expected in zip(metrics(output), metrics(plain), strict=True):
        assert line["updates"] == expected["updates"] > 4
        for part in ("train", "choose"):
            assert line[part]["loss"] == pytest.approx(expected[part]["loss"], rel=1e-4)
            assert line[part]["terms"] == pytest.approx(expected[part]["terms"], rel=1e-3, abs=1e-6)
    assert expected["train"]["terms"]["heads.surd"] == 0 < expected["train"]["terms"]["heads.verdict"]
    assert_same_but_few(weights(output), weights(plain))


def test_in_the_cut_some_process_has_no_target_for_a_head_in_a_whole_epoch(dataset: Path) -> None:
    """What the test above rests on."""
    table = SituationTable.open(dataset)
    geometry = BatchGeometry.resolve(load_config(None, CUT).training, 2)
    order = epoch_order(table.split_indices["train"], seed=0, epoch=1)
    pieces = [
        bool(table.targets.mask["verdict"][piece].any())
        for batch in global_batches(order, 8)
        for rank in (0, 1)
        for piece in micro_batches(batch, geometry, rank)
    ]
    assert 0 < sum(pieces) <= 2 and len(pieces) > 20
