"""What a killed process left half done in a folder: taken away, or put back, by the next one that is alone there."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

#: Names that are given to what is not yet, or no more, in its place; see ``atomic.py`` and ``replace_folder.py``.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?:\d+-[0-9a-f]{8}\.tmp|writing|old)")


def remove_left_overs(folder: Path, is_ours: Callable[[str], bool]) -> list[Path]:
    """Takes away what lies in ``folder`` under a temporary name; what was there before and has lost its own name gets it back.

    To be called where nobody else writes there. What can't be removed stays.

    Args:
        is_ours: whether a name is one that this program gives; what else has a temporary form of its own is a user's.

    Returns:
        What was found.
    """
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _TEMPORARY.fullmatch(path.name)
        if match is None or not is_ours(match["name"]):
            continue
        found.append(path)
        target = path.with_name(match["name"])
        with contextlib.suppress(OSError):
            if path.suffix == ".old" and not target.exists():
                path.rename(target)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return found
