"""DeepSpeed's checkpoint folders: which files of which processes belong to one, and what a file holds under which name.

A folder is ``global_stepN``, or another tag, and the file ``latest`` beside it names it. In it lie the optimizer's state of
each process (``…zero_pp_rank_R_mp_rank_00_optim_states.pt``) and what is not the optimizer's: under ZeRO-3 a file a process
(``zero_pp_rank_R_mp_rank_00_model_states.pt``), else one (``mp_rank_00_model_states.pt``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from redheart.consolidation.forms.torch_archive import Archive, in_words, read_archive
from redheart.errors import StorageError, UsageError
from redheart.storage.names import reason_of

LATEST = "latest"
_OPTIMIZER = re.compile(r"(?:bf16_|fp16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt")
_MODEL = re.compile(r"(?:zero_pp_rank_(\d+)_)?mp_rank_(\d+)_model_states\.pt")
_STATES = re.compile(r".*[_-](?:optim|model)_states\.pt")


def holds_states(folder: Path) -> bool:
    """Whether DeepSpeed's files lie in ``folder`` itself."""
    return any(_STATES.fullmatch(path.name) for path in folder.iterdir())


def tag_folder(folder: Path) -> Path | None:
    """The folder with DeepSpeed's files that ``folder`` is, or that lies in it; None where there is none.

    Raises:
        StorageError: ``latest`` names one that is not there.
        UsageError: there are several, and nothing says which one is meant.
    """
    if holds_states(folder):
        return folder
    if (folder / LATEST).is_file():
        return _latest(folder)
    tags = sorted(path for path in folder.iterdir() if path.is_dir() and holds_states(path))
    if len(tags) > 1:
        raise UsageError(
            f"{folder}: found no file {LATEST!r} that says which of {', '.join(path.name for path in tags[:5])} is meant; "
            "name one of them"
        )
    return tags[0] if tags else None


def _latest(folder: Path) -> Path:
    """The folder that the file ``latest`` names."""
    latest = folder / LATEST
    try:
        tag = latest.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error, latest) if isinstance(error, OSError) else "it is no text"
        raise StorageError(f"{latest}: could not read: {reason}") from error
    if not tag or "/" in tag or not (folder / tag).is_dir():
        there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())[:5]) or "none"
        raise StorageError(f"{latest}: names the folder {tag!r:.60}, which is not there (folders that are: {there})")
    return folder / tag


@dataclass(frozen=True)
class StateFiles:
    """The files of one checkpoint, by rank; ``model`` has one of rank 0 where there is no more."""

    folder: Path
    optimizer: Mapping[int, Path]
    model: Mapping[int, Path]


def find_states(folder: Path) -> StateFiles:
    """The files that lie in ``folder``.

    Raises:
        UsageError: the model was cut otherwise than over data-parallel processes.
        StorageError: two files are of one rank.
    """
    optimizer: dict[int, Path] = {}
    model: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if not _STATES.fullmatch(path.name):
            continue
        match, kind = _OPTIMIZER.fullmatch(path.name), optimizer
        if match is None:
            match, kind = _MODEL.fullmatch(path.name), model
        if match is None:
            raise UsageError(
                f"{path}: is of a model with experts or a pipeline, whose parts are not put together here; wanted a checkpoint "
                "of ZeRO over data-parallel processes"
            )
        rank = int(match[1] or 0)
        if int(match[2]) > 0:
            raise UsageError(
                f"{path}: is of a model that was cut over {int(match[2]) + 1} processes or more (tensor parallel), which is not "
                "put together here; wanted a checkpoint of ZeRO over data-parallel processes"
            )
        if rank in kind:
            raise StorageError(
                f"{path}: is of rank {rank}, and so is {kind[rank].name}: files of two saves lie in one folder"
            )
        kind[rank] = path
    return StateFiles(folder, optimizer, model)


def check_ranks(found: Mapping[int, Path], count: int, folder: Path, what: str) -> None:
    """Whether there is a file of each of ``count`` processes, and of no other.

    Raises:
        StorageError: naming the ranks.
    """
    missing = [rank for rank in range(count) if rank not in found]
    if missing:
        raise StorageError(
            f"{folder}: {what}: found no file of rank {', '.join(map(str, missing[:8]))} (there are those of "
            f"{', '.join(map(str, sorted(found)[:8])) or 'none'}); wanted {count} files, one of each process that trained"
        )
    if others := [path.name for rank, path in sorted(found.items()) if rank >= count]:
        raise StorageError(
            f"{folder}: {what}: {others[0]} is of a process beyond the {count} that wrote the others: files of two saves lie in "
            "one folder"
        )


def is_mapping(value: object) -> TypeGuard[dict[str, object]]:
    """Whether it is a mapping by names."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


@dataclass(frozen=True)
class StateFile:
    """One of DeepSpeed's files: the archive, and the mapping in it that fields are looked up in."""

    archive: Archive
    values: Mapping[str, object]
    where: str = ""

    @property
    def path(self) -> Path:
        """The file's."""
        return self.archive.path

    @classmethod
    def read(cls, path: Path) -> StateFile:
        """The file's whole content, but for the numbers of its tensors.

        Raises:
            UsageError, StorageError: as ``read_archive``; or it is no mapping.
        """
        archive = read_archive(path)
        if not is_mapping(archive.content):
            raise StorageError(f"{path}: found {in_words(archive.content)}, wanted a checkpoint of DeepSpeed's")
        return cls(archive, archive.content)

    def _misfit(self, name: str, value: object, wanted: str) -> StorageError:
        return StorageError(f"{self.path}: {self.where}{name}: found {in_words(value)}, wanted {wanted}")

    def within(self, name: str) -> StateFile:
        """The mapping of that name.

        Raises:
            StorageError: there is none.
        """
        value = self.values.get(name)
        if not is_mapping(value):
            raise self._misfit(name, value, "a mapping, as DeepSpeed 0.5 and later write")
        return StateFile(self.archive, value, f"{self.where}{name}.")

    def mapping(self, name: str) -> Mapping[str, object]:
        """The mapping of that name; an empty one where nothing was written.

        Raises:
            StorageError: it is something else.
        """
        return {} if self.values.get(name) is None else self.within(name).values

    def listed(self, name: str) -> list[object]:
        """The list of that name.

        Raises:
            StorageError: there is none.
        """
        value = self.values.get(name)
        if not isinstance(value, list):
            raise self._misfit(name, value, "a list, as DeepSpeed 0.5 and later write")
        return value

    def number(self, name: str) -> int:
        """The whole number of that name; of several, one a group, the largest.

        Raises:
            StorageError: there is none.
        """
        value = self.values.get(name)
        several = value if isinstance(value, list) and value else [value]
        numbers = [one for one in several if isinstance(one, int) and not isinstance(one, bool) and one >= 0]
        if len(numbers) != len(several):
            raise self._misfit(name, value, "a whole number")
        return max(numbers)

    def shapes(self, name: str, value: object) -> dict[str, tuple[int, ...]]:
        """Shapes by tensor.

        Raises:
            StorageError: it is something else.
        """
        if not is_mapping(value):
            raise self._misfit(name, value, "shapes by name")
        shapes: dict[str, tuple[int, ...]] = {}
        for tensor, shape in value.items():
            lengths = tuple(shape) if isinstance(shape, (list, tuple)) else (-1,)
            if not all(type(one) is int and one >= 0 for one in lengths):
                raise self._misfit(f"{name}.{tensor}", shape, "a shape")
            shapes[tensor] = lengths
        return shapes
