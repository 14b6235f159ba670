"""A window on a file's text, which is read piece by piece as UTF-8: what was read and is needed yet, and where in the file that is."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from redheart.data.files.foreign_files import Foreign, encoding_of, foreign_form

_CHUNK = 1 << 18
#: Between values; a byte-order mark stands within a file where it was put together from several.
BLANK = " \t\r\n\ufeff"
OnBytes = Callable[[bytes], object]


class NotText(Exception):
    """The file is not text in UTF-8."""

    def __init__(self, found: str, wanted: str = "UTF-8 text") -> None:
        super().__init__(found)
        self.form = Foreign(found, wanted)


class TextWindow:
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
            NotText: bytes that are not UTF-8.
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
        foreign = foreign_form(data) if first else None
        if foreign is not None:
            raise NotText(*foreign)
        try:
            text, used = codecs.utf_8_decode(data, "strict", self.ended)
        except UnicodeDecodeError as error:
            place = self._bytes_before + error.start
            raise NotText(f"byte 0x{data[error.start]:02x} at byte offset {place}{encoding_of(data)}") from error
        self._bytes_before += used
        self._pending = data[used:]
        self.buffer += text
        return not self.ended or bool(text)

    def skip_blank(self) -> str:
        """Goes to the next character that is not blank and returns it; "" at the end of the file."""
        while True:
            while self.at < len(self.buffer):
                character = self.buffer[self.at]
                if character not in BLANK:
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
