"""Logging: one logger for what people read, on standard error and in a file, from the main process of a run only."""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from typing import Any

from redheart.errors import StorageError
from redheart.messages.catalog import text
from redheart.storage.names import reason_of

LOGGER_NAME = "redheart"
_logger = logging.getLogger(LOGGER_NAME)
#: The log file that this process made, and the folders that it made for it.
_made: list[Path] = []


class _AboveProgressBars(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes a line above a running progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" in sys.modules:
            from tqdm import tqdm

            with tqdm.external_write_mode(file=self.stream, nolock=False):
                super().emit(record)
        else:
            super().emit(record)


def set_up_logging(
    *, verbose: bool = False, debug: bool = False, file: Path | None = None, quiet: bool = False
) -> None:
    """Sends messages to standard error, and to ``file`` if given. ``quiet`` is for all but a run's first process.

    Args:
        verbose: each line carries its time.
        debug: notes for developers are shown too; in ``file`` they always are.

    Raises:
        StorageError: ``file`` can't be opened.
    """
    for handler in _logger.handlers[:]:
        _logger.removeHandler(handler)
        handler.close()
    _logger.setLevel(logging.DEBUG)
    _logger.propagate = False
    if quiet:
        _logger.addHandler(logging.NullHandler())
        return
    plain = "%(asctime)s %(message)s" if verbose or debug else "%(message)s"
    console = _AboveProgressBars(sys.stderr)
    console.setLevel(logging.DEBUG if debug else logging.INFO)
    console.setFormatter(logging.Formatter(plain, datefmt="%H:%M:%S"))
    _logger.addHandler(console)
    if file is not None:
        new = [path for path in (file, *file.parents) if not path.exists()]
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lines = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise StorageError(f"{file}: could not open the log: {reason_of(error, file)}") from error
        lines.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        _logger.addHandler(lines)
        _made[:] = new


def forget_new_log() -> None:
    """Takes the log away that this process made, and the folders it was made in if nothing else is there."""
    for handler in _logger.handlers[:]:
        if isinstance(handler, logging.FileHandler):
            _logger.removeHandler(handler)
            handler.close()
    for path in _made:
        with contextlib.suppress(OSError):  # a folder that something else was put into stays
            path.rmdir() if path.is_dir() else path.unlink()
    _made.clear()


def info(key: str, **values: Any) -> None:
    """Says the catalogue's message ``key``."""
    _logger.info(text(key, **values))


def warn(key: str, **values: Any) -> None:
    """Warns with the catalogue's message ``key``."""
    _logger.warning(text(key, **values))


def warn_even_if_quiet(key: str, **values: Any) -> None:
    """Warns from whichever of a run's processes: of what only the one that met it knows."""
    if all(isinstance(handler, logging.NullHandler) for handler in _logger.handlers):
        print(text(key, **values), file=sys.stderr, flush=True)
    else:
        warn(key, **values)


def debug(line: str) -> None:
    """A line for developers, shown under ``--debug``; not in the catalogue."""
    _logger.debug(line)


def plain(block: str) -> None:
    """A block that is the same in every language: a table."""
    for line in block.splitlines():
        _logger.info(f"   {line}")
