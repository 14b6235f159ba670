"""The meeting of a group's processes before the group is made: whom it waits for is said, and a signal is served meanwhile.

Libraries make the group in one call that waits in C++, silently, for half an hour, and serves no signal. So each process says
here first, in the very store at which the group is made then, that it is there, and looks for the others in a loop of its own.
Where an agent of torchrun's or Accelerate's started the processes it keeps that store, and has found all of them.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from redheart.engine.launch_variables import is_gathered_by_launcher, meeting_place, rank, world_size
from redheart.errors import Interrupted, MissingRequirement, UsageError
from redheart.launching.ports import tells_of_taken_port
from redheart.messages.log import warn_even_if_quiet

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

#: Seconds that a process waits for the others; PyTorch's own for a store.
WITHIN = 300.0
#: Seconds before it is said whom it waits for: processes that start together come within these.
SAID_AFTER = 2.0
_POLL_EVERY = 0.1
#: Seconds for one attempt to reach a store that answers.
_ATTEMPT = timedelta(seconds=10)
_ALL = "redheart/all"
_LEFT_OVER = "unset RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT"


@contextlib.contextmanager
def gathered(should_stop: Callable[[], bool] = lambda: False, *, within: float | None = None) -> Iterator[None]:
    """Within it, all processes of this one's group are there, and their store is: in it the group is made.

    Raises:
        Interrupted: asked to stop while it waited.
        MissingRequirement: others did not come in time, or the port is taken.
        UsageError: no host is known by the name of the meeting place.
    """
    if world_size() == 1 or is_gathered_by_launcher():
        yield
        return
    import torch.distributed as dist

    if dist.is_initialized():
        yield
        return
    store = _Meeting(should_stop, WITHIN if within is None else within).meet()
    yield
    del store  # until now: the group's own store shares its server


class _Meeting:
    """One process's wait for the others."""

    def __init__(self, should_stop: Callable[[], bool], within: float) -> None:
        self._should_stop, self._within = should_stop, within
        self._host, self._port = meeting_place()
        self._rank, self._size = rank(), world_size()
        self._began = time.monotonic()
        self._is_told = False

    def meet(self) -> TCPStore:
        try:
            socket.getaddrinfo(self._host, self._port)
        except (OSError, OverflowError, UnicodeError) as error:
            raise UsageError(
                f"environment: found MASTER_ADDR={self._host} and MASTER_PORT={self._port}, wanted the host and port of process 0 ({error})"
                f"; where they are left over in a shell: {_LEFT_OVER}"
            ) from error
        store = self._open() if self._rank == 0 else self._reach()
        store.set(_key(self._rank), "there")
        if self._rank == 0:
            missing = list(range(1, self._size))
            while missing := [number for number in missing if not self._is_there(store, _key(number))]:
                self._wait_for(missing)
            store.set(_ALL, "there")
        while not self._is_there(store, _ALL):
            self._wait_for([number for number in range(self._size) if number != self._rank], certain=False)
        return store

    def _open(self) -> TCPStore:
        """As the first process: the store, which the others reach."""
        from torch.distributed import DistError

        try:
            return self._store(is_master=True)
        except (DistError, RuntimeError) as error:
            place = f"{self._host}:{self._port} (MASTER_ADDR, MASTER_PORT)"
            reason = (
                "is taken by another process" if tells_of_taken_port(str(error)) else "can't be had on this machine"
            )
            said = str(error).splitlines()[0]
            raise MissingRequirement(
                f"{place}, where process 0 of {self._size} meets the others, {reason}: {said}; wanted a free port of this machine. To "
                f"run as one process: {_LEFT_OVER}"
            ) from error

    def _reach(self) -> TCPStore:
        """As another: the first one's store, once it is there."""
        from torch.distributed import DistError

        while True:
            with contextlib.suppress(OSError):
                socket.create_connection((self._host, self._port), timeout=1.0).close()
                with contextlib.suppress(DistError):
                    return self._store(is_master=False)
            self._wait_for([0])

    def _store(self, *, is_master: bool) -> TCPStore:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        # The same server as that of the group's own store in this process, which is made with these settings.
        return TCPStore(
            self._host,
            self._port,
            self._size,
            is_master,
            timeout=_ATTEMPT,
            wait_for_workers=False,
            multi_tenant=True,
        )

    def _is_there(self, store: TCPStore, key: str) -> bool:
        from torch.distributed import DistError

        try:
            return bool(store.check([key]))
        except (DistError, RuntimeError) as error:
            raise MissingRequirement(
                f"process {self._rank} of {self._size} lost process 0 at {self._host}:{self._port} while it waited for the others: "
                f"{str(error).splitlines()[0]}"
            ) from error

    def _wait_for(self, missing: list[int], *, certain: bool = True) -> None:
        """A moment.

        Args:
            certain: they are known not to be there; else some of them.

        Raises:
            Interrupted, MissingRequirement: see ``gathered``.
        """
        if self._should_stop():
            raise Interrupted("stopped while it waited for the other processes; nothing was begun")
        waited = time.monotonic() - self._began
        who = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
        who = who if certain or len(missing) == 1 else f"some of {who}"
        if waited > self._within:
            raise MissingRequirement(
                f"process {self._rank} of {self._size} waited {self._within:.0f} s at {self._host}:{self._port} for {who}, in vain; start "
                f"them too, by one launcher (redheart launch, accelerate launch, torchrun). To run as one process: {_LEFT_OVER}"
            )
        if waited > SAID_AFTER and not self._is_told:
            self._is_told = True
            until = datetime.now() + timedelta(seconds=self._within - waited)
            place = f"{self._host}:{self._port}"
            warn_even_if_quiet(
                "launching.waiting",
                rank=self._rank,
                size=self._size,
                who=who,
                place=place,
                until=f"{until:%H:%M:%S}",
                cure=_LEFT_OVER,
            )
        time.sleep(_POLL_EVERY)


def _key(number: int) -> str:
    return f"redheart/there/{number}"
