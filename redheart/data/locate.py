"""The location of the dataset: which file a run reads when none was named, said in the log."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from redheart.errors import DataError
from redheart.messages import info
from redheart.storage.names import MAX_NAME, check_name, shown_name

DEFAULT_NAME = "claude_preprocessed_complete.json"
DEFAULT_FOLDER = "for_learn_dataset"
EMBEDDED_ENDING = ".embedded.json"
#: In a vectors folder: which file, of which size and time of change, its ``.embedded.json`` was written from.
WRITTEN_FROM = "written.json"
#: Bytes of a dataset's name before its ending: with ``EMBEDDED_ENDING`` and what a file has while it is written it is whole.
_MAX_STEM = MAX_NAME - len(EMBEDDED_ENDING) - 24


@dataclass(frozen=True, slots=True)
class Located:
    """The dataset of a run.

    Attributes:
        path: the file.
        is_bundled_sample: it is the small sample that comes with the program; nothing is ever written beside it.
    """

    path: Path
    is_bundled_sample: bool


def bundled_sample() -> Path:
    """The sample that comes with the program (it may not exist in a checkout that lacks it)."""
    return Path(str(files("redheart.data").joinpath("sample", "situations.json")))


def is_bundled_sample(path: Path) -> bool:
    """Whether ``path`` is the bundled sample, under whatever name."""
    sample = bundled_sample()
    return path.exists() and sample.exists() and path.samefile(sample)


def _check_usable(path: Path, named: Path, cwd: Path) -> None:
    """Whether a dataset can be read from ``path`` as often as stages need it, and what is made of it be named after it."""
    check_name(named, "data.path (--data)", within=cwd)
    stem = path.name.removesuffix(EMBEDDED_ENDING) if path.name.endswith(EMBEDDED_ENDING) else path.stem
    if len(os.fsencode(stem)) > _MAX_STEM:
        raise DataError(
            f"{shown_name(named)}: found a name of {len(os.fsencode(path.name))} bytes; wanted at most {_MAX_STEM} before its "
            f"ending, because {EMBEDDED_ENDING} is put behind it"
        )
    wanted = "wanted a dataset's file (JSON array or JSON Lines)"
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        found = f"a link to what is not there, {path.readlink()}" if path.is_symlink() else "no such file"
        raise DataError(f"{shown_name(named)}: found {found}; {wanted}") from None
    except OSError as error:
        raise DataError(f"{shown_name(named)}: can't be looked at: {error.strerror or error}; {wanted}") from error
    if not stat.S_ISREG(mode):
        hint = ", on the disk, because it is read more than once: write what comes through the pipe to one"
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
        raise DataError(f"{shown_name(named)}: found {found}; {wanted}{'' if stat.S_ISDIR(mode) else hint}")


def _is_changed(plain: Path, embedded: Path) -> bool:
    """Whether a dataset is another than the one that was embedded, by times of change alone.

    One that is older by them may be another too – a clock was set back, a copy kept its time –, which the note tells that
    embedding leaves beside the vectors.
    """
    now = plain.stat()
    if now.st_mtime_ns > embedded.stat().st_mtime_ns:
        return True
    try:
        note = json.loads((plain.parent / f"{plain.stem}.vectors" / WRITTEN_FROM).read_bytes())
    except (OSError, ValueError):
        return False
    then = note.get("source_state") if isinstance(note, dict) and note.get("source") == plain.name else None
    return isinstance(then, list) and then != [now.st_size, now.st_mtime_ns]


def locate_dataset(explicit: Path | None, cwd: Path) -> Located:
    """The named file, else ``claude_preprocessed_complete``, else the bundled sample; the log says which.

    It is looked for in ``cwd``, then in its ``for_learn_dataset/``.

    In either folder the ``.embedded.json`` is preferred – unless the dataset beside it was changed since: then the
    dataset is taken, and the vectors of what did not change are found again by their keys.

    Raises:
        DataError: the named file, or anything at all, is not there, or is no regular file.
        UsageError: its name can't be used.
    """
    if explicit is not None:
        path = explicit if explicit.is_absolute() else cwd / explicit
        _check_usable(path, explicit, cwd)
        located = Located(path, is_bundled_sample(path))
        info("data.dataset", path=explicit)
        return located
    for folder in (cwd, cwd / DEFAULT_FOLDER):
        plain = folder / DEFAULT_NAME
        embedded = plain.with_suffix(EMBEDDED_ENDING)
        if embedded.exists() and plain.exists() and _is_changed(plain, embedded):
            _check_usable(plain, plain, cwd)
            info("data.newer_than_embedded", path=plain, embedded=embedded.name)
            return Located(plain, False)
        for path in (embedded, plain):
            if path.exists():
                _check_usable(path, path, cwd)
                info("data.dataset", path=path)
                return Located(path, False)
    sample = bundled_sample()
    if not sample.exists():
        raise DataError(
            f"{cwd}: found neither {DEFAULT_NAME} nor {DEFAULT_FOLDER}/{DEFAULT_NAME}, and the bundled sample "
            f"{sample} is missing from this installation; wanted a dataset: name one with --data FILE"
        )
    info("data.bundled_sample", name=DEFAULT_NAME, path=sample)
    return Located(sample, True)
