"""The steps: the cut of a batch does not change them, and neither NaN nor a full memory gets into the weights."""

from __future__ import annotations

import math

import msgspec
import pytest
import torch

from redheart.batches.order import epoch_order
from redheart.batches.table import SituationTable
from redheart.checkpoint import find_start
from redheart.config.schema import MAX_SEED
from redheart.engine.plain import PlainEngine
from redheart.errors import OutOfMemory, TrainingError
from redheart.model.losses import TERMS
from redheart.storage import read_json
from redheart.training import loop as loop_module
from redheart.training.out_of_memory import is_out_of_memory
from tests.training.runs import furthest, make_loop, metrics, same_bits, state_of, train, weights


def spoil(monkeypatch, ids: set[str], value: float = math.nan) -> None:
    """Makes the vectors of some situations come out of the table as ``value``."""
    original = SituationTable.batch

    def batch(self, indices):
        made = original(self, indices)
        for row, identifier in enumerate(made.ids):
            if identifier in ids:
                made.segments[row] = value
        return made

    monkeypatch.setattr(SituationTable, "batch", batch)


def test_the_cut_into_micro_batches_changes_neither_losses_nor_weights(dataset, settings, tmp_path):
    cuts = {32: tmp_path / "whole", 8: tmp_path / "cut"}
    for size, output in cuts.items():
        train(dataset, output, settings(epochs=3, global_batch_size=32, micro_batch_size=size))
    whole = metrics(cuts[32])
    for line, expected in zip(metrics(cuts[8]), whole, strict=True):
        assert line["train"]["loss"] == pytest.approx(expected["train"]["loss"], rel=1e-5)
        assert line["choose"]["loss"] == pytest.approx(expected["choose"]["loss"], rel=1e-5)
        assert line["gradient"]["total_norm_mean"] == pytest.approx(expected["gradient"]["total_norm_mean"], rel=1e-4)
    assert furthest(weights(cuts[8]), weights(cuts[32])) < 1e-4
    assert furthest(weights(cuts[32], 1), weights(cuts[32])) > 1e-3, "there was training to compare"


def test_dropout_is_drawn_anew_in_each_step_and_again_alike_in_the_same(table, settings):
    loop = make_loop(settings(dropout=0.3), table)
    losses = []
    for step in (0, 1, 0):
        loop.global_step = step
        losses.append(float(loop._accumulate(loop.train[:16])[0]))
        loop.engine.skip_step()
    assert losses[0] == losses[2] != losses[1]


def test_a_step_drops_gradients_before_the_next(table, settings):
    loop = make_loop(settings(), table)
    for _ in loop.epoch(1):
        assert all(gradient is None for _, gradient in loop.engine.gradients())


@pytest.mark.parametrize("seed", [0, 7, 4_503_586_116, 4_503_586_117, 20261126053000, MAX_SEED])
def test_dropout_is_drawn_anew_in_each_step_under_any_seed(table, settings, monkeypatch, seed):
    loop = make_loop(msgspec.structs.replace(settings(dropout=0.2), seed=seed), table)
    drawn, set_seed = [], torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda number: drawn.append(number) or set_seed(number))
    losses = [step.loss for step in loop.epoch(1)]
    assert all(math.isfinite(loss) for loss in losses)
    assert drawn == [(seed * 1_000_003 + step) * 4_096 % 2**64 for step in range(len(losses))]
    assert len(set(drawn)) == len(drawn) > 1
    if seed <= 4_503_586_116:
        assert drawn[0] == seed * 1_000_003 * 4_096, "what a seed gave, it gives"


