"""Facts of a run's surroundings: the machine that writes the report, the packages, the files that are there."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

import redheart
from redheart.machine import inspect_machine
from redheart.paths import OutputPaths
from redheart.report.facts import FileFacts, GpuFacts, MachineFacts

#: Folders whose content is summed up in one line of the list of files: hundreds of files that nobody reads one by one.
SUMMED_FOLDERS = (
    *(place.relative for place in (OutputPaths.checkpoints, OutputPaths.best_model, OutputPaths.embeddings)),
    *(place.relative for place in (OutputPaths.previous, OutputPaths.tensorboard)),
    *(OutputPaths.sweep.within(name).relative for name in ("logs", "sweeps", "trials")),
)
_PACKAGES = ("torch", "accelerate", "deepspeed", "sentence-transformers", "safetensors", "numpy", "scipy", "matplotlib")


def machine_facts(output: Path) -> MachineFacts:
    """What this machine is and has; ``output`` says which disk is meant."""
    machine = inspect_machine(output)
    return MachineFacts(
        system=f"{platform.system()} ({platform.machine()})",  # no release: it names one machine's kernel build
        cpu=_processor(),
        python=platform.python_version(),
        cores=machine.cores,
        host_bytes=machine.host_bytes,
        memory_bytes=psutil.virtual_memory().total,
        disk_bytes=machine.disk_bytes,
        gpus=[GpuFacts(name=gpu.name, total_bytes=gpu.total_bytes) for gpu in machine.gpus],
    )


def _processor() -> str | None:
    """The model of the CPU as its maker calls it; None where the system doesn't say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next((name for name in named if name and name != "unknown"), platform.processor() or None)


def package_versions() -> dict[str, str | None]:
    """Of this program and what its numbers depend on; None for what is not installed."""
    found: dict[str, str | None] = {"redheart": redheart.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def files_under(output: Path) -> list[FileFacts]:
    """Files under ``output`` with their sizes; folders of many files as one line. The report itself is left out."""
    listed: list[FileFacts] = []
    sums: dict[str, list[int]] = {}
    for folder, folders, names in os.walk(output):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            relative = path.relative_to(output).as_posix()
            if name.startswith(".") or relative.startswith(f"{OutputPaths.report.relative}/") or not path.is_file():
                continue
            summed = next((one for one in SUMMED_FOLDERS if relative.startswith(f"{one}/")), None)
            if summed is None:
                listed.append(FileFacts(path=relative, files=1, bytes=path.stat().st_size))
            else:
                sums.setdefault(summed, []).append(path.stat().st_size)
    listed += [FileFacts(path=f"{name}/", files=len(sizes), bytes=sum(sizes)) for name, sizes in sums.items()]
    return sorted(listed, key=lambda file: file.path)
