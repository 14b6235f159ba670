"""States and snapshots on a CUDA device: a run goes on to the same bits, and a copy is of its step while training goes on.

Bodies ask the engine for its device, so that they run on a CPU too; what only a CUDA device has is asked of one alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from redheart.batches.table import SituationTable
from redheart.checkpoint import load_modules, read_manifest
from redheart.checkpoint.epoch import EpochWriter
from redheart.checkpoint.module_files import ModuleFiles, Run
from redheart.config import Config, load_config
from redheart.errors import Interrupted
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import Run as TrainingRun
from redheart.training.loop import TrainingLoop
from redheart.training.saving.snapshot import HostCopy, Snapshots
from redheart.training.step_result import Step
from tests.checkpoint.states import MANIFEST, same_bits
from tests.training.runs import furthest, make_loop, metrics, state_of, train, weights
from tests.training.small_data import write_embedded

ON_CUDA = torch.cuda.is_available()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not ON_CUDA, reason="there is no CUDA device")]

if ON_CUDA:  # read when cuBLAS is used first, which no test has done while all are collected
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedded(tmp_path_factory.mktemp("data"))


@pytest.fixture
def table(dataset: Path) -> SituationTable:
    return SituationTable.open(dataset)


@pytest.fixture(autouse=True)
def another_precision() -> None:
    """Or Accelerate takes no second one in one process."""
    AcceleratorState._reset_state()


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Kernels that give the same bits each time, where there are such; of others PyTorch warns."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def settings(**training: object) -> Config:
    chosen = {"epochs": 2, "global_batch_size": 16, "ema_decay": 0.5, "precision": "no", **training}
    overrides = [(f"training.{key}", value) for key, value in chosen.items()]
    return load_config(None, [*overrides, ("model.preset", "tiny"), ("model.dropout", 0.1)])


class StopAfter(Callback):
    """Asks for a stop behind an optimizer step of the run."""

    def __init__(self, step: int) -> None:
        self._step, self.is_asked = step, False

    def after_step(self, run: TrainingRun, step: Step) -> None:
        self.is_asked |= step.global_step == self._step


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.usefixtures("deterministic")
def test_a_stopped_run_goes_on_to_the_same_bits(dataset: Path, tmp_path: Path, precision: str) -> None:
    config = settings(precision=precision)
    for name in ("undisturbed", "again"):
        train(dataset, tmp_path / name, config)
    expected, again = (weights(tmp_path / name) for name in ("undisturbed", "again"))
    if not same_bits(expected, again):
        pytest.skip(f"here no run is repeated to the bit: two apart by {furthest(expected, again):.1e}")
    stop = StopAfter(4)  # within the second epoch of three steps each
    with pytest.raises(Interrupted, match="epoch 2, batch 1"):
        train(dataset, tmp_path / "stopped", config, should_stop=lambda: stop.is_asked, callbacks=[stop])
    train(dataset, tmp_path / "stopped", config)
    for epoch in (1, 2):
        assert same_bits(weights(tmp_path / "stopped", epoch), weights(tmp_path / "undisturbed", epoch))
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "undisturbed")


def test_a_snapshot_is_of_its_step_while_training_goes_on(
    table: SituationTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, since the room for the copy is used again; nothing is written before the next steps are taken."""
    may_write, write = threading.Event(), ModuleFiles.write

    def later(self: ModuleFiles, runs: list[Run]) -> None:
        assert may_write.wait(60)
        write(self, runs)

    monkeypatch.setattr(ModuleFiles, "write", later)
    loop, snapshots = make_loop(settings(ema_decay=0), table), Snapshots("fp32")
    for _ in range(2):
        list(loop.epoch(1))
        kept = state_of(loop)
        may_write.clear()
        path = snapshots.begin(loop, lambda forms: EpochWriter.of(tmp_path, 1, forms, MANIFEST))
        list(loop.epoch(1))
        assert furthest(state_of(loop), kept) > 1e-4 and not path.exists(), "training went on meanwhile"
        may_write.set()
        snapshots.wait(loop.engine)
        read_manifest(path)
        assert same_bits(load_modules(path), kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_copy_of_the_weights_lies_in_pinned_memory_that_is_used_again(
    table: SituationTable, dtype: torch.dtype
) -> None:
    loop, copy = make_loop(settings(), table), HostCopy(dtype)
    shards = loop.engine.held_shards()
    places = []
    for _ in range(2):
        list(loop.epoch(1))
        runs = copy.take(shards, loop.kept_values())
        assert all(run.values.is_pinned() for run in runs) or loop.engine.device.type == "cpu"
        assert all(torch.equal(run.values, loop.kept_values()[run.name].to("cpu", dtype)) for run in runs)
        places.append([run.values.data_ptr() for run in runs])
    assert places[0] == places[1] and copy.bytes_missing(shards) == 0


def optimizer_state(loop: TrainingLoop) -> dict[str, dict[str, Any]]:
    engine: Any = loop.engine
    return {name: engine.optimizer_state()[one] for name, one in engine.unwrapped.named_parameters()}


def test_what_the_fused_optimizer_keeps_comes_back_to_the_device_that_it_lay_on(
    table: SituationTable, tmp_path: Path
) -> None:
    loop = make_loop(settings(), table)
    on_device = loop.engine.device.type
    assert any(group.get("fused") for group in loop.engine.optimizer.param_groups) == (on_device == "cuda")
    list(loop.epoch(1))
    loop.engine.save_state(tmp_path / "engine", loop.average_by_kind())
    before = {name: {key: one.clone() for key, one in of.items()} for name, of in optimizer_state(loop).items()}
    drawn = torch.rand(4, device=loop.engine.device)
    list(loop.epoch(1))
    loop.engine.load_state(tmp_path / "engine", loop.average_by_kind())
    assert torch.equal(torch.rand(4, device=loop.engine.device), drawn), "the device's generator too"
    after = optimizer_state(loop)
    assert after.keys() == before.keys()
    for name, of in after.items():
        assert {key: one.device.type for key, one in of.items()} == {key: on_device for key in of}, name
        assert of["step"] == 3 and all(torch.equal(of[key], before[name][key]) for key in before[name]), name
    list(loop.epoch(1))  # and it takes steps with them


@pytest.mark.skipif(not ON_CUDA, reason="fp16 needs a CUDA device")
def test_fp16_s_loss_scale_comes_back(table: SituationTable, tmp_path: Path) -> None:
    loop = make_loop(settings(precision="fp16"), table)
    list(loop.epoch(1))
    engine: Any = loop.engine
    kept = engine.loss_scale()
    engine.save_state(tmp_path / "engine", loop.average_by_kind())
    for factor in (2.0, 0.5):
        engine.set_loss_scale(type(kept)(kept.scale * factor, 0))
        assert engine.loss_scale() != kept
        engine.load_state(tmp_path / "engine", loop.average_by_kind())
        assert engine.loss_scale() == kept
    list(loop.epoch(1))
