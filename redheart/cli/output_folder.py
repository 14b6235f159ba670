"""The output folder as a command meets it: its log, and what to do where this user may not write there."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from redheart.cli.command import Command
from redheart.engine.launch_variables import is_first_process
from redheart.errors import StorageError


def begin_log(command: Command, arguments: Namespace, file: Path | None) -> None:
    """Sends messages to standard error and to ``file``; where that may not be written, a command that only reads a run does without.

    Raises:
        StorageError: ``file`` can't be opened, and the command writes a run's files.
    """
    from redheart.messages import set_up_logging, warn
    from redheart.storage.writable import may_be_made

    is_left_out = file is not None and not command.writes_run(arguments) and not may_be_made(file)
    set_up_logging(
        verbose=arguments.verbose,
        debug=arguments.debug,
        file=None if is_left_out else file,
        quiet=not is_first_process(),
    )
    if is_left_out:
        warn("workflow.log_left_out", path=file)


@contextlib.contextmanager
def advice_for(command: Command, output: Path, file: Path | None = None, *, option: str = "--output") -> Iterator[None]:
    """Says what to do where a file in ``output`` is refused for its rights, whichever stage met it first.

    Args:
        file: the one in question where the error names none.
        option: that names the folder.

    Raises:
        StorageError: in place of one that a right caused, and of an operating system's own.
    """
    from redheart.storage.writable import REFUSED, closed_to_this_user, may_be_made

    try:
        yield
    except (StorageError, OSError) as error:
        cause = _of_the_system(error)
        if not isinstance(cause, OSError) or cause.errno not in REFUSED:
            raise
        place = cause.filename or file
        # What may not be read is told as it is; a log file is only written.
        if place is None or not _is_within(place, output) or (place != file and may_be_made(Path(place))):
            raise
        if (closed := closed_to_this_user(Path(place))) is not None:
            raise StorageError(
                f"{closed}: may not be read by this user ({cause.strerror}), and `redheart {command.name}` needs it: ask its owner "
                "for the right to"
            ) from error
        is_run = option == "--output" and output.exists()
        cure = f"{'take a copy of the folder (cp -r) and name it' if is_run else 'name another'} with {option}"
        raise StorageError(
            f"{output}: may not be written by this user ({cause.strerror}{_told(place, output)}), and `redheart "
            f"{command.name}` writes files there: {cure}"
        ) from error


def _of_the_system(error: BaseException | None) -> BaseException | None:
    """The operating system's error that is behind one of ours."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error


def _absolute(path: object) -> Path | None:
    return Path(path).absolute() if isinstance(path, (str, Path)) else None


def _is_within(path: object, output: Path) -> bool:
    """Whether what was refused is in the output folder, is it, or is where it would be made."""
    found, root = _absolute(path), output.absolute()
    if found is None:
        return False
    is_being_written = found.parent == root.parent and found.name.startswith(f".{root.name}.")
    return found.is_relative_to(root) or is_being_written or (found in root.parents and not root.exists())


def _told(path: object, output: Path) -> str:
    """The folder that was refused, where it is not the output folder itself."""
    found, root = _absolute(path), output.absolute()
    if found is None or not found.is_relative_to(root) or root in (found, found.parent):
        return ""
    return f": {found.relative_to(root).parts[0]}"
