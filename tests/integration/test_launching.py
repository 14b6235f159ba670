"""A group of processes that hangs fails its test soon, and shows where it hung."""

from __future__ import annotations

import os
import sys

import pytest

from tests.integration.launching import run_unless_silent

CHILD = "import time\ndef stuck_here():\n    time.sleep(60)\nprint('on its way', flush=True)\nstuck_here()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


def test_one_that_says_nothing_for_too_long_is_ended_and_says_where_it_was() -> None:
    with pytest.raises(AssertionError, match=r"nothing was said for 1 s") as found:
        run_unless_silent([sys.executable, "-c", PARENT], environment=dict(os.environ), silence=1.0)
    assert "on its way" in str(found.value) and "in stuck_here" in str(found.value)


def test_one_that_goes_on_speaking_is_left_alone() -> None:
    speaking = (
        "import time\nfor _ in range(5):\n    time.sleep(0.3); print('still here', flush=True)\nraise SystemExit(3)"
    )
    done = run_unless_silent([sys.executable, "-c", speaking], environment=dict(os.environ), silence=1.0)
    assert done.returncode == 3 and done.stdout.count("still here") == 5
