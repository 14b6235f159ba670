"""Inputs of a prediction: a typed text, a file, or standard input, as checked situations."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from redheart.data import Situation, read_dataset
from redheart.data.files.foreign_files import encoding_of, foreign_form, other_language
from redheart.data.problems import is_blank
from redheart.data.validation import ItemCheck
from redheart.errors import DataError, UsageError
from redheart.messages import text
from redheart.progress import Progress
from redheart.storage.names import as_typed

#: Stands for standard input, in the place of a text.
STANDARD_INPUT = "-"
#: What the one text is called inside that has no id of its own. No dataset may call a story so.
ONLY_TEXT = ""
#: No file's name is longer on any usual system, and looking for one would be an error of its own.
_MAX_NAME = 255
#: Bytes by which a file's form is told.
_HEAD = 4096
_TEXT_ENDINGS, _DATA_ENDINGS = (".txt", ".text"), (".json", ".jsonl", ".ndjson")
#: How an object, or an array of objects or of nothing, begins: a story may begin with a bracket, but hardly with this.
_JSON_START = re.compile(rb"(\xef\xbb\xbf)?\s*(\{|\[\s*(\{|\]\s*\Z))")


def read_inputs(
    words: Sequence[str], file: Path | None, *, title: str | None = None, action: str | None = None
) -> list[Situation]:
    """The situations that were asked for; one without an id of its own is called ``ONLY_TEXT``.

    Args:
        words: the texts that were typed: none, or one; ``-`` stands for standard input, which is also read where there is
            neither a text nor a file, unless it is a terminal.
        file: ``.txt`` is one text; ``.json`` and ``.jsonl`` hold situations as a dataset does, of which only ``id`` and
            ``text`` are needed.
        title, action: of the one text.

    Raises:
        UsageError: nothing, or too much, was given; the text is empty.
        DataError: the file does not hold what it should; naming item and field.
    """
    if len(words) > 1:
        raise UsageError(f"found {len(words)} texts, wanted one: put it in quotes, or put several into a --file")
    if words and file is not None:
        raise UsageError("found a text and --file, wanted one of them")
    if file is not None:
        return _from_file(file, title, action)
    if words and words[0] != STANDARD_INPUT:
        _refuse_name_of_a_file(words[0])
        return [_one("the text", words[0], title, action)]
    if sys.stdin is None or (not words and sys.stdin.isatty()):
        raise UsageError(
            "found nothing to predict; wanted a text in quotes, --file FILE, or text on standard input (-)"
        )
    with Progress(text("progress.standard_input")):
        content = sys.stdin.buffer.read()
    return _from_bytes(Path("standard input"), content, title, action)


def _refuse_name_of_a_file(word: str) -> None:
    """A single word that names a file here is no story.

    Raises:
        UsageError: it is one, with the option that reads it.
    """
    suffixed = len(word.split()) == 1 and Path(word).suffix.lower() in (*_TEXT_ENDINGS, *_DATA_ENDINGS)
    if suffixed and len(word) < _MAX_NAME and Path(word).is_file():
        raise UsageError(f"found the name of a file as the text; did you mean --file {as_typed(word)}?")


def _from_file(file: Path, title: str | None, action: str | None) -> list[Situation]:
    ending = file.suffix.lower()
    if ending in _DATA_ENDINGS and file.is_fifo():  # it can be read once, and a dataset's file is read twice
        return _from_bytes(file, _content(file), title, action, holds_situations=True)
    if ending in _DATA_ENDINGS:
        _refuse_headings(file, title, action)
        return read_dataset(file)
    if file.is_dir():
        raise UsageError(f"{file}: found a folder; wanted a file: .txt (one text), or .json or .jsonl (situations)")
    if ending not in _TEXT_ENDINGS:
        raise UsageError(
            f"{file}: found a name that ends in {ending!r}{_look(file)}; wanted .txt (one text), or .json or .jsonl (situations)"
        )
    return [_one(str(file), _decoded(str(file), _content(file)), title, action)]


def _look(file: Path) -> str:
    """What a file of another name seems to be, in brackets; "" where nothing tells, or it can't be read."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
    except OSError:
        return ""
    foreign = foreign_form(head)
    return f" ({foreign.found})" if foreign else other_language(head.decode("utf-8", "replace"))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: can't be read: {error.strerror or error}") from error


def _from_bytes(
    name: Path, content: bytes, title: str | None, action: str | None, *, holds_situations: bool = False
) -> list[Situation]:
    if holds_situations or _JSON_START.match(content):
        _refuse_headings(name, title, action)
        return read_dataset(name, source=io.BytesIO(content))
    return [_one(str(name), _decoded(str(name), content), title, action)]


def _refuse_headings(name: Path, title: str | None, action: str | None) -> None:
    if title is not None or action is not None:
        raise UsageError(f"{name}: its situations have titles and actions of their own; leave --title and --action out")


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        head = content[:_HEAD]
        foreign = foreign_form(head)
        found = f"byte 0x{content[error.start]:02x} at {error.start}{encoding_of(head)}"
        raise DataError(f"{name}: found {foreign.found if foreign else found}; wanted UTF-8 text") from error


def _one(name: str, text: str, title: str | None, action: str | None) -> Situation:
    """The situation, checked by the rules of a dataset.

    Raises:
        UsageError: naming each field that is wrong.
    """
    check = ItemCheck({"id": "text", "text": text, "title": title, "action": action})
    for field, given in (("title", title), ("action", action)):
        if given is not None and is_blank(given):
            raise UsageError(f"{name}, field {field}: found an empty one; wanted words, or no --{field}")
    if check.situation is None:
        raise UsageError(
            "; ".join(f"{name}, field {one.field}: found {one.found}; wanted {one.wanted}" for one in check.problems)
        )
    return replace(check.situation, id=ONLY_TEXT)
