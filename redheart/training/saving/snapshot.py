"""Snapshots of the weights that are kept, taken in a moment and written while training goes on.

Each process copies the numbers that it holds to host memory, and a thread of its own puts them into the files of the epoch's
folder (see ``checkpoint/module_files.py``). The thread of the first process waits for the others', and publishes the folder.
Threads talk to nobody: what others have done they see by files in the folder, since two threads of a process may not both
send to other processes.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from redheart.checkpoint.epoch import EpochCheckpoint, EpochWriter
from redheart.checkpoint.module_files import Run, forms_of, whole
from redheart.checkpoint.tensor_file import TensorForm
from redheart.engine.contract import Engine
from redheart.engine.shards import Shard
from redheart.errors import StorageError
from redheart.machine import host_memory
from redheart.messages import info
from redheart.training.loop import TrainingLoop
from redheart.training.saving.agreement import number_of_main

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
#: Bytes of host memory that have to stay free beside a copy.
_SPARE = 1 << 29
#: Seconds between two looks for what other processes have written.
_LOOK_EVERY = 0.02
#: Seconds that a failing run waits for other processes, which may be gone.
_PATIENCE = 60.0


class HostCopy:
    """Room in host memory for a process's share of the weights, made once, and filled for each snapshot.

    Args:
        dtype: of the copy.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._room: dict[str, Tensor] = {}

    def bytes_missing(self, shards: Mapping[str, Shard]) -> int:
        """Bytes of host memory that the next copy of ``shards`` needs and has not yet."""
        return sum(len(shard.values) * self.dtype.itemsize for name, shard in shards.items() if name not in self._room)

    def take(self, shards: Mapping[str, Shard], values: Mapping[str, Tensor]) -> list[Run]:
        """A copy of ``values``, ``(count,)`` each, which belong where ``shards`` say.

        Raises:
            RuntimeError, MemoryError: there is no room for it.
        """
        runs = []
        is_on_device = False
        for name, shard in shards.items():
            source = values[name]
            if name not in self._room:
                self._room[name] = torch.empty(len(source), dtype=self.dtype, pin_memory=source.is_cuda)
            runs.append(Run(name, shard.start, self._room[name].copy_(source, non_blocking=source.is_cuda)))
            is_on_device |= source.is_cuda
        if is_on_device:
            torch.cuda.synchronize()
        return runs


def forms_of_model(engine: Engine, outside: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, TensorForm]:
    """The forms of all tensors of a checkpoint: parameters in ``dtype``, and what the optimizer does not hold."""
    named = str(dtype).removeprefix("torch.")
    forms = {name: TensorForm(named, tuple(shape)) for name, shape in engine.weight_shapes().items()}
    buffers = {name: tensor for name, tensor in outside.items() if name not in forms}
    return forms | forms_of(buffers)