def test_a_nan_in_one_situation_costs_its_step_and_names_its_ids(table, settings, monkeypatch, logged):
    loop = make_loop(settings(max_nonfinite_steps=2, global_batch_size=8), table)
    bad = table.ids[int(loop.train[0])]
    spoil(monkeypatch, {bad})
    before, skipped, steps = state_of(loop), 0, 0
    for step in loop.epoch(1):
        after = state_of(loop)
        assert all(bool(torch.isfinite(tensor).all()) for tensor in after.values())
        assert step.updated != same_bits(before, after)
        if not step.updated:
            skipped += 1
            assert math.isnan(step.loss) and step.gradient_norm is None and not step.module_norms
        before, steps = after, steps + 1
    assert (skipped, steps) == (1, 6)
    assert bad in logged()


def test_an_epoch_with_a_skipped_step_has_numbers_of_the_others(dataset, table, settings, monkeypatch, tmp_path):
    spoil(monkeypatch, {table.ids[int(table.split_indices["train"][0])]})
    train(dataset, tmp_path / "out", settings(epochs=1, global_batch_size=8))
    (line,) = metrics(tmp_path / "out")
    assert line["updates"] == 5 and math.isfinite(line["train"]["loss"]) and math.isfinite(line["choose"]["loss"])


def test_too_many_in_a_row_stop_the_run_and_leave_the_last_checkpoint(dataset, table, settings, monkeypatch, tmp_path):
    config = settings(epochs=2, max_nonfinite_steps=3, global_batch_size=8, linear_start=False)
    everyone = {table.ids[int(index)] for index in table.split_indices["train"]}
    original = SituationTable.batch
    calls = 0

    def batch(self, indices):
        nonlocal calls
        made = original(self, indices)
        calls += bool(set(made.ids) & everyone)
        if calls > 6:  # the second epoch
            made.segments[:] = math.nan
        return made

    monkeypatch.setattr(SituationTable, "batch", batch)
    last = tmp_path / "out" / "checkpoints" / "epoch_0001"
    with pytest.raises(TrainingError, match=f"3 steps in a row .*; the last good checkpoint is {last}"):
        train(dataset, tmp_path / "out", config)
    assert [line["epoch"] for line in metrics(tmp_path / "out")] == [1]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(tmp_path / "out").values())


def test_without_a_checkpoint_that_is_said(dataset, table, settings, monkeypatch, tmp_path):
    spoil(monkeypatch, set(table.ids), math.inf)
    with pytest.raises(
        TrainingError, match=r"2 steps in a row .*no epoch was finished, so there is no checkpoint of one yet"
    ):
        train(dataset, tmp_path / "out", settings(linear_start=False, max_nonfinite_steps=2, global_batch_size=8))


def test_a_start_whose_loss_is_not_finite_stops_the_run_before_its_first_step(
    dataset, table, settings, monkeypatch, tmp_path
):
    spoil(monkeypatch, {table.ids[index] for index in table.split_indices["choose"]}, math.inf)
    with pytest.raises(TrainingError, match=r"not finite before the first step.*training\.linear_start=false"):
        train(dataset, tmp_path / "out", settings())
    assert find_start(tmp_path / "out") is None


def test_a_validation_that_is_not_finite_names_the_last_good_checkpoint(
    dataset, table, settings, monkeypatch, tmp_path
):
    """The epoch before it is kept; its own gets none."""
    saved = []
    original = SituationTable.batch
    choose = {table.ids[int(index)] for index in table.split_indices["choose"]}

    def batch(self, indices):
        made = original(self, indices)
        if saved and set(made.ids) & choose:
            made.segments[:] = math.nan
        saved.extend((tmp_path / "out" / "checkpoints").glob("epoch_*"))
        return made

    monkeypatch.setattr(SituationTable, "batch", batch)
    last = tmp_path / "out" / "checkpoints" / "epoch_0001"
    with pytest.raises(TrainingError, match=f"epoch 2: .*'choose' is not finite .*the last good checkpoint is {last}"):
        train(dataset, tmp_path / "out", settings(epochs=2))
    assert [path.name for path in (tmp_path / "out" / "checkpoints").glob("epoch_*")] == ["epoch_0001"]


