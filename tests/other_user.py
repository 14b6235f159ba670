"""What another user would see, where root runs the tests: asked in a forked child.

A new interpreter is not asked: that user may not be able to start it (it may lie below a home that only its owner may
enter), and the child has imported all it needs.
"""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

_NOBODY = 65534
_FAILED = "failed\n"


def as_another_user(action: Callable[[], str]) -> str:
    """The answer of ``action`` to a user without rights; where it is not root who asks, to the user who asks.

    ``action`` must have been called once before, so that it imports nothing any more.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads are not there in the child, nor needed
        child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(_NOBODY)
                os.setuid(_NOBODY)
            answer = action()
        except BaseException:
            answer = _FAILED + traceback.format_exc()
        os.write(writing, answer.encode())
        os._exit(0)  # not a return into a second pytest
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    assert not answer.startswith(_FAILED), answer
    return answer


def let_others_reach(folder: Path) -> None:
    """Opens the tests' own folders on the way to ``folder``, and skips where the way is closed further up."""
    for one in (folder, *folder.parents[:3]):
        if one == folder or one.name.startswith("pytest"):
            one.chmod(0o755)
    if as_another_user(lambda: str(os.access(folder, os.R_OK | os.X_OK))) != "True":
        pytest.skip(f"another user can't reach {folder}")
