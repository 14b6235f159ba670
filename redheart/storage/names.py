"""Names of files and folders that can't be used, told before anything is done in or with them."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from pathlib import Path

from redheart.errors import UsageError

#: Bytes of a name on the file systems that are in use, and of a path.
MAX_NAME, MAX_PATH = 255, 4095
#: Where a name is cut in a message.
_MOST_SHOWN = 60


def shown_name(path: Path | str) -> str:
    """A name as a message may hold it: bytes that are not UTF-8 and what can't be seen as escapes, long ones cut."""
    try:
        text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair that stands for no byte, as from an escape in YAML
        text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return text if len(text) <= _MOST_SHOWN + 20 else f"{text[:_MOST_SHOWN]}…"


def _dangling_link(path: Path) -> str:
    """The first part of ``path`` that is a link to what is not there, in words; empty where none is."""
    for part in reversed((path, *path.parents)):
        if os.path.islink(part) and not os.path.exists(part):
            return f"{shown_name(part)} is a link to {shown_name(os.readlink(part))}, which is not there"
    return ""


def reason_of(error: OSError | NotImplementedError, path: Path) -> str:
    """Why nothing could be done with ``path``. Of a link to what is not there the system says that the file exists."""
    code = getattr(error, "errno", None)
    found = _dangling_link(path) if code in (errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.ELOOP) else ""
    return found or getattr(error, "strerror", None) or str(error)


def check_can_be_a_folder(path: Path, what: str) -> None:
    """Whether a folder of this name can be made, as far as links are concerned.

    Raises:
        UsageError: it is, or lies behind, a link to what is not there.
    """
    if found := _dangling_link(path):
        raise UsageError(f"{what}: {found}; wanted a folder: make what it names, or remove the link")


def as_typed(path: Path | str) -> str:
    """A path as it is typed in a shell, for the commands that messages advise."""
    return shlex.quote(str(path))


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def fault_of_letters(name: str) -> str:
    """What keeps files of ours from having ``name``, whatever its length; empty where nothing does.

    In a locale such as C, UTF-8 that was typed comes as bytes without a letter each.
    """
    if "\0" in name:
        return "a NUL character"
    encoding = sys.getfilesystemencoding()
    try:
        written = os.fsencode(name)
    except UnicodeEncodeError:
        written = None
    if written is not None and _is_utf8(name):
        return ""
    if written is None or (encoding != "utf-8" and _is_utf8(written.decode("utf-8", "surrogateescape"))):
        hint = "" if encoding == "utf-8" else " (with PYTHONUTF8=1 they are UTF-8)"
        return f"letters that no name has where names are {encoding}{hint}"
    return "a name that is not UTF-8"


def check_name(path: Path, what: str, *, within: Path | None = None) -> None:
    """Whether files of this name can be made, read, and told of.

    Args:
        what: what is named so, as an option or a setting: it begins the message.
        within: where ``path`` starts; None: the current folder.

    Raises:
        UsageError: it is JSON text, too long, not UTF-8, or holds a NUL.
    """
    text = str(path)
    if text.lstrip()[:1] in ("[", "{") and '"' in text:
        raise UsageError(
            f"{what}: found JSON text in a file's place: {shown_name(path)}; wanted a file's name: write the text to a file"
        )
    parts = ((within or Path.cwd()) / path).parts
    for part in parts:
        if fault := fault_of_letters(part):
            raise UsageError(
                f"{what}: found {fault}, {shown_name(part)}; wanted another name: rename it (mv, or convmv for all that an "
                "archive left), or work in another folder"
            )
    longest = max(len(os.fsencode(part)) for part in parts)
    if longest > MAX_NAME or len(os.fsencode(text)) > MAX_PATH:
        raise UsageError(
            f"{what}: found a name of {max(longest, len(text) if longest <= MAX_NAME else 0)} bytes, {shown_name(path)}; "
            f"wanted at most {MAX_NAME} bytes for a name and {MAX_PATH} for a path"
        )
