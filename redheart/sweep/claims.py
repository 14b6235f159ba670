"""Claims on points, without a coordinator: created exclusively and kept alive by a counter.

A claim on a point is a file ``<point>.<generation>.json``. The highest generation holds; taking over a dead one means
creating the next, exclusively, so nothing is ever deleted and no two workers can both take over. An owner rewrites
a counter every few seconds. Others never compare clocks: they watch the counter by their own monotonic clock and call
a claim dead when it has not moved for ``STALE_AFTER`` seconds. On the same host a dead process is seen at once.

A claim is a promise not to waste work, not a lock: a point may still be run twice, and is published once.
"""

from __future__ import annotations

import os
import platform
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec
import psutil

from redheart.errors import StorageError
from redheart.messages import debug
from redheart.storage import write_json
from redheart.storage.structs import read_struct
from redheart.sweep.publish import publish_once

BEAT_EVERY = 3.0  # seconds
STALE_AFTER = 20.0  # seconds without a beat: six missed ones, far above the delay of a busy network filesystem


def this_place() -> str:
    """Where a process number means something: host, boot and process namespace (containers share host names)."""
    parts = [platform.node()]
    try:
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    except OSError:
        debug("no boot id or process namespace to be read: claims of this host are told by its name alone")
    return "|".join(parts)


def _started(pid: int) -> float | None:
    """When the process began (numbers are reused), or None when it is gone; a zombie is gone."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return -1.0


def _started_after_boot(pid: int) -> float | None:
    """Seconds from the machine's start to the process's, which stay whatever is done to its clock; None where Linux doesn't say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19]) / os.sysconf(
            "SC_CLK_TCK"
        )  # field 22, ``starttime``, of proc(5)
    except (OSError, ValueError, IndexError):
        return None


class ClaimRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A claim's file.

    Attributes:
        owner: random, so that no two claims are the same.
        place: where ``pid`` means something, see ``this_place``.
        started: when the process began, seconds since the epoch; None or −1 where that can't be told.
        counter: of its beats.
        released: the owner is done with it.
        started_after_boot: when the process began, by a clock that nobody sets; None where that can't be told, and in older claims.
    """

    owner: str
    place: str
    pid: int
    started: float | None
    counter: int
    released: bool
    started_after_boot: float | None = None

    def is_of_another_process(self) -> bool:
        """Whether nobody has its number here any more, or somebody who began at another time: numbers are reused."""
        begun = _started(self.pid)
        if begun is None:
            return True
        after_boot = _started_after_boot(self.pid)
        if self.started_after_boot is not None and after_boot is not None:
            return after_boot != self.started_after_boot
        return self.started is not None and begun >= 0 and abs(begun - self.started) > 1.0


@dataclass
class _Watch:
    counter: int
    since: float


class Claims:
    """The claims of one sweep, seen by one worker."""

    def __init__(self, folder: Path, *, stale_after: float = STALE_AFTER, beat_every: float = BEAT_EVERY) -> None:
        self.folder = folder
        self.stale_after = stale_after
        self.beat_every = beat_every
        self._place = this_place()
        self._watched: dict[Path, _Watch] = {}

    def try_claim(self, name: str) -> Claim | None:
        """Claims ``name`` if nobody alive holds it. Called again and again it also notices who stopped beating."""
        generation = self._generation(name)
        if generation and not self._is_dead(self._file(name, generation)):
            return None
        path = self._file(name, generation + 1)
        record = ClaimRecord(
            owner=secrets.token_hex(8),
            place=self._place,
            pid=os.getpid(),
            started=_started(os.getpid()),
            counter=0,
            released=False,
            started_after_boot=_started_after_boot(os.getpid()),
        )
        if not publish_once(path, msgspec.to_builtins(record)):
            return None
        return Claim(path, record, generation + 1, self.beat_every)

    def of_process(self, pid: int) -> list[str]:
        """Names that a process of this host has claimed, whoever holds them now."""
        claimed = []
        for path in sorted(self.folder.glob("*.json")):
            claim = read_struct(path, ClaimRecord)
            if claim.place == self._place and claim.pid == pid:
                claimed.append(path.stem.rpartition(".")[0])
        return claimed

    def _file(self, name: str, generation: int) -> Path:
        return self.folder / f"{name}.{generation:04d}.json"

    def _generation(self, name: str) -> int:
        return max((int(path.stem.rpartition(".")[2]) for path in self.folder.glob(f"{name}.*.json")), default=0)

    def _is_dead(self, path: Path) -> bool:
        counter = -1
        try:
            claim = read_struct(path, ClaimRecord)
        except StorageError as error:
            debug(f"claim {path.name} can't be read ({error}): dead unless it comes back")
        else:
            counter = claim.counter
            if claim.released or (claim.place == self._place and claim.is_of_another_process()):
                return True
        watch = self._watched.get(path)
        if watch is None or watch.counter != counter:
            self._watched[path] = _Watch(counter, time.monotonic())
            return False
        return time.monotonic() - watch.since > self.stale_after


class Claim:
    """A held claim: beats from a thread of its own, because one step of a big model can outlast ``STALE_AFTER``.

    Used as a context manager; leaving it releases the claim, so that after an orderly stop nobody waits.
    """

    def __init__(self, path: Path, record: ClaimRecord, generation: int, beat_every: float) -> None:
        self.path = path
        self.generation = generation
        self._record = record
        self._beat_every = beat_every
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"claim {path.stem}", daemon=True)
        #: Asked before each beat; a trial that hangs is let go although its process lives.
        self.is_alive: Callable[[], bool] = lambda: True

    def __enter__(self) -> Claim:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._write(released=True)

    def _beat(self) -> None:
        while not self._done.wait(self._beat_every) and self.is_alive():
            try:
                self._write(counter=self._record.counter + 1)
            except StorageError as error:  # a missed beat costs at most a point run twice; the trial matters more
                debug(f"could not renew a claim: {error}")

    def _write(self, *, counter: int | None = None, released: bool = False) -> None:
        counter = self._record.counter if counter is None else counter
        self._record = msgspec.structs.replace(self._record, counter=counter, released=released)
        write_json(self.path, msgspec.to_builtins(self._record))
