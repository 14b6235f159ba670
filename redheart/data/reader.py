"""Reads a dataset: every item checked, every problem reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from redheart.data.json_stream import Broken, stream_items
from redheart.data.schema import Situation
from redheart.data.validation import ItemCheck, shown
from redheart.errors import DataError
from redheart.messages import warn

PROBLEM_LIMIT = 50


class _Problems:
    """The lines of the report: the first ones in full, the rest as a number."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._lines: list[str] = []
        self.count = 0

    def add(self, index: int | None, item_id: str | None, field: str | None, found: str, wanted: str) -> None:
        self.count += 1
        if len(self._lines) >= self._limit:
            return
        place = "" if index is None else f", item {index} (counting from 0)"
        place += "" if item_id is None else f", id {item_id}"
        place += "" if field is None else f", field {field}"
        self._lines.append(f"{self._path}{place}: found {found}; wanted {wanted}")

    def error(self) -> DataError:
        lines = list(self._lines)
        if self.count > len(lines):
            lines.append(f"…and {self.count - len(lines)} more")
        noun = "problem" if self.count == 1 else "problems"
        return DataError(f"{self._path}: {self.count} {noun} in the dataset; nothing was written", tuple(lines))


def iter_situations(
    path: Path, *, problem_limit: int = PROBLEM_LIMIT, source: BinaryIO | None = None
) -> Iterator[Situation]:
    """The good situations of ``path`` as they are met; what is wrong with the others is raised at the end of the file.

    A caller that must not act on a part of a broken dataset uses ``read_dataset``.

    Args:
        path: a JSON array or JSON Lines, UTF-8.
        problem_limit: how many problems are told in full.
        source: what to read in the file's place; ``path`` is then what messages call it.

    Raises:
        DataError: all problems, each with file, item, id, field, what was found and what is wanted.
    """
    problems = _Problems(path, problem_limit)
    seen: dict[str, int] = {}
    disagreeing: list[str] = []
    disagreeing_count = items = 0
    try:
        for found in stream_items(path, source):
            if isinstance(found, Broken):
                problems.add(found.index, None, None, found.found, found.wanted)
                continue
            items += 1
            check = ItemCheck(found.value, found.duplicate_keys)
            raw_id = found.value.get("id") if isinstance(found.value, dict) else None
            item_id = shown(raw_id) if raw_id is not None else ("(none)" if isinstance(found.value, dict) else None)
            for problem in check.problems:
                problems.add(found.index, item_id, *problem)
            if isinstance(raw_id, str):
                first = seen.setdefault(raw_id, found.index)
                if first != found.index:
                    where = f"the same id in items {first} and {found.index}"
                    problems.add(found.index, item_id, "id", where, "every id once")
                    continue
            if check.label_disagrees:
                disagreeing_count += 1
                disagreeing = disagreeing or [str(raw_id)]
            if check.situation is not None:
                yield check.situation
    except IsADirectoryError:
        problems.add(None, None, None, "a folder", "a file: a JSON array of situations, or JSON Lines")
    except FileNotFoundError:
        problems.add(None, None, None, "no such file", "a JSON array of situations, or JSON Lines")
    except PermissionError:
        problems.add(None, None, None, "a file that may not be read (no permission)", "read permission for this user")
    except OSError as error:
        problems.add(None, None, None, f"an error on reading: {error.strerror or error}", "a readable file")
    if not items and not problems.count:
        problems.add(None, None, None, "an empty array", "at least one situation")
    if problems.count:
        raise problems.error()
    if disagreeing:
        warn("data.label_disagrees", path=path, count=disagreeing_count, id=disagreeing[0])


def read_dataset(path: Path, *, problem_limit: int = PROBLEM_LIMIT, source: BinaryIO | None = None) -> list[Situation]:
    """All situations of ``path``, once all of them are known to be good.

    Raises:
        DataError: all problems, each with file, item, id, field, what was found and what is wanted.
    """
    return list(iter_situations(path, problem_limit=problem_limit, source=source))
