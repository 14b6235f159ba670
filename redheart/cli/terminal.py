"""The terminal as it is: what its encoding lacks is shown by stand-ins, decided once at the entry; JSON keeps every letter."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from redheart.engine.launch_variables import is_first_process
from redheart.errors import StorageError, UsageError

if TYPE_CHECKING:
    from msgspec import Struct

#: What stands for a sign that a terminal can't show; all of it is ASCII.
_STAND_INS = {
    **{"✅": "[ok]", "❌": "[no]", "⚠": "[!]", "ℹ": "[i]", "\ufe0f": "", "\ufeff": ""},
    **{"–": "-", "—": "-", "−": "-", "─": "-", "×": "x", "·": ".", "•": "*", "…": "...", "÷": "/"},
    **{"→": "->", "↑": "^", "↓": "v", "±": "+-", "≈": "~", "≤": "<=", "≥": ">=", "√": "sqrt", "²": "^2", "‖": "|"},
    **{"‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"', "\u00a0": " "},
    **{"█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "#", "▍": " ", "▎": " ", "▏": " "},
}
#: Whether both streams show Korean letters: the usual ones are enough to ask for.
_KOREAN = "한국어"


def _stand_in(error: UnicodeError, rest: str) -> tuple[str | bytes, int]:
    """One letter's stand-in; ``rest`` is the handler's name for a letter that has none."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter, after = error.object[error.start], error.start + 1
    if letter in _STAND_INS:
        return _STAND_INS[letter], after
    if "\udc80" <= letter <= "\udcff":  # a byte of a file's name that is no letter here: the shell is given it back
        return bytes((ord(letter) - 0xDC00,)), after
    import unicodedata

    if unicodedata.category(letter) == "So":  # a picture before a line
        return "*", after
    error.end = after
    return codecs.lookup_error(rest)(error)[0], after


def prepare_streams() -> None:
    """Makes standard output and error take whatever is printed; a closed one is thrown away."""
    codecs.register_error("redheart.output", lambda error: _stand_in(error, "replace"))
    codecs.register_error("redheart.errors", lambda error: _stand_in(error, "backslashreplace"))
    # With none of its own, a stream's number would go to the next file that is opened, and be written into by libraries.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = _prepared(sys.stdout, "redheart.output")
    sys.stderr = _prepared(sys.stderr, "redheart.errors")


def _prepared(stream: TextIO | None, errors: str) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    reconfigure = getattr(stream, "reconfigure", None)  # not every object that was put there has it
    if reconfigure is not None:
        reconfigure(errors=errors)
    return stream


def throw_output_away() -> None:
    """What is still to be written to standard output goes nowhere: Python flushes once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(text: object, *, end: str = "\n") -> None:
    """Prints on standard output, at once.

    Raises:
        StorageError: the file that it goes to can't be written.
        BrokenPipeError: its reader has gone.
    """
    with _output_errors(), _above_progress_bars():
        print(text, end=end, flush=True)


def _above_progress_bars() -> contextlib.AbstractContextManager[object]:
    """A bar that runs on the same terminal is taken away meanwhile."""
    if "tqdm" not in sys.modules or not sys.stdout.isatty():
        return contextlib.nullcontext()
    from tqdm import tqdm

    return tqdm.external_write_mode(file=sys.stdout)


def flush_output() -> None:
    """Writes what waits, with the errors of ``show``."""
    with _output_errors():
        sys.stdout.flush()


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        throw_output_away()
        raise StorageError(f"standard output could not be written: {error.strerror or error}") from error


def _encoding(stream: TextIO) -> str:
    """The name of a stream's encoding; what has none takes any letter."""
    return codecs.lookup(getattr(stream, "encoding", None) or "utf-8").name


def shows_korean() -> bool:
    """Whether Korean can be read on standard output and error."""
    return all(_has_korean(_encoding(stream)) for stream in (sys.stdout, sys.stderr))


def _has_korean(encoding: str) -> bool:
    try:
        _KOREAN.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def say_that_korean_is_lacking(*, is_typed: bool) -> None:
    """Says, in letters that every terminal has, what becomes of the messages in Korean that were asked for.

    Args:
        is_typed: by ``--lang``, which decides about files too; else by the environment.
    """
    lacking = next(name for name in (_encoding(sys.stdout), _encoding(sys.stderr)) if not _has_korean(name))
    what = "Korean letters are shown as ? or codes" if is_typed else "messages are English"
    with contextlib.suppress(UsageError):  # of the processes' numbers, which is told where they are needed
        if is_first_process():
            asked = "--lang ko" if is_typed else "REDHEART_LANG=ko"
            hint = "PYTHONIOENCODING=utf-8 shows them where the terminal can"
            print(
                f"{asked}: this terminal's encoding ({lacking}) has no Korean letters: {what}; {hint}", file=sys.stderr
            )


def takes_every_letter() -> bool:
    """Whether standard output is UTF-8, as files are that programs read."""
    return _encoding(sys.stdout) == "utf-8"


def print_json(text: str) -> None:
    """Prints JSON so that a program reads the same values whatever the encoding: as it is in UTF-8, else in ASCII."""
    import json
    import re

    beyond = "[\ud800-\udfff]" if takes_every_letter() else r"[^\x00-\x7f]"
    show(re.sub(beyond, lambda letter: json.dumps(letter[0])[1:-1], text))


def print_struct(found: Struct | Sequence[Struct]) -> None:
    """Prints what a command found as JSON; a NaN that another program left in a file is as if nothing had been measured."""
    import msgspec

    from redheart.storage.atomic import to_json
    from redheart.storage.structs import finite

    print_json(to_json(finite(msgspec.to_builtins(found)), indent=2))


def typed(word: str) -> str:
    """A text as it was typed, where the locale says less of its encoding than the terminal sent.

    Raises:
        ValueError: it is not UTF-8.
    """
    try:
        word.encode()
    except UnicodeEncodeError:
        return os.fsencode(word).decode()
    return word
