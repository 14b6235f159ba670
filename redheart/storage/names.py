"""Names of files and folders that can't be used, told before anything is done in or with them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from redheart.errors import UsageError

#: Bytes of a name on the file systems that are in use, and of a path.
MAX_NAME, MAX_PATH = 255, 4095
#: Where a name is cut in a message.
_MOST_SHOWN = 60


def shown_name(path: Path | str) -> str:
    """A name as a message may hold it: bytes that are not UTF-8 and what can't be seen as escapes, long ones cut."""
    text = os.fsencode(str(path)).decode("utf-8", "backslashreplace")
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return text if len(text) <= _MOST_SHOWN + 20 else f"{text[:_MOST_SHOWN]}…"


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_name(path: Path, what: str) -> None:
    """Whether files of this name can be made, read, and told of.

    Args:
        what: what is named so, as an option or a setting: it begins the message.

    Raises:
        UsageError: it is JSON text, too long, not UTF-8, or holds a NUL.
    """
    text = str(path)
    if text.lstrip()[:1] in ("[", "{") and '"' in text:
        raise UsageError(
            f"{what}: found JSON text in a file's place: {shown_name(path)}; wanted a file's name: write the text to a file"
        )
    if "\0" in text:
        raise UsageError(f"{what}: found a NUL character in {shown_name(path)}; wanted a name without")
    for part in path.parts:
        if not _is_utf8(part):
            if (names := sys.getfilesystemencoding()) != "utf-8" and _is_utf8(
                os.fsencode(part).decode("utf-8", "surrogateescape")
            ):
                raise UsageError(
                    f"{what}: found letters that no name has where names are {names}, {shown_name(part)}; with PYTHONUTF8=1 "
                    "they are UTF-8"
                )
            raise UsageError(
                f"{what}: found a name that is not UTF-8, {shown_name(part)}; wanted one that is: rename it (mv, or convmv "
                "for all that an archive left), or work in another folder"
            )
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > MAX_NAME or len(os.fsencode(text)) > MAX_PATH:
        raise UsageError(
            f"{what}: found a name of {max(longest, len(text) if longest <= MAX_NAME else 0)} bytes, {shown_name(path)}; "
            f"wanted at most {MAX_NAME} bytes for a name and {MAX_PATH} for a path"
        )
