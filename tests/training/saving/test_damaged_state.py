"""States whose files are what their manifest says, and that no run can go on from all the same: each is named, none goes on wrongly."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from redheart.batches.table import SituationTable
from redheart.config import Config, load_config
from redheart.engine.accelerated import AcceleratedEngine
from redheart.engine.factory import make_engine
from redheart.errors import Interrupted, StorageError
from redheart.model.presets import dimensions
from redheart.storage import read_json, sha256_of, write_json
from redheart.storage.seal import write_sealed
from redheart.training.saving.resume_state import newest_state
from tests.training.runs import train


@pytest.fixture(scope="module")
def stopped(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped behind the first step of its second epoch."""
    output = tmp_path_factory.mktemp("stopped") / "out"
    answers = iter([False] * 4)
    with pytest.raises(Interrupted, match="epoch 2, batch 1"):
        train(dataset, output, _config(), should_stop=lambda: next(answers, True))
    return output


def _config() -> Config:
    own = ["training.epochs=2", "training.global_batch_size=16", "training.linear_start=false"]
    return load_config(None, [*own, "model.preset=tiny", "training.save_every_minutes=100"])


@pytest.fixture
def state(stopped: Path, tmp_path: Path) -> Path:
    """Its state, the only one, in a copy."""
    output = Path(shutil.copytree(stopped, tmp_path / "out"))
    (found,) = (output / "checkpoints" / "resume").glob("state_*")
    return found


def agree(state: Path, file: Path) -> None:
    """The manifest says what lies there now."""
    manifest = read_json(state / "manifest.json")
    manifest["files"][str(file.relative_to(state))] = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    write_sealed(state / "manifest.json", manifest)


def goes_on(dataset: Path, state: Path) -> None:
    train(dataset, state.parents[2], _config())


@pytest.mark.parametrize(
    "changed, found",
    [
        ({"batches_done": 2}, "epoch 2, batch 2 and global_step 4, wanted at most 3 batches and 5 steps"),
        ({"global_step": 5}, "epoch 2, batch 1 and global_step 5, wanted at most 3 batches and 4 steps"),
        ({"batches_done": 4, "global_step": 7}, "epoch 2, batch 4 and global_step 7, wanted at most 3 batches"),
    ],
)
def test_counters_that_do_not_fit_each_other_are_refused_with_the_cure(
    dataset: Path, state: Path, changed: dict[str, int], found: str
) -> None:
    """As a flipped bit leaves them in a state of before manifests had a checksum of their own."""
    manifest = read_json(state / "manifest.json")
    del manifest["checksum"]
    write_json(state / "manifest.json", {**manifest, "cursor": manifest["cursor"] | changed})
    with pytest.raises(StorageError) as refused:
        goes_on(dataset, state)
    assert f"{state / 'manifest.json'}: cursor: found {found}" in str(refused.value)
    assert f"remove {state} to go on from the one before it" in str(refused.value)


@pytest.mark.parametrize("changed", [{"epoch": 0}, {"batches_done": -1}, {"global_step": -3}])
def test_counters_that_none_can_be_are_passed_over(
    dataset: Path, state: Path, changed: dict[str, int], logged: Callable[[], str]
) -> None:
    manifest = read_json(state / "manifest.json")
    write_sealed(state / "manifest.json", {**manifest, "cursor": manifest["cursor"] | changed})
    answers = iter([False] * 2)
    with pytest.raises(Interrupted):
        train(dataset, state.parents[2], _config(), should_stop=lambda: next(answers, True))
    name = next(iter(changed))
    assert f"{state / 'manifest.json'}: not the manifest of a resume state: cursor: {name}: found" in logged()


@pytest.mark.parametrize("torch_cpu, said", [("AAAA", "RNG state"), ("", "must not be 0")])
def test_generators_of_another_version_are_named_with_their_file(
    dataset: Path, state: Path, torch_cpu: str, said: str
) -> None:
    file = state / "engine" / "random_0000.json"
    write_json(file, {**read_json(file), "torch_cpu": torch_cpu})
    agree(state, file)
    with pytest.raises(StorageError, match=rf"random_0000\.json: no states of this version's random .*{said}.*--force"):
        goes_on(dataset, state)


def test_a_moment_that_is_not_there_of_a_parameter_that_took_steps_is_named(dataset: Path, state: Path) -> None:
    file = state / "engine" / "slices_0000.safetensors"
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    tensors.pop("exp_avg_sq/backbone.kind.weight")
    save_file(tensors, str(file), metadata)
    agree(state, file)
    with pytest.raises(StorageError, match=r"found no exp_avg_sq of 'backbone\.kind\.weight' in slices_\*"):
        goes_on(dataset, state)


def test_which_epochs_are_lost_is_for_the_first_process_to_say(
    state: Path, table: SituationTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that looked for itself, on a network's file system, might go another way, and wait there for ever."""
    engine = make_engine(_config())
    asked: list[bool] = []
    monkeypatch.setattr(type(engine), "is_main", property(lambda self: False))
    monkeypatch.setattr(engine, "sum_over_processes", lambda values: values + 1)  # the state's number
    monkeypatch.setattr(engine, "any_rank", lambda flag: bool(asked.append(flag)))

    def lost(epoch: int) -> list[int]:
        raise AssertionError("asked of another than the first")

    run = read_json(state / "manifest.json")["cursor"]["run"]
    shape = dimensions("tiny", d_embed=table.d_embed, dropout=_config().model.dropout)
    found = newest_state(state.parents[2], run, engine, shape, lost=lost)
    assert found is not None and found.path == state and asked == [False]


def test_a_state_that_lacks_a_process_s_file_is_not_published(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state = AcceleratedEngine.save_state

    def lacking(self: AcceleratedEngine, folder: Path, beside: dict[str, Any]) -> None:
        save_state(self, folder, beside)
        (folder / "random_0000.json").unlink()

    monkeypatch.setattr(AcceleratedEngine, "save_state", lacking)
    with pytest.raises(
        StorageError, match=r"state_000001: resume state not written: .*found no random_0000\.json, wanted"
    ):
        train(dataset, tmp_path / "out", _config(), should_stop=lambda: True)
    assert not list((tmp_path / "out" / "checkpoints" / "resume").iterdir())
