"""What follows where a training runs out of memory: it is remembered, one line says what goes on, and a run is cut as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from redheart.batches.order import BatchGeometry
from redheart.config import Config, load_config, with_settings
from redheart.embedding import EmbeddedDataset, open_embedded
from redheart.engine.plain import PlainEngine
from redheart.errors import Interrupted, OutOfMemory, TrainingError
from redheart.launching.supervisor import Supervisor
from redheart.launching.verdict import Verdict
from redheart.machine import GIB, Gpu
from redheart.plan import remembered
from redheart.training.run_folder import read_run
from redheart.training.trainer import Trainer
from redheart.workflow import memory, stages
from redheart.workflow.examinations.plan import plan_training
from redheart.workflow.memory import first_cut, told_of_memory
from tests.plan.test_choice import plan as plan_of
from tests.training.small_data import write_embedded

SETTINGS = ["model.preset=tiny", "training.epochs=1", "training.global_batch_size=16", "training.linear_start=false"]
SETTINGS += ["training.liveness_steps=0", "training.learning_rate=1e-3"]


@pytest.fixture
def dataset(tmp_path: Path) -> EmbeddedDataset:
    torch.set_num_threads(1)
    return open_embedded(write_embedded(tmp_path))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDHEART_CACHE", str(tmp_path / "cache"))


def settings(output: Path, *more: str) -> Config:
    return load_config(None, [*SETTINGS, f"output={output}", *more])


def cut_of(output: Path) -> int | None:
    there = read_run(output)
    assert there is not None
    return there.micro_batch_size


def plant(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """No more than so many situations fit."""
    backward = PlainEngine.backward

    def short(self: PlainEngine, loss: torch.Tensor, *, is_last: bool) -> None:
        if self.geometry.micro_batch_size > most:
            raise MemoryError("Unable to allocate 2.00 GiB")
        backward(self, loss, is_last=is_last)

    monkeypatch.setattr(PlainEngine, "backward", short)


def test_the_next_training_begins_with_what_fitted_and_one_that_is_told_otherwise_does_not(
    tmp_path: Path, dataset: EmbeddedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        plant(patch, 4)
        stages.train(settings(tmp_path / "first"), dataset)
    assert cut_of(tmp_path / "first") == 4
    stages.train(settings(tmp_path / "next"), dataset)
    assert cut_of(tmp_path / "next") == 4
    stages.train(settings(tmp_path / "told", "training.micro_batch_size=16"), dataset)
    assert cut_of(tmp_path / "told") == 16
    remembered.cache_file().unlink()
    stages.train(settings(tmp_path / "forgotten"), dataset)
    assert cut_of(tmp_path / "forgotten") == 16


def test_what_the_probe_finds_is_begun_with_and_costs_once_and_its_failure_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = [TrainingError("no card"), None, 8]
    asked: list[dict[str, Any]] = []

    def probe(config: Config, **how: Any) -> int | None:
        assert not how.pop("should_stop")()
        asked.append(how)
        one = found.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr("redheart.probe.largest.largest_that_fits", probe)
    config = settings(tmp_path / "out", "training.probe_memory=true")
    plan = plan_training(config)
    assert [first_cut(plan, config) for _ in range(4)] == [16, 1, 8, 8]
    assert len(asked) == 3 and asked[0] == {"launch_file": None, "processes": 1, "segments": 16, "d_embed": 384}
    for probe_memory in ("null", "false"):
        first_cut(plan, settings(tmp_path / "out", f"training.probe_memory={probe_memory}", "training.precision=bf16"))
    request = [False]
    found.append(Interrupted("stopped"))
    monkeypatch.setattr(memory, "recall", lambda key: None)
    with pytest.raises(Interrupted):
        first_cut(plan, config, should_stop=lambda: request[0])
    asked.pop()
    assert len(asked) == 3, "without a GPU only where it is asked for"


def test_on_a_gpu_it_is_probed_where_the_estimate_comes_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "find_gpus", lambda: (Gpu("card", GIB, GIB),))
    assert memory._is_to_be_probed(plan_of(1, 14, 64), Config())
    assert not memory._is_to_be_probed(plan_of(1, 80, 128), Config())
    assert not memory._is_to_be_probed(plan_of(1, 14, 64), with_settings(Config(), {"training.probe_memory": False}))


def test_where_one_situation_does_not_fit_train_names_what_goes_on_and_a_workflow_goes_on(
    tmp_path: Path, dataset: EmbeddedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, 0)
    config = settings(tmp_path / "out")
    with pytest.raises(OutOfMemory, match=r"one situation.*`redheart launch train --config \S+config.yaml` goes on"):
        stages.train(config, dataset)
    taken: list[Verdict] = []
    monkeypatch.setattr(Supervisor, "run", lambda self: taken.append(self._before))
    stages.train_on(config, dataset)
    (verdict,) = taken
    assert (verdict.kind, verdict.memory) == ("out_of_memory", "host")
    assert verdict.place is not None and verdict.place.smaller_micro_batch_size is None
    assert (verdict.place.step, verdict.place.phase) == (0, "backward")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of host memory outside a step (MemoryError)"),
        (OSError(12, "Cannot allocate memory"), "out of host memory outside a step"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of device memory outside a step"),
    ],
)
def test_whatever_raises_it_it_is_one_line_with_our_exit_code(tmp_path: Path, error: Exception, said: str) -> None:
    with pytest.raises(OutOfMemory) as found, told_of_memory(settings(tmp_path / "out"), is_alone=True):
        raise error
    assert said in str(found.value) and "redheart launch train --output" in str(found.value)
    assert "\n" not in str(found.value)


def test_what_is_no_want_of_memory_stays_what_it_is(tmp_path: Path) -> None:
    for error in (RuntimeError("shapes"), OSError(28, "No space left on device"), OutOfMemory("730m: nothing fits.")):
        with pytest.raises(type(error)) as found, told_of_memory(settings(tmp_path / "out"), is_alone=True):
            raise error
        assert found.value is error


@pytest.mark.parametrize(
    ("before", "now", "asked", "expected"),
    [
        (4, 16, {}, 4),
        (16, 4, {}, 4),
        (3, 16, {}, 16),
        (None, 16, {}, 16),
        (4, 16, {"training.micro_batch_size": 16}, 16),
        (4, 16, {"training.gradient_accumulation_steps": 1}, 16),
    ],
)
def test_a_run_that_goes_on_is_cut_as_it_was_where_memory_allows_and_nothing_else_is_asked_for(
    before: int | None, now: int, asked: dict[str, Any], expected: int
) -> None:
    engine: Any = SimpleNamespace(can_recut_batches=True, geometry=BatchGeometry(now, 32 // now, 2))
    trainer: Any = SimpleNamespace(config=with_settings(Config(), asked))
    Trainer._cut_as_before(trainer, engine, before)
    assert engine.geometry == BatchGeometry(expected, 32 // expected, 2)
    sharded: Any = SimpleNamespace(can_recut_batches=False, geometry=BatchGeometry(now, 32 // now, 2))
    Trainer._cut_as_before(trainer, sharded, before)
    assert sharded.geometry.micro_batch_size == now
