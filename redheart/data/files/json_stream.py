"""A stream of the items of a JSON array or of JSON Lines, one at a time, in memory bounded by the largest item.

A dataset has gigabytes, and ``json.load`` needs the file's text and its objects at once. Which of the two formats
it is, is told by the first character that is not blank, never by the file's name. What can't be read becomes a ``Broken`` in
the stream, so that a caller can report it together with everything else that is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from redheart.data.files.foreign_files import other_language
from redheart.data.files.other_forms import kind_and_keys, other_form
from redheart.data.files.own_files import own_file
from redheart.data.files.text_window import BLANK, NotText, OnBytes, TextWindow
from redheart.data.problems import visible
from redheart.data.schema import JsonObject

#: Characters of the largest item that is accepted. The largest known ones, 100 vectors as decimal numbers, have 1 Mi.
MAX_ITEM_CHARACTERS = 64 << 20
_LINES = "JSON Lines: one whole situation on each line (or an array: [ … ])"
_FORM = "a JSON array of situations, or JSON Lines"
#: A literal or escape that ends where the buffer ends is reported at most this far before that end ("-Infinity").
_NEAR_THE_END = 12
_MOST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Item:
    """A value of the array, or a line. ``duplicate_keys``: names that occur twice in one of its objects."""

    index: int
    value: Any
    duplicate_keys: tuple[str, ...] = ()
    in_array: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """What can't be read, where, and what is wanted there. ``index`` None: the file as a whole."""

    index: int | None
    found: str
    wanted: str


