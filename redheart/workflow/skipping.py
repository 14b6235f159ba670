"""The skip check: whether a stage was done with the same inputs, which are stored beside its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from redheart.messages import info, text
from redheart.paths import OutputPaths
from redheart.storage import Json, fingerprint, read_struct, write_json

#: What a stage's results follow from: hashes of files, and settings; see ``inputs.py``.
Inputs = Mapping[str, Json]


def _read(output: Path) -> dict[str, str]:
    path = OutputPaths(output).stages
    return read_struct(path, dict[str, str], fix="remove it: the stages are then done again") if path.exists() else {}


def is_done(
    output: Path,
    stage: str,
    inputs: Inputs,
    results: list[Path],
    *,
    force: bool,
    older: Inputs | None = None,
) -> bool:
    """Whether ``stage`` has these ``results`` of these ``inputs`` already; says so if it has.

    Args:
        older: the same inputs as an earlier version remembered them, where they can be told from what it remembered.
    """
    alike = {fingerprint(one) for one in (inputs, older) if one is not None}
    if force or any(not path.exists() for path in results) or _read(output).get(stage) not in alike:
        return False
    info("workflow.stage_skipped", name=text(f"workflow.stage_{stage}"))
    return True


def mark_done(output: Path, stage: str, inputs: Inputs) -> None:
    """Remembers that ``stage`` was done with ``inputs``."""
    write_json(OutputPaths(output).stages, {**_read(output), stage: fingerprint(inputs)})
