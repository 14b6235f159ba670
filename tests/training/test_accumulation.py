"""The passes of a batch: what is computed once a step is computed once, whatever the number of its pieces."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch.utils._python_dispatch import TorchDispatchMode

from redheart.batches import prepared as prepared_module
from redheart.batches.prepared import prepare_batch
from redheart.batches.table import SituationTable
from redheart.errors import OutOfMemory
from redheart.storage import read_json
from redheart.training import accumulation as accumulation_module
from redheart.training import loop as loop_module
from redheart.training.callbacks.callback import Callbacks
from redheart.training.callbacks.run import Run
from redheart.training.optimizer import build_optimizer
from tests.training.runs import furthest, make_loop, metrics, state_of, train, weights


class Calls(TorchDispatchMode):
    """Counts operators, and casts of weights to bf16."""

    def __init__(self, parameters: Any = ()) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._of = {one.data_ptr() for one in parameters}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.found[name] += 1
        if name == "_to_copy" and args[0].data_ptr() in self._of and (kwargs or {}).get("dtype") == torch.bfloat16:
            self.found["cast of a weight"] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def other_precision() -> Iterator[None]:
    """Accelerate takes one precision a process."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("other_precision")
def test_weights_are_cast_once_a_step_and_not_once_a_piece_and_no_bit_of_a_gradient_changes(
    settings: Any, table: SituationTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    casts, gradients = [], []
    for pieces, keeps in ((1, True), (4, True), (4, False)):
        config = settings(global_batch_size=16, gradient_accumulation_steps=pieces, precision="bf16")
        loop = make_loop(config, table)
        assert loop.engine.precision == "bf16"
        if not keeps:
            monkeypatch.setattr(type(loop.engine), "keeping_casts", lambda self: contextlib.nullcontext())
        with Calls(loop.engine.unwrapped.parameters()) as calls:
            loop._accumulate(loop.train[:16])
        casts.append(calls.found["cast of a weight"])
        gradients.append({name: one.clone() for name, one in loop.engine.gradients() if one is not None})
    assert casts[0] > 50 and casts[2] == 4 * casts[0]
    assert casts[1] < 1.2 * casts[0], "a few read a view of a weight, whose casts PyTorch does not keep"
    assert all(torch.equal(gradients[1][name], one) for name, one in gradients[2].items())


@pytest.mark.usefixtures("other_precision")
def test_casts_do_not_outlive_the_step_that_changes_the_weights(settings: Any, table: SituationTable) -> None:
    """The second step's loss, in bf16 from weights that are kept in fp32, is that of weights that were taken up anew."""
    config = settings(global_batch_size=16, gradient_accumulation_steps=2, precision="bf16")
    loop = make_loop(config, table, 1e-2)
    steps = loop.epoch(1)
    next(steps)
    fresh = make_loop(config, table, 1e-2)
    fresh.engine.unwrapped.load_state_dict(state_of(loop))
    fresh.global_step = loop.global_step
    second = next(steps)
    assert float(fresh._accumulate(second.batch).total) == second.loss


def test_norms_are_taken_once_a_step_and_read_in_one_copy(
    settings: Any, table: SituationTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = make_loop(settings(global_batch_size=16), table)
    steps = loop.epoch(1)
    next(steps)
    copies: list[int] = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: copies.append(self.numel()) or tolist(self))
    with Calls() as calls:
        step = next(steps)
    tensors = sum(1 for _ in loop.engine.unwrapped.parameters())
    assert step.module_norms and step.gradient_norm is not None
    assert calls.found["_foreach_norm"] == 1 and calls.found["linalg_vector_norm"] == 0
    assert copies == [1 + len(step.terms) + tensors] and calls.found["_local_scalar_dense"] == 0
    assert calls.found["_fused_adamw_"] > 0


def test_an_optimizer_is_fused_on_the_cpu_too(settings: Any, table: SituationTable) -> None:
    loop = make_loop(settings(), table)
    optimizer = build_optimizer(loop.engine.unwrapped, 1e-3, loop.config)
    assert all(group["fused"] for group in optimizer.param_groups)


def test_no_thread_outlives_an_epoch_that_is_left(settings: Any, table: SituationTable) -> None:
    def left() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name.startswith("batches")]

    loop = make_loop(settings(global_batch_size=8), table)
    run = Run(settings(), loop, 2)

    def stop_after_the_first() -> None:
        for _ in Callbacks([]).around_steps(run):
            assert left()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_after_the_first()
    assert not left()
    for _ in Callbacks([]).around_steps(run):
        pass
    assert not left()


