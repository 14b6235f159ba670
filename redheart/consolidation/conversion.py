"""The conversion of a checkpoint: planned and counted before a byte is written, two files at a time, and gone on with after a kill.

Beside the target lies meanwhile a folder ``.<target>.converting``: the files that are whole, and a journal with their hashes.
Who starts the same conversion again keeps those whose hashes are right. Nothing has the target's name before all is there.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from redheart.consolidation.number_types import asked_type
from redheart.consolidation.place import FILES, check_room, megabytes, sole_writer
from redheart.consolidation.reading import Reader
from redheart.consolidation.source import Record, Source
from redheart.consolidation.targets import ModuleFolder, PlannedFile, Target, Written, refuse_overlap, target_of
from redheart.consolidation.writers.written_file import WrittenFile
from redheart.errors import Interrupted, StorageError
from redheart.messages import info, text
from redheart.progress import Progress
from redheart.storage import append_line, fingerprint, read_lines, sha256_of
from redheart.storage.names import reason_of

WORKERS = 2
_JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote.

    Attributes:
        sha256: of one file; empty for a folder, whose manifest has them, and where nothing was hashed.
        kept: files that an earlier, killed conversion had written.
    """

    path: Path
    size: int
    sha256: str
    kept: int


def with_dtype(source: Source, dtype: str | None) -> Source:
    """The source with its floating-point numbers in another type; what was measured of it does not hold of that.

    Raises:
        UsageError: there is no such type.
    """
    asked = asked_type(dtype)
    tensors = {name: tensor.read_as(asked) for name, tensor in source.tensors.items()}
    facts = source.facts
    if facts is not None and any(one.dtype is not source.tensors[name].dtype for name, one in tensors.items()):
        facts = msgspec.structs.replace(facts, metrics=None)
    return replace(source, tensors=tensors, facts=facts)


