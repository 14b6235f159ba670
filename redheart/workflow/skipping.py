"""A stage that was done with the same inputs is not done again. What its inputs were is remembered beside its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redheart.messages import info, text
from redheart.paths import OutputPaths
from redheart.storage import fingerprint, read_json, write_json


def _read(output: Path) -> dict[str, str]:
    path = OutputPaths(output).stages
    found = read_json(path) if path.exists() else {}
    return found if isinstance(found, dict) else {}


def is_done(output: Path, stage: str, inputs: dict[str, Any], results: list[Path], *, force: bool) -> bool:
    """Whether ``stage`` has these ``results`` of these ``inputs`` already; says so if it has."""
    if force or any(not path.exists() for path in results) or _read(output).get(stage) != fingerprint(inputs):
        return False
    info("workflow.stage_skipped", name=text(f"workflow.stage_{stage}"))
    return True


def mark_done(output: Path, stage: str, inputs: dict[str, Any]) -> None:
    """Remembers that ``stage`` was done with ``inputs``."""
    write_json(OutputPaths(output).stages, {**_read(output), stage: fingerprint(inputs)})
