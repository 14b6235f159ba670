"""Snapshots: of the moment at which they were taken, whatever training does meanwhile; whole, or not there and told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from redheart.batches.table import SituationTable
from redheart.checkpoint import list_epochs, load_modules, read_manifest
from redheart.checkpoint.epoch import EpochWriter
from redheart.checkpoint.module_files import ModuleFiles, Run, forms_of, whole
from redheart.checkpoint.restore import restore_model
from redheart.config import Config
from redheart.errors import Interrupted, StorageError
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import EpochEnd
from redheart.training.callbacks.run import Run as TrainingRun
from redheart.training.saving import snapshot
from redheart.training.saving.snapshot import Snapshots, SnapshotWrite
from redheart.training.step_result import Step
from tests.checkpoint.states import MANIFEST, a_state, same_bits
from tests.training.runs import furthest, make_loop, state_of, train, weights


def writer_at(output: Path) -> Callable[..., EpochWriter]:
    return lambda forms: EpochWriter.of(output, 1, forms, MANIFEST)


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before this is set."""
    event, write = threading.Event(), ModuleFiles.write

    def later(self: ModuleFiles, runs: list[Run]) -> None:
        assert event.wait(30)
        write(self, runs)

    monkeypatch.setattr(ModuleFiles, "write", later)
    return event


def test_it_is_of_the_moment_at_which_it_was_taken(
    table: SituationTable, settings: Callable[..., Config], tmp_path: Path, held_up: threading.Event
) -> None:
    """Twice, since the room for the copy is used again; with the average of the weights, which is what is kept."""
    loop = make_loop(settings(ema_decay=0.5), table)
    snapshots = Snapshots("fp32")
    for _ in range(2):
        list(loop.epoch(1))
        with loop.evaluated_weights():
            kept = state_of(loop)
        held_up.clear()
        path = snapshots.begin(loop, writer_at(tmp_path))
        snapshots.look(loop.engine)
        list(loop.epoch(1))
        assert not path.exists()
        held_up.set()
        snapshots.wait(loop.engine)
        read_manifest(path)
        assert same_bits(load_modules(path), kept)
        with loop.evaluated_weights():
            assert furthest(state_of(loop), kept) > 1e-4, "training went on meanwhile"


def test_where_memory_has_no_room_for_a_copy_training_waits_and_that_is_said_once(
    table: SituationTable,
    settings: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], str],
) -> None:
    monkeypatch.setattr(snapshot, "host_memory", lambda: 1 << 28)
    loop = make_loop(settings(), table)
    snapshots = Snapshots("fp32")
    for _ in range(2):
        path = snapshots.begin(loop, writer_at(tmp_path))
        assert path.exists(), "it is there before training goes on"
    snapshots.wait(loop.engine)
    assert same_bits(load_modules(path), state_of(loop))
    assert logged().count("메모리가 부족하여(0.2 GiB 남음, 0.5 GiB 필요)") == 1


