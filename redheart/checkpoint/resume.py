"""What going on needs beyond the weights: optimizer, random states, the cursor. The newest two are kept.

The optimizer's own files are written by Accelerate or DeepSpeed, collectively; this file gives them a folder that
becomes valid only when everything in it is on disk, and checks every hash before they are read again – their loaders
unpickle, so they must see nothing but what this run wrote.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redheart.errors import StorageError
from redheart.storage import read_json, sha256_of, write_json
from redheart.storage.atomic import sync_folder

KEEP = 2


@dataclass(frozen=True)
class ResumeState:
    """A valid state to go on from.

    Attributes:
        path: the folder with the engine's files.
        cursor: where the run was: ``epoch``, ``global_step``, ``batches_done`` and what else the loop stored.
    """

    path: Path
    cursor: dict[str, Any]


def _folder(output: Path) -> Path:
    return output / "checkpoints" / "resume"


def _generations(output: Path) -> list[Path]:
    folder = _folder(output)
    found = (
        [path for path in folder.glob("state_*") if path.name.removeprefix("state_").isdigit()]
        if folder.is_dir()
        else []
    )
    return sorted(found, key=lambda path: int(path.name.removeprefix("state_")))


def save_resume_state(
    output: Path,
    cursor: dict[str, Any],
    write: Callable[[Path], None],
    *,
    is_main: bool = True,
    barrier: Callable[[], None] = lambda: None,
) -> Path | None:
    """Has every process ``write`` its part, then publishes the folder from the main process.

    Args:
        write: collective; puts the engine's files into the folder it is given.
        barrier: waits for all processes.

    Returns:
        The published folder, on the main process.

    Raises:
        StorageError: nothing was published; the earlier state is intact.
    """
    folder = _folder(output)
    generations = _generations(output)
    number = int(generations[-1].name.removeprefix("state_")) + 1 if generations else 1
    temporary = folder / f".state_{number:06d}.writing"
    if is_main:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True, exist_ok=True)
    barrier()
    try:
        write(temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageError(f"{temporary}: resume state not written: {error}; the earlier one is intact") from error
    barrier()
    target = folder / f"state_{number:06d}"
    if is_main:
        files = {
            str(path.relative_to(temporary)): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
            for path in sorted(temporary.rglob("*"))
            if path.is_file()
        }
        write_json(temporary / "manifest.json", {"cursor": cursor, "files": files})
        temporary.rename(target)
        sync_folder(folder)
        for old in [*_generations(output)[:-KEEP], *folder.glob(".state_*.writing")]:
            shutil.rmtree(old, ignore_errors=True)
    barrier()
    return target if is_main else None


def _open(path: Path) -> ResumeState:
    manifest = read_json(path / "manifest.json")
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file() or sha256_of(file) != expected["sha256"]:
            raise StorageError(f"{file}: missing or damaged")
    return ResumeState(path, manifest["cursor"])


def newest_resume_state(output: Path) -> tuple[ResumeState | None, list[str]]:
    """The newest valid state, and why newer ones, if any, were passed over."""
    reasons = []
    for path in reversed(_generations(output)):
        try:
            return _open(path), reasons
        except StorageError as error:
            reasons.append(str(error))
    return None, reasons
