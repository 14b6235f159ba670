"""The checks of a folder that was named to be written: nothing of others is replaced, and no later stage takes it away."""

from __future__ import annotations

from pathlib import Path

from redheart.errors import UsageError
from redheart.paths import output_around


def refuse_within_run(target: Path) -> None:
    """A run's folder is the run's: a later one moves what is there away, and a stage replaces it.

    Raises:
        UsageError: ``target`` lies in one, or is one.
    """
    output = output_around(target)
    if output is not None:
        raise UsageError(
            f"{target}: lies in the folder of a run, {output}, where a later run or stage may replace it or move it away; "
            f"name a folder outside, such as --to {output.parent / 'my-model'}"
        )
