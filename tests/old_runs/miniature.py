"""A model of 7 thousand numbers in the place of ``tiny``, so that whole runs are small enough to be kept in the repository.

As a program it is the command line with that model, of whichever Red Heart ``PYTHONPATH`` leads to:

    python tests/old_runs/miniature.py train --config settings.yaml
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

#: The narrowest that attention with two heads can be. Depths are those of ``tiny``, but for the backbone's.
SIZES: dict[str, Any] = {
    "d_model": 4,
    "layers": 1,
    "attention_heads": 2,
    "head_width": 4,
    "analyzer_width": 4,
    "wrapper_width": 4,
    "phase_width": 4,
    "signal_channels": 7,
    "signal_width": 4,
    "state_width": 4,
}
CENTRES = 4
#: Names a file or folder after whose appearance the first process asks itself to stop, as a cluster's scheduler would.
STOP_AFTER = "STOP_AFTER"


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Makes ``tiny`` small, in this process. It is the name that identities hold, so they are those of a real run."""
    from redheart.model import PRESETS, dimensions

    patch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], **SIZES))
    presets = importlib.import_module(dimensions.__module__)
    patch.setattr(presets, next(name for name in ("MAX_CENTRES", "MOST_CENTRES") if hasattr(presets, name)), CENTRES)


def stop_after(path: Path) -> None:
    """Has this process send itself a SIGTERM in the first optimizer step once ``path`` is there.

    Where ``path`` is an epoch's checkpoint that this process writes, that is the same step every time, on any machine.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook

    is_asked = False

    def look(*_: object) -> None:
        nonlocal is_asked
        if not is_asked and path.exists():
            is_asked = True
            os.kill(os.getpid(), signal.SIGTERM)

    register_optimizer_step_post_hook(look)


if __name__ == "__main__":
    from redheart.cli.main import main

    shrink(pytest.MonkeyPatch())
    if STOP_AFTER in os.environ and os.environ.get("RANK", "0") == "0":
        stop_after(Path(os.environ[STOP_AFTER]))
    sys.exit(main())