@pytest.mark.parametrize("norms_every", [1, 1000], ids=["norms measured", "norms not measured"])
def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(table, settings, norms_every):
    """A loss may be finite where its gradient is not."""
    loop = make_loop(settings(global_batch_size=8), table, norms_every=norms_every)
    planted, hook = next(loop.engine.unwrapped.parameters()), None
    before = state_of(loop)
    for step in loop.epoch(1):
        if hook is not None:
            hook.remove()
            hook = None
            assert not step.updated and step.gradient_norm is None and math.isfinite(step.loss)
            assert same_bits(before, state_of(loop))
        else:
            assert step.updated
        before = state_of(loop)
        if step.batch_index == 1:
            hook = planted.register_hook(lambda gradient: gradient * math.inf)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in before.values())


def test_the_count_of_bad_steps_starts_anew_after_a_good_one_in_a_dry_run_too(table, settings, monkeypatch):
    loop = make_loop(settings(global_batch_size=6, max_nonfinite_steps=2, no_param_update=True), table)
    order = epoch_order(loop.train, seed=0, epoch=1)
    spoil(monkeypatch, {table.ids[int(order[place])] for place in (6, 18, 30)})
    assert [step.batch_index for step in loop.epoch(1) if math.isnan(step.loss)] == [1, 3, 5]


