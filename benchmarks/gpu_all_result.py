"""The form of ``benchmarks/results/gpu_all.json``: parts by name, each as it was measured last on a GPU and, reduced, on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from redheart.storage import write_text

RESULT = Path(__file__).parent / "results" / "gpu_all.json"


class Fact(Struct, frozen=True, forbid_unknown_fields=True):
    """One number of a part, or in ``text`` what there is instead of one."""

    what: str
    value: float | None = None
    unit: str = ""
    text: str = ""


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """What a part came to. ``failed``: it did not come to its end; its last fact says why."""

    date: str
    device: str
    kind: Literal["cuda", "cpu"]
    versions: dict[str, str]
    seconds: float
    failed: bool
    facts: list[Fact]


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """The file. A part that is absent was not measured there."""

    gpu: dict[str, Part] = {}
    reduced: dict[str, Part] = {}


def read_result(path: Path = RESULT) -> Result:
    """What is there; nothing measured where there is no file.

    Raises:
        msgspec.ValidationError: it is not of this form.
    """
    return msgspec.json.decode(path.read_bytes(), type=Result) if path.exists() else Result()


def store_part(name: str, part: Part, path: Path = RESULT) -> None:
    """Puts a part in its place and leaves the others as they are."""
    found = read_result(path)
    changed = (
        Result({**found.gpu, name: part}, found.reduced)
        if part.kind == "cuda"
        else Result(found.gpu, {**found.reduced, name: part})
    )
    write_text(path, msgspec.json.format(msgspec.json.encode(changed), indent=2).decode() + "\n")
