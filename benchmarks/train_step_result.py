"""The form of ``benchmarks/results/gpu_train_step.json``: these types are its schema, and nothing else is written or read.

It has two places, one for a GPU at full size and one for a CPU at reduced size; a run fills one and leaves the other as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from redheart.storage import write_text

RESULT = Path(__file__).parent / "results" / "gpu_train_step.json"
Positive = Annotated[float, Meta(gt=0.0)]
Count = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


class NotMeasured(Struct, frozen=True, forbid_unknown_fields=True, tag_field="status", tag="not measured"):
    """Nobody has run it there yet."""


class Device(Struct, frozen=True, forbid_unknown_fields=True):
    """What it ran on.

    Attributes:
        peak_flops: dense bf16 matrix products per second by the maker's data sheet; null where the device is not in our table.
        matmul_flops: what a large bf16 matrix product reached here in this run.
    """

    kind: Literal["cuda", "cpu"]
    name: str
    memory_bytes: Count
    peak_flops: Positive | None
    peak_source: str | None
    matmul_flops: Positive | None


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """One subject at one batch size.

    Attributes:
        seconds: median of a whole step; ``low`` and ``high`` are the deciles.
        flops: operations of a step, counted from the modules, recomputation not among them.
        mfu: of the device's peak; null where there is none.
        peak_bytes: of device memory during its steps; null on a CPU.
    """

    subject: str
    situations: Count
    outcome: Literal["measured", "out of memory"]
    steps: int
    seconds: Positive | None = None
    low: Positive | None = None
    high: Positive | None = None
    situations_per_second: Positive | None = None
    flops: Positive | None = None
    flops_per_second: Positive | None = None
    mfu: Annotated[float, Meta(gt=0.0, lt=1.0)] | None = None
    peak_bytes: Count | None = None


class Kernel(Struct, frozen=True, forbid_unknown_fields=True):
    """A kernel (or, on a CPU, an operator) of the profile; ``share`` is of the profiled time."""

    name: str
    category: str
    calls: Count
    seconds: Positive
    share: Fraction


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the time of a step goes.

    Attributes:
        shares: of the profiled time by category; ``idle`` is when the device had nothing to do. They sum to 1.
    """

    subject: str
    situations: Count
    seconds: Positive
    shares: dict[str, Fraction]
    top: list[Kernel]


class Subject(Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured: its size, and the operations of one situation's forward pass."""

    what: str
    parameters: Count
    forward_flops: Positive


class Run(Struct, frozen=True, forbid_unknown_fields=True, tag_field="status", tag="measured"):
    """One run of the benchmark.

    Attributes:
        clock: what a row's seconds are counted by; all others are by the clock on the wall.
        compile_seconds: of the model's first compiled step, the compiling included; null where nothing was compiled.
        graphs: how many graphs the model took in the whole run, over all batch sizes.
        skipped: what time did not suffice for, or did not work, in words.
        complete: it came to its end.
    """

    date: str
    device: Device
    versions: dict[str, str]
    preset: str
    segments: Count
    precision: Literal["bf16"]
    compile_backend: str
    clock: Literal["device", "processor time of one thread"]
    model: Subject
    peer: Subject
    compile_seconds: Positive | None
    graphs: int
    rows: list[Row]
    profile: Profile | None
    skipped: list[str]
    seconds: Positive
    complete: bool


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    gpu: Run | NotMeasured = NotMeasured()
    reduced: Run | NotMeasured = NotMeasured()


def read_result(path: Path = RESULT) -> Result:
    """What is there; nothing measured where there is no file.

    Raises:
        msgspec.ValidationError: it is not of this form.
    """
    return msgspec.json.decode(path.read_bytes(), type=Result) if path.exists() else Result()


def store_run(run: Run, path: Path = RESULT) -> None:
    """Puts ``run`` in its place of the file."""
    found = read_result(path)
    changed = Result(gpu=run, reduced=found.reduced) if run.device.kind == "cuda" else Result(found.gpu, run)
    # What is written is read back by the same types: a value out of its range never gets into the file.
    encoded = msgspec.json.encode(changed)
    msgspec.json.decode(encoded, type=Result)
    write_text(path, msgspec.json.format(encoded, indent=2).decode() + "\n")