def test_where_memory_for_a_copy_can_not_be_had_after_all_training_waits_too(
    table: SituationTable, settings: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: out of memory")

    loop = make_loop(settings(), table)
    monkeypatch.setattr(snapshot.torch, "empty", nothing)
    path = Snapshots("fp32").begin(loop, writer_at(tmp_path))
    assert same_bits(load_modules(path), state_of(loop))


def test_a_writer_that_fails_is_told_at_the_next_step_and_what_was_there_is_intact(
    dataset: Path, settings: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, steps = ModuleFiles.write, []

    def full(self: ModuleFiles, runs: list[Run]) -> None:
        if "epoch_0002" in str(self.folder):
            raise OSError(28, "No space left on device")
        write(self, runs)

    class Steps(Callback):
        def after_step(self, run: TrainingRun, step: Step) -> None:
            steps.append((step.epoch, step.batch_index))

    monkeypatch.setattr(ModuleFiles, "write", full)
    output = tmp_path / "out"
    with pytest.raises(
        StorageError, match=r"epoch_0002: checkpoint not written: No space left on device \(\d+ MiB are needed\)"
    ):
        train(dataset, output, settings(epochs=4, save_every_minutes=100), callbacks=[Steps()])
    assert steps[-1][0] == 3 or steps[-1] == (2, 2), "told within the next epoch, or at its first step"
    assert [found.epoch for found in list_epochs(output, verify=True)] == [1]
    assert not list((output / "checkpoints").glob(".*"))


def test_a_stop_that_a_callback_hears_leaves_the_epoch_whole_and_no_thread_behind(
    dataset: Path, settings: Callable[..., Config], tmp_path: Path, held_up: threading.Event
) -> None:
    """As where it scores the weights itself: nothing of the run comes after it but its close."""

    class Stopped(Callback):
        def after_epoch(self, run: TrainingRun, end: EpochEnd) -> None:
            threading.Timer(0.3, held_up.set).start()
            raise Interrupted("stopped while evaluating")

    with pytest.raises(Interrupted, match="while evaluating"):
        config = settings(epochs=2, save_every_minutes=100, linear_start=False)
        train(dataset, tmp_path / "out", config, callbacks=[Stopped()])
    assert "snapshot" not in [thread.name for thread in threading.enumerate()]
    assert [found.epoch for found in list_epochs(tmp_path / "out", verify=True)] == [1]
    assert not list((tmp_path / "out" / "checkpoints").glob(".*"))


def test_bf16_takes_half_the_room_and_is_the_rounded_weights(
    dataset: Path, settings: Callable[..., Config], tmp_path: Path
) -> None:
    for dtype in ("fp32", "bf16"):
        train(dataset, tmp_path / dtype, settings(epochs=1, checkpoint_dtype=dtype))
    exact, rounded = weights(tmp_path / "fp32"), weights(tmp_path / "bf16")
    (half,), (full,) = list_epochs(tmp_path / "bf16"), list_epochs(tmp_path / "fp32")
    sizes = [sum(entry.bytes for entry in one.manifest.files.values()) for one in (half, full)]
    assert 0.45 < sizes[0] / sizes[1] < 0.56 and half.manifest.dtype == "bfloat16/float32"
    parameters = dict(restore_model(full.path).named_parameters())
    for name, tensor in rounded.items():
        assert torch.equal(tensor, exact[name].to(torch.bfloat16) if name in parameters else exact[name])
    restored = restore_model(half.path)
    assert all(one.dtype == torch.float32 for one in restored.parameters())


def halves(state: dict[str, torch.Tensor], rank: int) -> list[Run]:
    """What each of two processes holds: the first the smaller part of every tensor."""
    runs = []
    for name, _, values in whole(state):
        cut = len(values) // 3
        runs.append(Run(name, 0, values[:cut]) if rank == 0 else Run(name, cut, values[cut:]))
    return runs


def test_two_processes_fill_one_folder_and_the_first_publishes_when_both_are_done(
    tmp_path: Path, held_up: threading.Event
) -> None:
    state = a_state(3)
    writer = EpochWriter.of(tmp_path, 1, forms_of(state), MANIFEST)
    writer.folder.create()
    first, second = (SnapshotWrite(writer, halves(state, rank), rank=rank, ranks=range(2)) for rank in (0, 1))
    held_up.set()
    first.start()
    first.wait(0.3)
    assert first.is_under_way and not list_epochs(tmp_path)
    second.run()
    first.wait(30)
    assert first.failure is None and second.failure is None and second.published is None
    (found,) = list_epochs(tmp_path, verify=True)
    assert same_bits(load_modules(found.path), state)
    assert sorted(path.name for path in found.path.iterdir()) == sorted([*found.manifest.files, "manifest.json"])


@pytest.mark.parametrize("how", ["fails", "is gone"])
def test_where_the_other_process_fails_or_is_gone_nothing_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(snapshot, "_PATIENCE", 0.2)
    state = a_state(3)
    writer = EpochWriter.of(tmp_path, 1, forms_of(state), MANIFEST)
    writer.folder.create()
    first = SnapshotWrite(writer, halves(state, 0), rank=0, ranks=range(2))
    first.start()
    if how == "fails":
        bad = SnapshotWrite(writer, [Run("phases.weight", 10**9, torch.ones(1))], rank=1, ranks=range(2))
        bad.run()
        assert isinstance(bad.failure, ValueError) and "has no room for 1 numbers from 1000000000 on" in str(
            bad.failure
        )
        first.wait(30)
    else:
        first.give_up(is_alone=False)
        first.wait(30)  # where others are at work too, it takes longer to end than it is waited for
    assert isinstance(first.failure, StorageError) and "epoch_0001: checkpoint not written: process" in str(
        first.failure
    )
    assert first.published is None and not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize("generation, name", [(3, "epoch_0001.g3"), (2, "epoch_0001.g2"), (1, "epoch_0001")])
def test_a_process_that_sees_other_folders_writes_into_that_of_the_first_one(
    table: SituationTable,
    settings: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    generation: int,
    name: str,
) -> None:
    """On a network's file system: here one generation is seen, there two, or none."""
    (tmp_path / "checkpoints" / "epoch_0001").mkdir(parents=True)
    loop = make_loop(settings(), table)
    monkeypatch.setattr(type(loop.engine), "is_main", property(lambda self: False))
    monkeypatch.setattr(loop.engine, "sum_over_processes", lambda values: values + generation)
    assert Snapshots("fp32").begin(loop, writer_at(tmp_path)) == tmp_path / "checkpoints" / name
