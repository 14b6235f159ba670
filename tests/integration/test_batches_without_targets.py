"""Batches in which a head has no target at all: a zero that keeps the graph, so that processes agree and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from redheart.batches.order import BatchGeometry, epoch_order, global_batches, micro_batches
from redheart.batches.table import SituationTable
from redheart.config import load_config
from tests.integration.launching import LEARNING_RATE
from tests.integration.without_targets import OVERRIDES, embedded_without_targets
from tests.training.runs import make_loop

CUT = [*OVERRIDES, "training.gradient_accumulation_steps=2"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded_without_targets(tmp_path_factory.mktemp("data"))


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


def test_in_the_cut_some_process_has_no_target_for_a_head_in_a_whole_epoch(dataset: Path) -> None:
    """What the comparisons in ``tests/engine/test_contract.py`` rest on."""
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
