"""What consolidating takes, beside DeepSpeed's own script: ``python -m benchmarks.consolidate --folder FOLDER``.

For each preset a checkpoint of two processes is written in DeepSpeed's layout, moments and all, with random numbers and without
training (12 bytes a parameter on the disk, and 10 a parameter in memory while it is made). Then one process after the other, in
turns, makes one safetensors file of it: ours, without checksums and hashes as the script has none; and ``zero_to_fp32.py
--safe_serialization``. Before each the checkpoint is dropped from the system's cache, so that both begin at the disk.

Measured of each process: the peak of its anonymous memory (``RssAnon``, sampled every few milliseconds), less that of a process
that has only imported torch; the peak of all resident memory, mapped files too (``VmHWM``); and wall-clock seconds until its end,
and until what it wrote is on the disk (ours does not end before; the script leaves that to the system). Beside these, ours with all
checksums and hashes, into a folder by module and into one file.

The result goes to ``benchmarks/results/consolidate.json`` with device, versions and date.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.startup import _processor
from benchmarks.zero_files import Model, write_zero
from redheart.model import UnifiedModel, dimensions
from redheart.model.meta_device import meta_device
from redheart.model.statistics import TargetStatistics
from redheart.storage import write_json

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "consolidate.json"
#: What is promised, of the largest preset: anonymous memory over torch alone, time beside the script's; and of memory in both sizes.
GIGABYTES, TIMES, GROWTH_MEGABYTES = 0.6, 1.1, 50.0
RANKS = 2
_EVERY = 0.004
_BARE = "import torch, time; time.sleep(0.5)"
_OURS = """
import sys
from pathlib import Path
from redheart.consolidation import convert, open_source
is_checked = sys.argv[3] == "checked"
convert(open_source(Path(sys.argv[1])), Path(sys.argv[2]), is_checked=is_checked, is_hashed=is_checked)
"""
_SCRIPT = "zero_to_fp32.py"


@dataclass(frozen=True)
class Measured:
    """Of one process: seconds until its end, and until all is on the disk; processor seconds; peaks of memory (MB, 10⁶ bytes)."""

    seconds: float
    seconds_on_disk: float
    processor_seconds: float
    anonymous_megabytes: float
    resident_megabytes: float


def _script() -> Path:
    """DeepSpeed's own, found without importing deepspeed, which is large."""
    deepspeed = find_spec("deepspeed")
    if deepspeed is None or deepspeed.origin is None:
        raise SystemExit("deepspeed is not installed")
    return Path(deepspeed.origin).parent / "utils" / _SCRIPT


def make(folder: Path, preset: str) -> int:
    """A checkpoint of a model of ``preset`` under ZeRO-3 in ``folder``; how many parameters it has."""
    with meta_device():
        model = UnifiedModel(dimensions(preset, d_embed=384), TargetStatistics.neutral())
    generator = torch.Generator().manual_seed(0)
    decayed = {n: torch.randn(one.shape, generator=generator) for n, one in model.named_parameters() if one.dim() > 1}
    others = {n: torch.randn(one.shape, generator=generator) for n, one in model.named_parameters() if one.dim() <= 1}
    buffers = {name: torch.zeros(one.shape, dtype=one.dtype) for name, one in model.named_buffers()}
    write_zero(folder, Model([decayed, others], buffers), stage=3, ranks=RANKS)
    shutil.copy(_script(), folder)  # as DeepSpeed does
    return sum(one.numel() for one in model.parameters())


def _peaks(pid: int, so_far: tuple[float, float]) -> tuple[float, float]:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return so_far
    found = [re.search(rf"{name}:\s+(\d+)", status) for name in ("RssAnon", "VmHWM")]
    now = [1024 * int(one[1]) / 1e6 if one else 0.0 for one in found]
    return max(so_far[0], now[0]), max(so_far[1], now[1])