def convert(
    source: Source,
    path: Path,
    *,
    dtype: str | None = None,
    is_checked: bool = True,
    is_hashed: bool = True,
    replaces: bool = False,
    workers: int = WORKERS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Converted:
    """Writes the weights of ``source`` as ``path``, whole or not at all.

    Args:
        path: a folder, or one file that ends in ``.safetensors``, ``.pth``, ``.pt`` or ``.bin``.
        dtype: ``"fp32"`` or ``"bf16"``, of floating-point numbers; None: each as it is.
        is_checked: compare the source's checksums, where it has any; for who has done so need not be done again.
        is_hashed: hash what is written. Without it, to measure: one file only.
        replaces: whatever ``path`` holds; for a name of our own in a run's folder.

    Raises:
        UsageError: ``path`` holds something else, or overlaps with the source.
        AnotherModel: a folder was asked for, and the source is no model of this project's modules.
        StorageError: the source is damaged, there is no room, or the target can't be written; what was there is intact.
        FolderInUse: another conversion writes the same target.
        Interrupted: it was asked to stop; what is whole is kept.
    """
    source = with_dtype(source, dtype)
    target = target_of(path.absolute())
    refuse_overlap(source, path)
    if not replaces:
        target.check()
    planned = target.plan(source)
    if not is_hashed and isinstance(target, ModuleFolder):
        raise ValueError("a folder's manifest wants hashes")
    info(
        "workflow.convert_source",
        path=source.path,
        what=source.what,
        count=len(source.tensors),
        size=megabytes(source.size),
    )
    work = target.path.with_name(f".{target.path.name}.converting")
    check_room(target.path, sum(one.size for one in planned), len(source.tensors), work)
    with sole_writer(work, path):
        try:
            conversion = _Conversion(source, target, planned, work, is_hashed, workers, should_stop)
            return conversion.run(is_checked)
        except (Interrupted, KeyboardInterrupt):
            raise  # what is whole stays, for the next time
        except BaseException as error:
            shutil.rmtree(work, ignore_errors=True)
            if isinstance(error, OSError):
                need = sum(one.size for one in planned)
                raise StorageError(
                    f"{path}: not written: {reason_of(error, path)} ({megabytes(need)} MB are needed there); what was there "
                    "before is intact"
                ) from error
            raise


def _as_they_are(files: Sequence[Path]) -> dict[str, list[int]]:
    """What tells that a file is another one, or has been written to."""
    try:
        stats = {str(file): file.stat() for file in files}
    except OSError as error:
        raise StorageError(f"{error.filename}: could not read: {error.strerror}") from error
    return {name: [stat.st_size, stat.st_mtime_ns, stat.st_ino] for name, stat in stats.items()}


class _Stopped(Exception):
    """Another thread failed, or a stop was asked for."""


class _Conversion:
    def __init__(
        self,
        source: Source,
        target: Target,
        planned: Sequence[PlannedFile],
        work: Path,
        is_hashed: bool,
        workers: int,
        should_stop: Callable[[], bool],
    ) -> None:
        self._source, self._target, self._planned = source, target, list(planned)
        self._work, self._files = work, work / FILES
        self._is_hashed, self._workers, self._should_stop = is_hashed, workers, should_stop
        self._is_over = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._progress = Progress("", is_shown=False)
        self._as_found = _as_they_are(source.files)

    def run(self, is_checked: bool) -> Converted:
        kept = self._kept()
        missing = [one for one in self._planned if one.name not in kept]
        if kept:
            info("workflow.convert_kept", count=len(kept), total=len(self._planned), path=self._target.path)
        written = kept | self._written(missing, is_checked)
        if _as_they_are(self._source.files) != self._as_found:
            raise StorageError(
                f"{self._source.path}: was written to while it was read: nothing is made of two states of it"
            )
        self._target.publish(self._files, self._source, self._planned, written)
        shutil.rmtree(self._work, ignore_errors=True)
        size, is_one = sum(one.bytes for one in written.values()), len(self._planned) == 1
        return Converted(self._target.path, size, next(iter(written.values())).sha256 if is_one else "", len(kept))

    def _written(self, missing: Sequence[PlannedFile], is_checked: bool) -> dict[str, Written]:
        """Checks the source, all of it, and then writes."""
        records = self._source.records if is_checked else []
        hashes = dict(self._source.hashes or {}) if is_checked else {}
        total = sum(one.size for one in missing) + sum(record.size for record in records)
        with Progress(text("workflow.convert_progress"), total, unit="B") as self._progress:
            self._each([partial(self._check_hash, file, expected) for file, expected in hashes.items()])
            self._each([partial(self._check, record) for record in records])
            return {one.name: one for one in self._each([partial(self._write, planned) for planned in missing])}

    def _identity(self) -> str:
        """What decides the bytes that are written: of another source, or another plan, nothing is kept."""
        return fingerprint(
            {
                "files": self._as_found,
                "planned": {
                    one.name: [hashlib.sha256(one.head).hexdigest()]
                    + [
                        [name, tensor.stored.name, tensor.dtype.name, tensor.shape, tensor.strides]
                        + [[str(run.file), run.start, run.size] for run in tensor.runs]
                        for name, tensor in one.tensors.items()
                    ]
                    for one in self._planned
                },
            }
        )

    def _kept(self) -> dict[str, Written]:
        """Files that a killed conversion of the same left whole; what else it left is removed."""
        journal, identity = self._work / _JOURNAL, self._identity()
        try:
            lines = read_lines(journal)
            told = [msgspec.convert(line, Written) for line in lines[1:]] if lines[:1] == [{"plan": identity}] else []
        except (StorageError, msgspec.ValidationError):
            told = []  # damaged: nothing of it counts
        names = {one.name for one in self._planned}
        kept = {
            one.name: one
            for one in told
            if one.name in names
            and (self._files / one.name).is_file()
            and sha256_of(self._files / one.name) == one.sha256
        }
        for file in self._files.iterdir():
            if file.name not in kept:
                file.unlink()
        journal.unlink(missing_ok=True)
        append_line(journal, {"plan": identity})
        for one in kept.values():
            append_line(journal, one)
        return kept

    def _each(self, tasks: Sequence[Callable[[], Written | None]]) -> list[Written]:
        """Does all of ``tasks``, some at a time; the first error ends them."""
        with ThreadPoolExecutor(self._workers, thread_name_prefix="convert") as pool:
            waiting = {pool.submit(task) for task in tasks}
            futures = list(waiting)
            try:
                while waiting:
                    done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
                    self._go_on()
                    for future in done:
                        future.result()
            except BaseException:
                self._is_over.set()
                for future in waiting:
                    future.cancel()
                raise
        return [found for future in futures if (found := future.result()) is not None]

    def _go_on(self) -> None:
        """Whether nothing says to stop.

        Raises:
            Interrupted: a stop was asked for.
            _Stopped: another thread met an error, which is told.
        """
        if self._should_stop():
            raise Interrupted(f"{self._target.path}: stopped; the same command goes on with what is not yet written")
        if self._is_over.is_set():
            raise _Stopped

    def _advance(self, count: int) -> None:
        self._go_on()
        with self._one_at_a_time:
            self._progress.update(count)

    def _check(self, record: Record) -> None:
        with Reader() as reader:
            reader.check(record, self._go_on)
        self._advance(record.size)

    def _check_hash(self, file: Path, expected: str) -> None:
        self._go_on()
        try:
            found = sha256_of(file)
        except OSError as error:
            raise StorageError(f"{file}: could not read: {reason_of(error, file)}") from error
        if found != expected:
            raise StorageError(f"{file}: its SHA-256 is not the one that was written: the file is damaged")

    def _write(self, planned: PlannedFile) -> Written:
        part = self._files / f".{planned.name}.part"
        with Reader() as reader, WrittenFile(part, is_hashed=self._is_hashed, on_bytes=self._advance) as file:
            planned.write(file, reader)
        part.rename(self._files / planned.name)
        one = Written(planned.name, file.sha256, file.size)
        if self._is_hashed:
            with self._one_at_a_time:
                append_line(self._work / _JOURNAL, one)
        return one
