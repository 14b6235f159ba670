"""Pictures under our own settings: what a notebook's environment or a ``matplotlibrc`` says decides nothing.

The only file that imports matplotlib itself: others get it here, after it was loaded without what is inherited.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_BACKEND = "MPLBACKEND"


def _load() -> None:
    """Imports matplotlib, which reads its backend from the environment and a ``matplotlibrc`` of the folder it starts in."""
    inherited = os.environ.get(_BACKEND)
    os.environ[_BACKEND] = "agg"  # one of a notebook is refused outside of it
    try:
        import_module("matplotlib")
    except (OSError, UnicodeError):  # a matplotlibrc can't be read: in its own folder it finds the one it brings
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # half of it: what was loaded before is no longer known to the new whole
        here = os.getcwd()
        os.chdir(Path(str(getattr(find_spec("matplotlib"), "origin", None))).parent / "mpl-data")
        try:
            import_module("matplotlib")
        finally:
            os.chdir(here)
    finally:
        if inherited is None:
            del os.environ[_BACKEND]
        else:
            os.environ[_BACKEND] = inherited


_load()

# ruff: noqa: E402 - only now
import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

__all__ = [
    "Artist",
    "Axes",
    "ConstrainedLayoutEngine",
    "Figure",
    "FigureCanvasAgg",
    "FuncFormatter",
    "Line2D",
    "LogLocator",
    "MaxNLocator",
    "NullFormatter",
    "Rectangle",
    "own_settings",
]


@contextlib.contextmanager
def own_settings(settings: Any = None) -> Iterator[None]:
    """Within it, or in a function that it decorates, figures are made and written with matplotlib's defaults and ``settings``."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings or {})
        yield