def measure(command: Sequence[str | Path], written: Path | None = None) -> Measured:
    """Runs ``command`` in a process of its own; ``written``: what it writes, to be put on the disk."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peaks = (0.0, 0.0)
    while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        peaks = _peaks(process.pid, peaks)
        time.sleep(_EVERY)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    for file in [] if written is None else [written, *written.rglob("*")]:
        if file.is_file():
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
    on_disk = time.perf_counter() - began
    busy = ended[2].ru_utime + ended[2].ru_stime
    return Measured(round(seconds, 2), round(on_disk, 2), round(busy, 2), round(peaks[0], 1), round(peaks[1], 1))


def _out_of_cache(folder: Path) -> None:
    for file in folder.rglob("*.pt"):
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _removed(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)


def alternate(source: Path, target: Path, times: int) -> dict[str, list[Measured]]:
    """Every subject in turn, ``times`` times; the last two once, for what checksums cost."""
    one, folder, theirs = target / "one.safetensors", target / "by_module", target / "script"
    subjects: dict[str, tuple[list[str | Path], Path]] = {
        "ours": (["-c", _OURS, source, one, "unchecked"], one),
        "zero_to_fp32": ([source / _SCRIPT, source, theirs, "--safe_serialization"], theirs),
        "ours, hashed, one file": (["-c", _OURS, source, one, "checked"], one),
        "ours, hashed, by module": (["-c", _OURS, source, folder, "checked"], folder),
    }
    found: dict[str, list[Measured]] = {name: [] for name in subjects}
    for turn in range(times):
        order = list(subjects.items())[: 4 if turn == 0 else 2]
        for name, (command, written) in order if turn % 2 == 0 else reversed(order):
            _out_of_cache(source)
            found[name].append(measure(command, written))
            print(f"{source.name}: {name}: {found[name][-1]}", flush=True)
            if turn == 0 and name == "zero_to_fp32":
                _same(one, theirs / "model.safetensors")
            if name != "ours" or turn > 0:
                _removed(written)
    return found


def _same(ours: Path, theirs: Path) -> None:
    from safetensors import safe_open

    with safe_open(str(ours), framework="pt") as one, safe_open(str(theirs), framework="pt") as other:
        assert set(one.keys()) == set(other.keys())
        for name in one.keys():  # noqa: SIM118
            assert torch.equal(one.get_tensor(name), other.get_tensor(name)), name
    _removed(ours)


def summary(found: Mapping[str, Mapping[str, Sequence[Measured]]], bare: Measured) -> dict[str, object]:
    """Medians, ratios, and whether the promises hold; the last preset is the largest."""
    told = {}
    for preset, runs in found.items():
        median = {name: statistics.median(one.seconds_on_disk for one in each) for name, each in runs.items()}
        until_end = {name: statistics.median(one.seconds for one in each) for name, each in runs.items()}
        memory = {name: max(one.anonymous_megabytes for one in each) for name, each in runs.items()}
        told[preset] = {
            "median_seconds": median,
            "median_seconds_until_its_end": until_end,
            "times_the_script": round(median["ours"] / median["zero_to_fp32"], 3),
            "times_the_script_until_its_end": round(until_end["ours"] / until_end["zero_to_fp32"], 3),
            "anonymous_megabytes_over_torch": {
                name: round(one - bare.anonymous_megabytes, 1) for name, one in memory.items()
            },
            "resident_megabytes": {name: max(one.resident_megabytes for one in each) for name, each in runs.items()},
        }
    largest = told[list(found)[-1]]
    over = [one["anonymous_megabytes_over_torch"]["ours"] for one in told.values()]  # type: ignore[index]
    return {
        "presets": told,
        "holds": {
            f"at most {GIGABYTES} GB over torch": over[-1] <= 1000 * GIGABYTES,
            f"at most {TIMES} times the script's time": largest["times_the_script"] <= TIMES,  # type: ignore[operator]
            f"memory within {GROWTH_MEGABYTES:.0f} MB in all sizes": max(over) - min(over) <= GROWTH_MEGABYTES,
        },
    }


def main() -> int:
    """Makes, measures, stores; exit code 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="made, and removed in the end; 20 bytes a parameter")
    parser.add_argument("--presets", nargs="+", default=["small", "730m"], help="the largest one last")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--to", type=Path, default=RESULT)
    asked = parser.parse_args()
    found, parameters = {}, {}
    asked.folder.mkdir(parents=True)
    try:
        bare = measure(["-c", _BARE])
        for preset in asked.presets:
            parameters[preset] = make(asked.folder / preset, preset)
            found[preset] = alternate(asked.folder / preset, asked.folder, asked.times)
            shutil.rmtree(asked.folder / preset)
    finally:
        shutil.rmtree(asked.folder)
    told = summary(found, bare)
    about = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "device": {
            "cpu": _processor(),
            "logical_cpus": os.cpu_count(),
            "system": platform.machine(),
            "load": round(os.getloadavg()[0], 1),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "deepspeed", "safetensors")},
        },
        "ranks": RANKS,
        "parameters": parameters,
        "bare": asdict(bare),
    }
    runs = {preset: {name: [asdict(one) for one in each] for name, each in of.items()} for preset, of in found.items()}
    write_json(asked.to, {**about, **told, "runs": runs})
    print(json.dumps(told, indent=2))
    return 0 if all(told["holds"].values()) else 1  # type: ignore[attr-defined]


if __name__ == "__main__":
    raise SystemExit(main())