class _Decoder:
    """Decodes one JSON value and notices names that an object has twice, of which ``json`` would drop the first."""

    def __init__(self) -> None:
        self._twice: list[str] = []
        self._json = json.JSONDecoder(object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> JsonObject:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen and name not in self._twice:
                    self._twice.append(name)
                seen.add(name)
        return made

    def decode(self, text: str, start: int) -> tuple[Any, int, tuple[str, ...]]:
        """The value at ``start``, where it ends, and the duplicate names in it."""
        self._twice.clear()
        value, end = self._json.raw_decode(text, start)
        return value, end, tuple(self._twice)


def stream_items(
    path: Path, source: BinaryIO | None = None, on_bytes: OnBytes | None = None
) -> Iterator[Item | Broken]:
    """The items of ``path``, in order. After a ``Broken`` an array ends; JSON Lines go on with the next line.

    Args:
        source: what to read in the file's place; it is closed in the end.
        on_bytes: given all bytes as they are read, so that a hash is of what was read and not of what came later.

    Raises:
        OSError: the file can't be opened or read.
    """
    text = TextWindow(path, source, on_bytes)
    index = None
    try:
        first = text.skip_blank()
        if first == "[":
            text.at += 1
            for found in _array(text):
                index = found.index
                yield found
        elif first == "{":
            for found in _lines(text):
                index = found.index
                yield found
        elif first == "":
            yield Broken(None, "an empty file", _FORM)
        else:
            hint = other_language(text.buffer[text.at :])
            yield Broken(None, f"{first!r} as the first character{hint}", _FORM)
    except NotText as error:
        yield Broken(None if index is None else index + 1, *error.form)
    finally:
        text.close()


def _shown(text: str, end: str = "the end of the file") -> str:
    return visible(json.dumps(text[:_MOST_SHOWN], ensure_ascii=False)) if text else end


def _array(text: TextWindow) -> Iterator[Item | Broken]:
    decoder = _Decoder()
    index = 0
    if text.skip_blank() == "]":
        text.at += 1
    else:
        while True:
            found = _value(text, decoder, index, in_array=True)
            yield found
            if isinstance(found, Broken):
                return
            index += 1
            delimiter = text.skip_blank()
            if delimiter == ",":
                text.at += 1
                if text.skip_blank() != "]":
                    continue
                yield Broken(
                    index, f"a comma before the closing ] at {text.place_of(text.at)}", "another item, or no comma"
                )
                return
            if delimiter == "]":
                text.at += 1
                break
            if not delimiter:
                yield Broken(index, "the end of the file (it is truncated)", "',' and another item, or ']'")
            else:
                yield Broken(index, f"{delimiter!r} at {text.place_of(text.at)}", "',' and another item, or ']'")
            return
    if rest := text.skip_blank():
        yield Broken(index, f"{rest!r} after the closing ] at {text.place_of(text.at)}", "nothing after the array")


def _value(text: TextWindow, decoder: _Decoder, index: int, *, in_array: bool = False) -> Item | Broken:
    text.skip_blank()
    wanted = "valid JSON"
    while True:
        try:
            value, end, twice = decoder.decode(text.buffer, text.at)
        except json.JSONDecodeError as error:
            unfinished = error.msg.startswith("Unterminated string") or error.pos >= len(text.buffer) - _NEAR_THE_END
            if unfinished and len(text.buffer) - text.at > MAX_ITEM_CHARACTERS:
                return Broken(index, f"more than {MAX_ITEM_CHARACTERS} characters without an end", "a smaller item")
            if unfinished and not text.ended:
                text.grow()  # it moves the buffer: positions in it are void
                continue
            if unfinished and error.msg.startswith(("Unterminated", "Expecting")) and not _rest(text, error.pos):
                return Broken(index, f"the end of the file inside the item (it is truncated): {error.msg}", wanted)
            return Broken(
                index, f"{error.msg} at {text.place_of(error.pos)}: {_shown(text.buffer[error.pos :])}", wanted
            )
        except RecursionError:
            return Broken(index, "objects or arrays nested too deeply", "a situation's few levels")
        except ValueError as error:  # an integer of thousands of digits
            return Broken(index, str(error).split(";")[0], wanted)
        # A number that touches the end of the buffer may go on behind it: "1" of "1.5", and of "1e-" what is not read yet.
        if len(text.buffer) - end < 3 and not text.ended:
            text.grow()
            continue
        text.at = end
        return Item(index, value, twice, in_array)


def _rest(text: TextWindow, position: int) -> bool:
    """Whether a syntax error at ``position`` has more behind it than a value that the file's end cut short."""
    rest = text.buffer[position:].strip()
    return not (rest.startswith('"') or any(word.startswith(rest) for word in ("true", "false", "null", "-Infinity")))


def _lines(text: TextWindow) -> Iterator[Item | Broken]:
    decoder = _Decoder()
    index = 0
    while text.skip_blank():
        length = _line_length(text)
        if length > MAX_ITEM_CHARACTERS:
            begins = _shown(text.buffer[text.at : text.at + _MOST_SHOWN])
            yield Broken(index, f"a line of more than {MAX_ITEM_CHARACTERS} characters, {begins} …", "a smaller item")
            return
        line, number = text.buffer[text.at : text.at + length].rstrip(), text.line_of(text.at)
        try:
            value, stop, twice = decoder.decode(line, 0)
            found = _after(line[stop:], number, index) or Item(index, value, twice)
        except json.JSONDecodeError as error:
            several = _over_lines(text, decoder, index, length) if error.pos >= len(line) - 1 else None
            if several is not None:
                yield from several
                if isinstance(several[-1], Broken):
                    return  # every further line would be reported too
                index += 1
                continue
            end = (
                "the end of the file" if text.ended and text.at + length >= len(text.buffer) else "the end of the line"
            )
            found = Broken(
                index, f"line {number} column {error.pos + 1}: {error.msg}: {_shown(line[error.pos :], end)}", _LINES
            )
        except RecursionError:
            found = Broken(index, f"line {number}: objects or arrays nested too deeply", "a situation's few levels")
        except ValueError as error:
            found = Broken(index, f"line {number}: {str(error).split(';')[0]}", _LINES)
        text.at += length
        yield found
        index += 1


def _line_length(text: TextWindow) -> int:
    """Characters from here to the line's end; a line that is too long is not read further."""
    end = text.buffer.find("\n", text.at)
    while end < 0 and len(text.buffer) - text.at <= MAX_ITEM_CHARACTERS and text.grow():
        end = text.buffer.find("\n", text.at)
    return (end if end >= 0 else len(text.buffer)) - text.at


def _after(rest: str, number: int, index: int) -> Broken | None:
    """What stands on a line behind its value, if it is anything."""
    rest = rest.replace("\ufeff", "").strip()
    return Broken(index, f"{_shown(rest)} after the value on line {number}", _LINES) if rest else None


def _over_lines(text: TextWindow, decoder: _Decoder, index: int, length: int) -> list[Item | Broken] | None:
    """The object that begins on this line of ``length`` characters and goes on behind it, or what is wrong with it.

    None where nothing speaks for such an object: the next line begins one of its own, or none follows.
    """
    number = text.line_of(text.at)
    found = _value(text, decoder, index)
    if isinstance(found, Broken):
        endless = len(text.buffer) - text.at > MAX_ITEM_CHARACTERS
        if text.buffer[text.at + length :].lstrip(BLANK)[:1] in ("", "{") and not endless:
            return None
        what = f"{_shown(text.buffer[text.at : text.at + length])} …: {found.found}" if endless else found.found
        return [Broken(index, f"an object that goes over several lines, from line {number}: {what}", _LINES)]
    last = text.line_of(text.at)
    if own := own_file(found.value):
        return [Broken(index, *own)]
    form = other_form(found.value, in_array=False)
    if form is not None or not (isinstance(found.value, dict) and found.value.keys() & {"id", "text"}):
        what = form.found if form else kind_and_keys(found.value)
        found_there = f"an object that goes over several lines, from line {number} to {last}: {what}"
        return [Broken(index, found_there, form.wanted if form else _LINES)]
    length = _line_length(text)
    broken = _after(text.buffer[text.at : text.at + length], last, index)
    text.at += length
    return [found] if broken is None else [found, broken]
