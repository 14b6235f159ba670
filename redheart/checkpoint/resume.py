"""The resume state: what going on needs beyond the weights (optimizer, random states, cursor). The newest two are kept.

Every process writes its files (see ``engine/resume_files.py``); this module gives them a folder that becomes valid only when
everything in it is on disk, and checks every hash before they are read again.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from redheart.errors import StorageError
from redheart.paths import OutputPaths
from redheart.storage import Json, as_struct, sha256_of
from redheart.storage.atomic import follow_umask, sync_file, sync_folder
from redheart.storage.seal import read_sealed, write_sealed

KEEP = 2
#: Of a file that stands beside another until the folder is published: the hash that its writer computed on the way.
_DIGEST = ".sha256"
MANIFEST = "manifest.json"
C = TypeVar("C", bound=msgspec.Struct)


class _Hash(msgspec.Struct):
    sha256: str
    bytes: int = 0


class _Manifest(msgspec.Struct):
    """What lies in a state's folder, and where the run was."""

    cursor: Any
    files: dict[str, _Hash]


@dataclass(frozen=True)
class ResumeState(Generic[C]):
    """A valid state to go on from.

    Attributes:
        path: the folder with the engine's files.
        cursor: where the run was; what it holds is for whoever goes on to say.
        raw_cursor: the same as it lies there, with what ``cursor`` has no field for.
    """

    path: Path
    cursor: C
    raw_cursor: Mapping[str, Json]


def _folder(output: Path) -> Path:
    return OutputPaths(output).resume


def _generations(output: Path) -> list[Path]:
    folder = _folder(output)
    found = (
        [path for path in folder.glob("state_*") if path.name.removeprefix("state_").isdigit()]
        if folder.is_dir()
        else []
    )
    return sorted(found, key=lambda path: int(path.name.removeprefix("state_")))


def bytes_of_state(numbers: int, *, has_average: bool) -> int:
    """About how many a state of a model takes: its weights, AdamW's two moments and the average of the weights, all in fp32.

    Args:
        numbers: of the model.
    """
    return 4 * (4 if has_average else 3) * numbers


def _next_number(output: Path) -> int:
    generations = _generations(output)
    return int(generations[-1].name.removeprefix("state_")) + 1 if generations else 1