class SnapshotWrite:
    """The writing of an epoch's folder: this process's part of it, and on the first process its publication.

    Args:
        writer: its folder was created.
        runs: what this process puts in; not to be changed before the writing is done.
        rank, ranks: of this process, and of all that put something in; the first of them publishes.

    Attributes:
        failure: why this process's part ended; None where it did not, or is under way.
        published: the checkpoint, on the first process.
    """

    def __init__(self, writer: EpochWriter, runs: Sequence[Run], *, rank: int, ranks: Sequence[int]) -> None:
        self.writer = writer
        self.failure: BaseException | None = None
        self.published: EpochCheckpoint | None = None
        self._runs, self._rank, self._ranks = runs, rank, ranks
        self._is_abandoned = threading.Event()
        self._thread = threading.Thread(target=self._write, name="snapshot", daemon=True)

    def start(self) -> None:
        """Begins in a thread."""
        self._thread.start()

    def run(self) -> None:
        """Writes now, before it returns."""
        self._write()

    @property
    def is_under_way(self) -> bool:
        """Whether the thread has not come to its end."""
        return self._thread.is_alive()

    def wait(self, seconds: float | None = None) -> None:
        """Waits until this process's part is done."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def give_up(self, *, is_alone: bool) -> None:
        """Lets what is under way end, where the run has failed: for a while, if there are others, who may be gone."""
        self.wait(None if is_alone else _PATIENCE)
        self._is_abandoned.set()
        self.wait(_PATIENCE)

    def _marker(self, rank: int) -> Path:
        return self.writer.folder.temporary / f".written_by_{rank:04d}"

    def _write(self) -> None:
        folder = self.writer.folder
        try:
            with folder.naming():
                folder.files.write(self._runs)
                self._marker(self._rank).touch()
            if self._rank == self._ranks[0]:
                self._wait_for_others()
                for rank in self._ranks:
                    self._marker(rank).unlink(missing_ok=True)
                self.published = self.writer.publish()
        except BaseException as error:
            self.failure = error
            if self._rank == self._ranks[0]:
                folder.drop()
            else:
                with contextlib.suppress(OSError):
                    self._marker(self._rank).with_suffix(".failed").touch()

    def _wait_for_others(self) -> None:
        others = [self._marker(rank) for rank in self._ranks[1:]]
        while missing := [marker for marker in others if not marker.exists()]:
            failed = [marker.name for marker in missing if marker.with_suffix(".failed").exists()]
            if failed or self._is_abandoned.wait(_LOOK_EVERY):
                raise StorageError(
                    f"{self.writer.folder.target}: checkpoint not written: process "
                    f"{', '.join(name.rpartition('_')[2] for name in failed) or 'of another part'} failed or is gone"
                )


class Snapshots:
    """The snapshots of a run, one at a time. What is collective has to be called by every process.

    Args:
        dtype: of parameters, ``fp32`` or ``bf16``.
    """

    def __init__(self, dtype: str) -> None:
        self._copy = HostCopy(_DTYPES[dtype])
        self._pending: EpochWriter | None = None
        self._write: SnapshotWrite | None = None
        self._has_told = False

    def begin(
        self,
        loop: TrainingLoop,
        writer_of: Callable[[Mapping[str, TensorForm]], EpochWriter],
        *,
        in_background: bool = True,
    ) -> Path:
        """Takes a snapshot of the weights that are kept, and has it written. Collective.

        Args:
            writer_of: the writer of a folder with tensors of these forms.
            in_background: whether training may go on meanwhile; it waits too where memory has no room for a copy.

        Returns:
            The folder that it will be.

        Raises:
            StorageError: the folder could not be made, or what was under way could not be written; on every process.
        """
        engine = loop.engine
        self.wait(engine)
        shards, outside = engine.held_shards(), engine.outside_tensors()
        writer = writer_of(forms_of_model(engine, outside, self._copy.dtype))
        writer = writer.in_generation(number_of_main(engine, writer.generation))
        _agree(engine, _failure_of(writer.folder.create) if engine.is_main else None, writer)
        self._pending = writer
        if engine.is_main or engine.shards_state:
            values = loop.kept_values()
            copied = self._copied(engine, shards, values) if in_background else None
            here = [Run(name, shard.start, values[name]) for name, shard in shards.items()]
            runs = [*(here if copied is None else copied), *(whole(outside) if engine.is_main else [])]
            ranks = range(engine.world_size) if engine.shards_state else [0]
            self._write = SnapshotWrite(writer, runs, rank=engine.rank, ranks=ranks)
            if copied is None:
                self._write.run()
            else:
                self._write.start()
        return writer.folder.target

    def _copied(self, engine: Engine, shards: Mapping[str, Shard], values: Mapping[str, Tensor]) -> list[Run] | None:
        """A copy; None where host memory has no room for it, which is said once."""
        missing = self._copy.bytes_missing(shards)
        needed = missing * (engine.world_size if engine.shards_state else 1) + _SPARE
        if not missing or (free := host_memory()) >= needed:
            # What the system counts as free may not be to be had in one piece, or pinned for the device.
            with contextlib.suppress(RuntimeError, MemoryError):
                return self._copy.take(shards, values)
            free = host_memory()
        if not self._has_told:
            self._has_told = True
            info("training.snapshot_waits", free=free / 2**30, needed=needed / 2**30)
        return None

    def look(self, engine: Engine) -> None:
        """Says that the snapshot was published, or raises why not, once that is so. Collective.

        Raises:
            StorageError: it could not be written; on every process, at the same moment.
        """
        if self._pending is None:
            return
        write = self._write
        mine = [float(write is not None and write.failure is not None), float(write is not None and write.is_under_way)]
        failed, under_way = engine.sum_over_processes(torch.tensor(mine, device=engine.device)).tolist()
        if failed or not under_way:
            self.wait(engine)

    def wait(self, engine: Engine, *, is_told: bool = True) -> None:
        """Waits until what is under way is published, and says so, if it ``is_told``. Collective.

        Raises:
            StorageError: it could not be written; on every process.
        """
        if self._pending is None:
            return
        writer, write = self._pending, self._write
        if write is not None:
            write.wait()  # what interrupts this finds it still under way
        self._pending = self._write = None
        _agree(engine, None if write is None else write.failure, writer)
        if engine.is_main and is_told:
            info("training.checkpoint", path=writer.folder.target)

    def give_up(self, engine: Engine) -> None:
        """Where the run has failed: lets what is under way end, if it can. Local."""
        write, self._pending, self._write = self._write, None, None
        if write is None:
            return
        write.give_up(is_alone=engine.world_size == 1)
        if write.published is not None:
            info("training.checkpoint", path=write.published.path)


def _failure_of(step: Callable[[], None]) -> Exception | None:
    try:
        step()
    except Exception as error:  # of any kind: the other processes must hear of it before it goes on its way
        return error
    return None


def _agree(engine: Engine, failure: BaseException | None, writer: EpochWriter) -> None:
    """Raises on every process where one has failed."""
    if not engine.any_rank(failure is not None):
        return
    raise failure or StorageError(
        f"{writer.folder.target}: checkpoint not written: another process failed; its message says why"
    )