class TestMemory:
    @staticmethod
    def plant(monkeypatch, most: int) -> None:
        """Forward passes of more than ``most`` situations run out of memory."""
        original = PlainEngine.backward

        def backward(self, loss, *, is_last):
            if self.geometry.micro_batch_size > most:
                original(self, loss, is_last=is_last)  # what was added to the gradients must not stay
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            original(self, loss, is_last=is_last)

        monkeypatch.setattr(PlainEngine, "backward", backward)

    def test_the_batch_is_computed_again_in_halves_and_nothing_is_lost(self, dataset, settings, monkeypatch, tmp_path):
        config = settings(global_batch_size=32)
        train(dataset, tmp_path / "roomy", config)
        self.plant(monkeypatch, 8)
        train(dataset, tmp_path / "tight", config)
        for line, expected in zip(metrics(tmp_path / "tight"), metrics(tmp_path / "roomy"), strict=True):
            assert line["train"]["loss"] == pytest.approx(expected["train"]["loss"], rel=1e-5)
            assert (line["global_step"], line["updates"]) == (expected["global_step"], expected["updates"])
        assert furthest(weights(tmp_path / "tight"), weights(tmp_path / "roomy")) < 1e-4
        stats = read_json(tmp_path / "tight" / "oom_stats" / "oom_stats.json")
        assert [(e["micro_batch_size"], e["smaller_micro_batch_size"]) for e in stats["events"]] == [(32, 16), (16, 8)]
        assert stats["count"] == 2 and stats["final_micro_batch_size"] == 8 and stats["peak_host_bytes"] > 0
        assert read_json(tmp_path / "roomy" / "oom_stats" / "oom_stats.json")["events"] == []

    def test_a_single_situation_that_does_not_fit_ends_the_run_with_the_way_out(
        self, dataset, settings, monkeypatch, tmp_path
    ):
        self.plant(monkeypatch, 0)
        with pytest.raises(OutOfMemory, match=r"`redheart plan`"):
            train(dataset, tmp_path / "out", settings())
        events = read_json(tmp_path / "out" / "oom_stats" / "oom_stats.json")["events"]
        assert [e["smaller_micro_batch_size"] for e in events] == [8, 4, 2, 1, None], "kept although the run failed"

    def test_an_optimizer_whose_state_does_not_fit_ends_the_run_with_the_way_out(
        self, dataset, settings, monkeypatch, tmp_path
    ):
        def step(self, closure=None):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 GiB")

        monkeypatch.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(OutOfMemory, match=r"optimizer's step .*`redheart plan`"):
            train(dataset, tmp_path / "out", settings())
        (event,) = read_json(tmp_path / "out" / "oom_stats" / "oom_stats.json")["events"]
        assert event["global_step"] == 0 and "4.00 GiB" in event["message"]

    def test_other_errors_are_not_taken_for_it(self, dataset, settings, monkeypatch, tmp_path):
        def backward(self, loss, *, is_last):
            raise RuntimeError("shapes do not match")

        monkeypatch.setattr(PlainEngine, "backward", backward)
        with pytest.raises(RuntimeError, match="shapes do not match"):
            train(dataset, tmp_path / "out", settings())

    @pytest.mark.parametrize(
        "error, expected",
        [
            (torch.OutOfMemoryError("CUDA out of memory"), True),
            (MemoryError(), True),
            (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
            (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
            (RuntimeError("CUDA error: device-side assert triggered"), False),
        ],
    )
    def test_what_counts_as_out_of_memory(self, error, expected):
        assert is_out_of_memory(error) is expected


class TestLossScaling:
    """fp16 needs a CUDA device, but its scaler works anywhere."""

    @pytest.fixture
    def scaled(self, table, settings, monkeypatch):
        prepare = PlainEngine.prepare

        def with_scaler(self, model, optimizer):
            self.precision = "fp16"
            self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
            prepare(self, model, optimizer)

        monkeypatch.setattr(PlainEngine, "prepare", with_scaler)
        return lambda norms_every=1: make_loop(settings(), table, norms_every=norms_every)

    @pytest.mark.parametrize("norms_every", [1, 1000])
    def test_norms_and_updates_are_those_without_a_scale(self, scaled, table, settings, monkeypatch, norms_every):
        with_scale = scaled(norms_every)
        monkeypatch.undo()
        without = make_loop(settings(), table, norms_every=norms_every)
        for a, b in zip(with_scale.epoch(1), without.epoch(1), strict=True):
            assert a.updated and b.updated
            assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-4)
        assert furthest(state_of(with_scale), state_of(without)) < 1e-5

    def test_an_overflow_is_the_scalers_affair(self, scaled):
        loop = scaled()
        planted = next(loop.engine.unwrapped.parameters())
        before = state_of(loop)
        hook = planted.register_hook(lambda gradient: gradient * math.inf)
        steps = loop.epoch(1)
        first = next(steps)
        assert not first.updated and first.gradient_norm is None and same_bits(before, state_of(loop))
        assert loop.nonfinite_in_a_row == 0 and loop.engine.accelerator.scaler.get_scale() == 2.0**15
        hook.remove()
        assert next(steps).updated and not same_bits(before, state_of(loop))

    def test_overflows_that_no_scale_mends_stop_the_run(self, scaled, monkeypatch):
        """A gradient that is infinite at any scale is the model's affair: the loop waits for the scaler, not forever."""
        monkeypatch.setattr(loop_module, "MAX_OVERFLOWS", 3)
        loop = scaled()
        next(loop.engine.unwrapped.parameters()).register_hook(lambda gradient: gradient * math.inf)
        seen = []
        with pytest.raises(TrainingError, match="3 steps in a row"):
            for epoch in range(1, 10):
                for step in loop.epoch(epoch):
                    seen.append(step.updated)
        assert seen == [False] * 5, "three for the scaler, then two of the three that max_nonfinite_steps allows"

    def test_a_discarded_step_leaves_the_scaler_ready_for_the_next(self, scaled):
        loop = scaled()
        loop._accumulate(loop.train[:16])
        list(loop.engine.gradients())
        loop.engine.skip_step()
        assert next(loop.epoch(1)).updated


def test_a_model_without_a_group_trains_and_its_steps_tell_of_the_terms_it_has(table, settings):
    loop = make_loop(settings(), table, without=("phases", "kalman_filter"))
    before = state_of(loop)
    steps = list(loop.epoch(1))
    names = {term.name for term in TERMS} - {"kalman_filter", "phases.self", "phases.empathy", "phases.community"}
    assert all(set(step.terms) == names and step.updated for step in steps)
    after = state_of(loop)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, _ in loop.engine.unwrapped.named_parameters()}