def save_resume_state(
    output: Path,
    cursor: msgspec.Struct | Mapping[str, Json | msgspec.Struct],
    write: Callable[[Path], None],
    *,
    is_main: bool = True,
    any_rank: Callable[[bool], bool] = lambda failed: failed,
    of_main: Callable[[int], int] = lambda number: number,
    check: Callable[[Path], None] = lambda folder: None,
    needs: int = 0,
) -> Path | None:
    """Has every process ``write`` its part, then publishes the folder from the main process.

    Args:
        write: collective; puts the engine's files into the folder it is given.
        any_rank: whether the flag is set on any process, agreed by all; so one process's failure ends the save on
            every process, and none waits for another that has gone. It is also what they wait for each other by.
        of_main: collective; the main process's number, told to all. It numbers the state: on a network's file system another
            node may see a folder as it was some seconds ago.
        check: raises on the main process where the folder lacks a file that another process has written.
        needs: about how many bytes all of it takes, to be named where the disk is full.

    Returns:
        The published folder, on the main process.

    Raises:
        StorageError: on every process; nothing was published, and an earlier state is intact.
    """
    folder = _folder(output)
    number, unnumbered = 0, None
    try:
        number = _next_number(output) if is_main else 0
    except OSError as error:  # the others must hear of it: see ``prepare``
        unnumbered = error
    number = of_main(number) or 1
    temporary = folder / f".state_{number:06d}.writing"
    target = folder / f"state_{number:06d}"

    def together(step: Callable[[], None]) -> None:
        failure: Exception | None = None
        try:
            step()
        except Exception as error:  # of any kind: the others must hear of it before it goes on its way
            failure = error
        if not any_rank(failure is not None):
            return
        if is_main:
            shutil.rmtree(temporary, ignore_errors=True)
        if failure is not None and not _is_of_storage(failure):
            raise failure
        reason = str(failure or "another process failed; its message says why")
        if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT) and needs:
            reason += f" ({needs / 2**20:,.0f} MiB are needed)"
        earlier = "the earlier one is intact" if number > 1 or unnumbered else "there is no earlier one"
        raise StorageError(f"{target}: resume state not written: {reason}; {earlier}") from failure

    def prepare() -> None:
        if unnumbered is not None:
            raise unnumbered
        for left_over in folder.glob(".state_*.writing"):
            shutil.rmtree(left_over)
        temporary.mkdir(parents=True)

    def publish() -> None:
        check(temporary)
        files: dict[str, _Hash] = {}
        for path in sorted(path for path in temporary.rglob("*") if path.is_file() and path.suffix != _DIGEST):
            follow_umask(path)
            sync_file(path)
            files[str(path.relative_to(temporary))] = _Hash(_digest_of(path), path.stat().st_size)
        for inner in sorted(path for path in temporary.rglob("*") if path.is_dir()):
            sync_folder(inner)  # the names of the files in it
        write_sealed(temporary / MANIFEST, {"cursor": cursor, "files": files})
        temporary.rename(target)
        sync_folder(folder)
        for old in _generations(output)[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    together(prepare if is_main else _nothing)
    together(lambda: write(temporary))
    together(publish if is_main else _nothing)
    return target if is_main else None


def note_digest(path: Path, sha256: str) -> None:
    """Leaves the hash of a file that was just written in a state's folder, so that nobody has to read it again for that."""
    path.with_name(path.name + _DIGEST).write_text(sha256)


def _digest_of(path: Path) -> str:
    """The hash that the writer left, which is taken away, or that of what lies there."""
    noted = path.with_name(path.name + _DIGEST)
    if not noted.is_file():
        return sha256_of(path)
    found = noted.read_text()
    noted.unlink()
    return found


def _nothing() -> None:
    """What the other processes do while the main one works."""


def _is_of_storage(error: Exception) -> bool:
    """Whether a disk may be behind it: torch reports a full one as RuntimeError, safetensors as its own error."""
    from safetensors import SafetensorError

    return isinstance(error, (OSError, RuntimeError, SafetensorError, StorageError))


def number_of(state: ResumeState[C]) -> int:
    """The number of a state's generation, from 1."""
    return int(state.path.name.removeprefix("state_"))


def resume_state(output: Path, number: int, kind: type[C]) -> ResumeState[C]:
    """The state of a number, which another process has found valid: no hash is computed again.

    Raises:
        StorageError: this process does not see it, or not as it was written.
    """
    path = _folder(output) / f"state_{number:06d}"
    if not path.is_dir():
        raise StorageError(
            f"{path}: the first process goes on from this state, and here there is none: is {output} the same folder on "
            "every node?"
        )
    return _read(path, kind)[0]


def _read(path: Path, kind: type[C]) -> tuple[ResumeState[C], dict[str, _Hash]]:
    """What the manifest in the folder ``path`` says; no other file is looked at."""
    where = f"{path / MANIFEST}: not the manifest of a resume state"
    manifest = as_struct(read_sealed(path / MANIFEST), _Manifest, where)
    cursor = as_struct(manifest.cursor, kind, f"{where}: cursor")
    return ResumeState(path, cursor, manifest.cursor), manifest.files


def _open(path: Path, kind: type[C], accepts: Callable[[C], bool]) -> ResumeState[C] | None:
    """The state in the folder ``path``; None where its cursor is not wanted, before a hash is computed."""
    state, files = _read(path, kind)
    if not accepts(state.cursor):
        return None
    for name, expected in files.items():
        file = path / name
        if not file.is_file() or sha256_of(file) != expected.sha256:
            raise StorageError(f"{file}: missing or damaged")
    for file in path.rglob("*"):  # the loaders go by names and patterns: a file more might be read and unpickled
        if file.is_file() and str(file.relative_to(path)) not in (*files, MANIFEST):
            raise StorageError(f"{file}: was not written by the run that wrote {path.name}")
    return state


def newest_resume_state(
    output: Path, kind: type[C], *, accepts: Callable[[C], bool] = lambda cursor: True
) -> tuple[ResumeState[C] | None, list[str]]:
    """The newest valid state whose cursor is a ``kind``, and why newer ones, if any, were passed over.

    Args:
        accepts: whether a cursor is wanted; others are passed over without a reason.
    """
    reasons: list[str] = []
    for path in reversed(_generations(output)):
        try:
            if (state := _open(path, kind, accepts)) is not None:
                return state, reasons
        except (StorageError, OSError) as error:  # a disk that can't be read there may hold an older one well
            reasons.append(f"{path}: {error}" if isinstance(error, OSError) else str(error))
    return None, reasons