class TestMemory:
    """The optimizer's first step makes its state; it is made beforehand, so that a step can be taken again."""

    @staticmethod
    def plant(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        """The third moment that is made does not fit, so many times."""
        left, made, zeros_like = times, 0, torch.zeros_like

        def planted(tensor: torch.Tensor, **options: Any) -> torch.Tensor:
            nonlocal left, made
            if left and options.get("memory_format") is torch.preserve_format:
                made += 1
                if made == 3:
                    left, made = left - 1, 0
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 GiB")
            return zeros_like(tensor, **options)

        monkeypatch.setattr(torch, "zeros_like", planted)

    def test_a_state_that_does_not_fit_beside_the_pieces_is_made_beside_smaller_ones(
        self, dataset: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        train(dataset, tmp_path / "roomy", settings(epochs=1, micro_batch_size=8))
        self.plant(monkeypatch, 1)
        train(dataset, tmp_path / "tight", settings(epochs=1))
        for line, expected in zip(metrics(tmp_path / "tight"), metrics(tmp_path / "roomy"), strict=True):
            assert line["train"]["loss"] == pytest.approx(expected["train"]["loss"], rel=1e-5)
        assert furthest(weights(tmp_path / "tight"), weights(tmp_path / "roomy")) < 1e-6
        (event,) = read_json(tmp_path / "tight" / "oom_stats" / "oom_stats.json")["events"]
        assert (event["rank"], event["phase"], event["global_step"]) == (0, "optimizer", 0)
        assert event["host_bytes_before"] > 0 and event["host_bytes_after"] > 0

    def test_no_part_of_a_state_stays_that_does_not_fit(
        self, settings: Any, table: SituationTable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop = make_loop(settings(), table)
        self.plant(monkeypatch, 100)
        with pytest.raises(OutOfMemory, match=r"optimizer's state .* twice the memory .*`redheart plan`"):
            list(loop.epoch(1))
        assert not loop.engine.optimizer_state()
        assert [one.smaller_micro_batch_size for one in loop.oom.events] == [8, 4, 2, 1, None]

    @pytest.mark.parametrize("place", ["gathering", "gradients"])
    def test_what_runs_out_beside_the_passes_is_taken_again_too(
        self, place: str, dataset: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        train(dataset, tmp_path / "roomy", settings(epochs=1, micro_batch_size=8))
        failed: list[int] = []
        measure = loop_module.measure_gradients

        def short_of_norms(*arguments: Any) -> Any:
            if not failed:
                failed.append(1)
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 GiB")
            return measure(*arguments)

        if place == "gathering":
            monkeypatch.setattr(prepared_module, "prepare_batch", _refusing)
            monkeypatch.setattr(accumulation_module, "prepare_batch", _refusing_once())
        else:
            monkeypatch.setattr(loop_module, "measure_gradients", short_of_norms)
        train(dataset, tmp_path / "tight", settings(epochs=1))
        for line, expected in zip(metrics(tmp_path / "tight"), metrics(tmp_path / "roomy"), strict=True):
            assert line["train"]["loss"] == pytest.approx(expected["train"]["loss"], rel=1e-5)
        assert furthest(weights(tmp_path / "tight"), weights(tmp_path / "roomy")) < 1e-6
        (event,) = read_json(tmp_path / "tight" / "oom_stats" / "oom_stats.json")["events"]
        assert (event["phase"], event["global_step"]) == (place, 0)


def _refusing(*_: Any, **__: Any) -> Any:
    raise MemoryError("Unable to allocate 4.00 GiB")


def _refusing_once() -> Any:
    """At first; then it gathers."""
    left = [1]
    return lambda *given, **more: _refusing() if left and left.pop() else prepare_batch(*given, **more)
