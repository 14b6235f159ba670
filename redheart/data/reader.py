"""The reader of a dataset: every item checked, every problem reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from redheart.data.files.json_stream import Broken, Item, stream_items
from redheart.data.files.other_forms import other_form
from redheart.data.files.own_files import own_file
from redheart.data.files.text_window import OnBytes
from redheart.data.problems import ProblemReport, shown, visible
from redheart.data.schema import Situation
from redheart.data.validation import ItemCheck
from redheart.messages import text, warn
from redheart.progress import Progress

PROBLEM_LIMIT = 50
#: Different unknown names that are remembered, and of these shown.
_MOST_NAMES, _NAMES_SHOWN = 1000, 10


@dataclass(slots=True)
class _First:
    """The first item with something, and how many have it."""

    index: int
    item_id: str
    count: int = 0


class _Reading:
    """One pass over a dataset: its problems, the ids that were met, the labels that others outvoted, and numbers taken as a bound."""

    def __init__(self, path: Path, problem_limit: int) -> None:
        self._path = path
        self._first_index: dict[str, int] = {}
        self._outvoted = 0
        self._first_outvoted = ""
        self._rounded = 0
        self._first_rounded = ""
        self._items = 0
        self._forms = self._own = 0
        self._unknown: dict[str, None] = {}
        self._misspelt: dict[tuple[str, str], _First] = {}
        self.problems = ProblemReport(path, problem_limit)

    def take(self, found: Item | Broken) -> Situation | None:
        """The situation, if it is good; what is wrong with it is remembered."""
        if isinstance(found, Broken):
            self.problems.add(found.index, None, None, found.found, found.wanted)
            return None
        self._items += 1
        if self._is_other_form(found):
            return None
        check = ItemCheck(found.value, found.duplicate_keys)
        raw_id = found.value.get("id") if isinstance(found.value, dict) else None
        if check.problems:
            item_id = shown(raw_id) if raw_id is not None else ("(none)" if isinstance(found.value, dict) else None)
            for problem in check.problems:
                self.problems.add(found.index, item_id, *problem)
        if isinstance(raw_id, str):
            first = self._first_index.setdefault(raw_id, found.index)
            if first != found.index:
                where = f"the same id in items {first} and {found.index}"
                self.problems.add(found.index, shown(raw_id), "id", where, "every id once")
                return None
        if check.label_disagrees:
            self._outvoted += 1
            self._first_outvoted = self._first_outvoted or str(raw_id)
        self._take_names(check, found.index, shown(raw_id))
        if check.rounded:
            self._rounded += check.rounded
            self._first_rounded = self._first_rounded or str(raw_id)
        return check.situation

    def _is_other_form(self, found: Item) -> bool:
        """Whether the item is no situation but of a form that is known; the first of them is a problem."""
        own = own_file(found.value) if self._own == self._items - 1 else None  # of a dataset, one may lack its text
        form = own or other_form(found.value, in_array=found.in_array)
        if form is None:
            return False
        self._forms += 1
        self._own += own is not None
        if self._forms == 1:  # the others are the same fact, and told by their number
            self.problems.add(found.index, None, None, *form)
        return True

    def _take_names(self, check: ItemCheck, index: int, item_id: str) -> None:
        if len(self._unknown) < _MOST_NAMES:
            self._unknown.update(dict.fromkeys(name for name in check.unknown if name not in check.misspelt))
        for pair in check.misspelt.items():
            self._misspelt.setdefault(pair, _First(index, item_id)).count += 1

    def _say_names(self) -> None:
        """Adds a problem for each name that was likely meant for another; warns of the others that no one reads."""
        for (name, meant), first in self._misspelt.items():
            there = f"an unknown field in {first.count} items" if first.count > 1 else "an unknown field"
            self.problems.add(
                first.index, first.item_id, name, f"{there} without {meant}", f"{meant} (did you mean {meant}?)"
            )
        if self._unknown and not self.problems.count:
            names = [visible(name) for name in self._unknown]
            rest = f" (+{len(names) - _NAMES_SHOWN})" if len(names) > _NAMES_SHOWN else ""
            warn("data.unknown_fields", path=self._path, names=", ".join(names[:_NAMES_SHOWN]) + rest)

    def finish(self) -> None:
        """Raises what was wrong; where nothing was, warns of rounded numbers and of labels that are not the highest-voted."""
        if not self._items and not self.problems.count:
            self.problems.add(None, None, None, "an empty array", "at least one situation")
        self._say_names()
        if self._forms > 1 and self._own < self._items:  # a file of ours as a whole is one fact
            more = f"{self._forms - 1} more items that are no situations either"
            self.problems.add(None, None, None, more, "situations (see the first)")
        if self.problems.count:
            raise self.problems.error()
        if self._rounded:
            warn("data.rounded", path=self._path, count=self._rounded, id=self._first_rounded)
        warn_of_outvoted_labels(self._path, self._outvoted, self._first_outvoted)


def warn_of_outvoted_labels(path: Path, count: int, first_id: str) -> None:
    """Says that the labels of ``count`` items, ``first_id`` the first, are not what most voted for; nothing at 0."""
    if count:
        warn("data.label_disagrees", path=path, count=count, id=first_id)


def _unreadable(error: OSError) -> tuple[str, str]:
    """What was found in the place of a file that can be read, and what is wanted."""
    if isinstance(error, IsADirectoryError):
        return "a folder", "a file: a JSON array of situations, or JSON Lines"
    if isinstance(error, FileNotFoundError):
        return "no such file", "a JSON array of situations, or JSON Lines"
    if isinstance(error, PermissionError):
        return "a file that may not be read (no permission)", "read permission for this user"
    return f"an error on reading: {error.strerror or error}", "a readable file"


def iter_situations(
    path: Path,
    *,
    problem_limit: int = PROBLEM_LIMIT,
    source: BinaryIO | None = None,
    on_bytes: OnBytes | None = None,
) -> Iterator[Situation]:
    """The good situations of ``path`` as they are met; what is wrong with the others is raised at the end of the file.

    A caller that must not act on a part of a broken dataset uses ``read_dataset``, or acts when the last was met.

    Args:
        path: a JSON array or JSON Lines, UTF-8.
        problem_limit: how many problems are told in full.
        source: what to read in the file's place; ``path`` is then what messages call it.
        on_bytes: given all bytes as they are read.

    Raises:
        DataError: all problems, each with file, item, id, field, what was found and what is wanted.
    """
    reading = _Reading(path, problem_limit)
    try:
        size = path.stat().st_size if source is None else 0  # 0: unknown, as of a pipe
        with Progress(text("progress.reading", name=path.name), size or None, is_brief=True, unit="B") as progress:

            def pass_on(block: bytes) -> None:
                progress.update(len(block))
                if on_bytes is not None:
                    on_bytes(block)

            for found in stream_items(path, source, pass_on):
                situation = reading.take(found)
                if situation is not None:
                    yield situation
    except OSError as error:
        reading.problems.add(None, None, None, *_unreadable(error))
    reading.finish()


def read_dataset(
    path: Path,
    *,
    problem_limit: int = PROBLEM_LIMIT,
    source: BinaryIO | None = None,
    on_bytes: OnBytes | None = None,
) -> list[Situation]:
    """All situations of ``path``, once all of them are known to be good.

    Raises:
        DataError: all problems, each with file, item, id, field, what was found and what is wanted.
    """
    return list(iter_situations(path, problem_limit=problem_limit, source=source, on_bytes=on_bytes))
