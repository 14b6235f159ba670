"""A process that ``redheart launch`` started, as it meets its supervisor: it says that it is there, ends with it, and says how it ended.

Without the variable that names the supervisor's folder nothing here does anything, and nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from redheart.engine.launch_variables import rank
from redheart.errors import Interrupted, Memory, OutOfMemory, RedHeartError, StorageError

if TYPE_CHECKING:
    from redheart.launching.outcome import Announced, LaunchFolder, Outcome

#: Names the folder of this start to the processes of the group.
FOLDER_VARIABLE = "REDHEART_LAUNCH_FOLDER"
#: Seconds that a process has to save and end after its supervisor is gone.
GRACE = 10.0


def is_supervised() -> bool:
    """Whether a supervisor started this process, or its parent."""
    return bool(os.environ.get(FOLDER_VARIABLE))


def launch_folder() -> LaunchFolder:
    """The supervisor's folder, where there is a supervisor."""
    from redheart.launching.outcome import LaunchFolder  # the command line imports this file before it needs more

    return LaunchFolder(Path(os.environ[FOLDER_VARIABLE]))


def _myself(*, is_ready: bool = False) -> Announced:
    from redheart.launching.outcome import Announced

    return Announced(rank=rank(), pid=os.getpid(), is_ready=is_ready)


def say_ready() -> None:
    """From now on a request to stop is served: the supervisor may hand one on."""
    if is_supervised():
        with contextlib.suppress(StorageError):
            launch_folder().announce(_myself(is_ready=True))


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Around all that this process does: the supervisor is told of its beginning and of how it ended."""
    if not is_supervised():
        yield
        return
    folder = launch_folder()
    with contextlib.suppress(StorageError):  # the supervisor is gone: the watch ends this process
        folder.announce(_myself())
    threading.Thread(target=_end_with_supervisor, args=(folder.lifeline,), name="supervisor", daemon=True).start()
    try:
        yield
    except BaseException as error:
        _leave(folder, outcome_of(error))
        raise
    _leave(folder, outcome_of(None))


def _leave(folder: LaunchFolder, outcome: Outcome) -> None:
    with contextlib.suppress(StorageError):  # an end that says nothing is taken for a kill
        folder.leave(outcome)


def outcome_of(error: BaseException | None) -> Outcome:
    """What an end by ``error``, or without one, is called."""
    from redheart.launching.outcome import Outcome

    number = rank()
    place = launch_folder().place(number)
    if error is None:
        return Outcome(rank=number, kind="done", exit_code=0, place=place)
    message = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return Outcome(rank=number, kind="stopped", exit_code=Interrupted.exit_code, message=message, place=place)
    if _is_out_of_memory(error):
        code = OutOfMemory.exit_code
        memory = _memory_of(error)
        return Outcome(rank=number, kind="out_of_memory", exit_code=code, message=message, place=place, memory=memory)
    code = error.exit_code if isinstance(error, RedHeartError) else _code_of_exit(error)
    is_told = isinstance(error, (RedHeartError, SystemExit))
    return Outcome(rank=number, kind="failed", exit_code=code, message=message, is_told=is_told, place=place)


def _code_of_exit(error: BaseException) -> int:
    return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (OutOfMemory, MemoryError)):
        return not (isinstance(error, RedHeartError) and error.is_refusal)  # which no smaller micro-batch would mend
    if isinstance(error, RedHeartError) or "torch" not in sys.modules:
        return False
    from redheart.batches.out_of_memory import is_out_of_memory

    return is_out_of_memory(error)


def _memory_of(error: BaseException) -> Memory | None:
    if "torch" not in sys.modules:
        return error.memory if isinstance(error, OutOfMemory) else "host"
    from redheart.batches.out_of_memory import memory_of

    return memory_of(error)


def exit_code_for_launcher(code: int) -> int:
    """The exit code by which a launcher of processes leaves the others alone, where this one stopped and they may still save.

    Accelerate's takes any other code than 0 for a failure, and kills the others half a minute after the first of them; what the
    end was called is told in a file.
    """
    return 0 if code == Interrupted.exit_code and is_supervised() else code


def _end_with_supervisor(lifeline: Path) -> None:
    """Asks this process to stop when the supervisor is gone, however it went, and ends it if it does not."""
    _wait_for_end(lifeline)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def _wait_for_end(lifeline: Path) -> None:
    with contextlib.suppress(OSError):  # the folder is gone, and so is who made it
        descriptor = os.open(lifeline, os.O_RDONLY | os.O_NONBLOCK)  # never waits for somebody to write
        try:
            with contextlib.suppress(BlockingIOError):  # it is held open by somebody
                if not os.read(descriptor, 1):
                    return
            os.set_blocking(descriptor, True)
            while os.read(descriptor, 1):
                pass
        finally:
            os.close(descriptor)
