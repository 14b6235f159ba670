"""A stream of the items of a JSON array or of JSON Lines, one at a time, in memory bounded by the largest item.

A dataset has gigabytes, and ``json.load`` needs the file's text and its objects at once. Which of the two formats
it is, is told by the first character that is not blank, never by the file's name. What can't be read becomes a ``Broken`` in
the stream, so that a caller can report it together with everything else that is wrong.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from redheart.data.schema import JsonObject

#: Characters of the largest item that is accepted. The largest known ones, 100 vectors as decimal numbers, have 1 Mi.
MAX_ITEM_CHARACTERS = 64 << 20
_CHUNK = 1 << 18
_BLANK = " \t\r\n"
#: A literal or escape that ends where the buffer ends is reported at most this far before that end ("-Infinity").
_NEAR_THE_END = 12
OnBytes = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Item:
    """A value of the array, or a line. ``duplicate_keys``: names that occur twice in one of its objects."""

    index: int
    value: Any
    duplicate_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """What can't be read, where, and what is wanted there. ``index`` None: the file as a whole."""

    index: int | None
    found: str
    wanted: str


class _NotText(Exception):
    """The file is not UTF-8; its text is what was found."""


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


class _Text:
    """The file's text as a window that grows at its end and is cut at its start."""

    def __init__(self, path: Path, source: BinaryIO | None, on_bytes: OnBytes | None) -> None:
        self._file = open(path, "rb") if source is None else source  # noqa: SIM115 – closed by close(): the generator calls it
        self._on_bytes = on_bytes
        self._bytes_before = 0
        self._pending = b""
        self.buffer = ""
        self.at = 0
        self.lines_before = 0
        self.columns_before = 0
        self.ended = False

    def close(self) -> None:
        self._file.close()

    def grow(self) -> bool:
        """Reads on – the more, the more is waiting, so that a long item costs linear time – False at the end.

        Raises:
            _NotText: bytes that are not UTF-8.
        """
        if self.ended:
            return False
        self.lines_before += self.buffer.count("\n", 0, self.at)
        line_end = self.buffer.rfind("\n", 0, self.at)
        self.columns_before = self.at - line_end - 1 + (self.columns_before if line_end < 0 else 0)
        self.buffer = self.buffer[self.at :]
        self.at = 0
        chunk = self._file.read(max(_CHUNK, len(self.buffer)))
        if self._on_bytes is not None:
            self._on_bytes(chunk)
        first = self._bytes_before == 0 and not self._pending
        data = self._pending + chunk
        self.ended = not chunk
        try:
            text, used = codecs.utf_8_decode(data, "strict", self.ended)
        except UnicodeDecodeError as error:
            place = self._bytes_before + error.start
            kind = ""
            if first and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
                kind = " (the file looks like UTF-16)"
            elif first and data[:2] == b"\x1f\x8b":
                kind = " (the file is compressed with gzip)"
            raise _NotText(f"byte 0x{data[error.start]:02x} at byte offset {place}{kind}") from error
        self._bytes_before += used
        self._pending = data[used:]
        if first and text.startswith("\ufeff"):
            text = text[1:]
        self.buffer += text
        return not self.ended or bool(text)

    def skip_blank(self) -> str:
        """Goes to the next character that is not blank and returns it; "" at the end of the file."""
        while True:
            while self.at < len(self.buffer):
                character = self.buffer[self.at]
                if character not in _BLANK:
                    return character
                self.at += 1
            if not self.grow():
                return ""

    def line_of(self, position: int) -> int:
        """The number, from 1, of the line that holds ``buffer[position]``."""
        return self.lines_before + self.buffer.count("\n", 0, position) + 1

    def place_of(self, position: int) -> str:
        """Line and column, both from 1."""
        line_end = self.buffer.rfind("\n", 0, position)
        column = position - line_end + (self.columns_before if line_end < 0 else 0)
        return f"line {self.line_of(position)} column {column}"


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
    text = _Text(path, source, on_bytes)
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
            yield Broken(None, "an empty file", "a JSON array of situations, or JSON Lines")
        else:
            yield Broken(None, f"{first!r} as the first character", "a JSON array of situations, or JSON Lines")
    except _NotText as error:
        yield Broken(None if index is None else index + 1, str(error), "UTF-8 text")
    finally:
        text.close()


def _shown(text: str) -> str:
    return json.dumps(text[:60], ensure_ascii=False) if text else "the end of the file"


def _array(text: _Text) -> Iterator[Item | Broken]:
    decoder = _Decoder()
    index = 0
    if text.skip_blank() == "]":
        text.at += 1
    else:
        while True:
            found = _value(text, decoder, index)
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


def _value(text: _Text, decoder: _Decoder, index: int) -> Item | Broken:
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
        return Item(index, value, twice)


def _rest(text: _Text, position: int) -> bool:
    """Whether a syntax error at ``position`` has more behind it than a value that the file's end cut short."""
    rest = text.buffer[position:].strip()
    return not (rest.startswith('"') or any(word.startswith(rest) for word in ("true", "false", "null", "-Infinity")))


def _lines(text: _Text) -> Iterator[Item | Broken]:
    decoder = _Decoder()
    wanted = "JSON Lines: one whole situation on each line (or an array: [ … ])"
    index = 0
    while text.skip_blank():
        end = text.buffer.find("\n", text.at)
        while end < 0 and len(text.buffer) - text.at <= MAX_ITEM_CHARACTERS and text.grow():
            end = text.buffer.find("\n", text.at)
        if end < 0:
            end = len(text.buffer)
        if end - text.at > MAX_ITEM_CHARACTERS:
            yield Broken(index, f"a line of more than {MAX_ITEM_CHARACTERS} characters", "a smaller item")
            return
        line, number = text.buffer[text.at : end].rstrip(), text.line_of(text.at)
        text.at = end
        try:
            value, stop, twice = decoder.decode(line, 0)
            if line[stop:].strip():
                yield Broken(index, f"{_shown(line[stop:].strip())} after the value on line {number}", wanted)
            else:
                yield Item(index, value, twice)
        except json.JSONDecodeError as error:
            yield Broken(
                index, f"line {number} column {error.pos + 1}: {error.msg}: {_shown(line[error.pos :])}", wanted
            )
            if index == 0 and line == "{":
                return  # one object over many lines: every further line would be reported too
        except RecursionError:
            yield Broken(index, f"line {number}: objects or arrays nested too deeply", "a situation's few levels")
        except ValueError as error:
            yield Broken(index, f"line {number}: {str(error).split(';')[0]}", wanted)
        index += 1
