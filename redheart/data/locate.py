"""The location of the dataset: which file a run reads when none was named, said in the log."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from redheart.errors import DataError
from redheart.messages import info

DEFAULT_NAME = "claude_preprocessed_complete.json"
DEFAULT_FOLDER = "for_learn_dataset"
EMBEDDED_ENDING = ".embedded.json"


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


def locate_dataset(explicit: Path | None, cwd: Path) -> Located:
    """The named file, else ``claude_preprocessed_complete``, else the bundled sample; the log says which.

    It is looked for in ``cwd``, then in its ``for_learn_dataset/``.

    In either folder the ``.embedded.json`` is preferred – unless the dataset beside it was changed since: then the
    dataset is taken, and the vectors of what did not change are found again by their keys.

    Raises:
        DataError: the named file, or anything at all, is not there.
    """
    if explicit is not None:
        path = explicit if explicit.is_absolute() else cwd / explicit
        if not path.exists():
            raise DataError(f"{explicit}: found no such file; wanted a dataset (JSON array or JSON Lines)")
        located = Located(path, is_bundled_sample(path))
        info("data.dataset", path=explicit)
        return located
    for folder in (cwd, cwd / DEFAULT_FOLDER):
        plain = folder / DEFAULT_NAME
        embedded = plain.with_suffix(EMBEDDED_ENDING)
        if embedded.exists() and plain.exists() and plain.stat().st_mtime_ns > embedded.stat().st_mtime_ns:
            info("data.newer_than_embedded", path=plain, embedded=embedded.name)
            return Located(plain, False)
        for path in (embedded, plain):
            if path.exists():
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
