"""What a crossover of five epochs costs, beside a plain loop: ``python -m benchmarks.crossover --folder FOLDER``.

Epochs with random weights are written once. Then, in processes of their own that alternate, a crossover (each module from another
epoch) and an average of all five are put together and written with their hashes: by the stage's own functions, and by the
plainest loop over safetensors' ``load_file`` and ``save_file`` with the same hashes read and written. Measured are seconds and the
peak of anonymous memory above a process that has imported the same and done nothing. What both wrote is compared.

Then eight candidates (``benchmarks/candidate_process.py``) are scored on ``judge`` and ``test``, by the stage's scorer and by a loop
that loads each candidate once: seconds, peak memory, and how often each file was hashed and copied from, in bytes by bytes on
disk. Losses are compared. The result goes to ``benchmarks/results/crossover.json`` with device, versions and date.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

from benchmarks.startup import _processor
from redheart.checkpoint import Manifest, save_epoch
from redheart.model import TargetStatistics, UnifiedModel, dimensions
from redheart.storage import write_json
from redheart.tasks import MODULES

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "crossover.json"
EPOCHS = 5
#: What is aimed at: bytes above the base, and times the plain loop's time.
BYTES, TIMES = 0.5e9, 1.5
#: And in scoring candidates: times the size of a model above the base.
MODELS = 1.1
_CHILD = """
import hashlib, re, sys, threading, time
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from redheart.checkpoint import Manifest
from redheart.checkpoint.epoch import save_streamed
from redheart.crossover.strategies import EpochFiles, crossover, uniform
from redheart.tasks import MODULES
torch.set_num_threads(1)
way, what, run, target = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
peak, ended = 0, threading.Event()

def anonymous():
    return 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def watch():
    global peak
    while not ended.wait(0.005):
        peak = max(peak, anonymous())

base = anonymous()
thread = threading.Thread(target=watch); thread.start()
epochs = {module: (1 + number % 5,) if what == "crossover" else (1, 2, 3, 4, 5) for number, module in enumerate(MODULES)}
began = time.perf_counter()
if way == "ours":
    files = EpochFiles(run)
    recipe = crossover("x", {module: one[0] for module, one in epochs.items()}) if what == "crossover" else uniform("x", range(1, 6))
    save_streamed(target, files.forms(recipe), files.tensors(recipe), Manifest())
elif way == "plain":
    target.mkdir()
    for module, chosen in epochs.items():
        total = None
        for epoch in chosen:
            file = run / "checkpoints" / f"epoch_{epoch:04d}" / f"{module}.safetensors"
            with open(file, "rb") as source:
                hashlib.file_digest(source, "sha256")
            tensors = load_file(file)
            if len(chosen) == 1:
                total = tensors
            elif total is None:
                total = {name: tensor.double() for name, tensor in tensors.items()}
            else:
                for name, tensor in tensors.items():
                    total[name] += tensor
        if len(chosen) > 1:
            total = {name: (tensor / len(chosen)).to(tensors[name].dtype) for name, tensor in total.items()}
        save_file(total, target / f"{module}.safetensors")
        with open(target / f"{module}.safetensors", "rb") as written:
            hashlib.file_digest(written, "sha256")
seconds = time.perf_counter() - began
ended.set(); thread.join()
print(seconds, max(peak, base) - base)
"""


def write_epochs(folder: Path, preset: str) -> int:
    """Five epochs with random weights; the number of parameters."""
    torch.manual_seed(0)
    dims, targets = dimensions(preset, d_embed=384), TargetStatistics.neutral()
    model = UnifiedModel(dims, targets)
    facts = Manifest(run="benchmark", model=dims.to_json(), statistics=targets.to_json())
    for epoch in range(1, EPOCHS + 1):
        save_epoch(folder, epoch=epoch, state=model.state_dict(), manifest=replace(facts, global_step=epoch))
        with torch.no_grad():
            for one in model.parameters():
                one.mul_(1.01)
    return sum(one.numel() for one in model.parameters())


def measure(way: str, what: str, folder: Path, target: Path) -> tuple[float, float]:
    """Seconds and bytes of one process."""
    words = [sys.executable, "-c", _CHILD, way, what, str(folder), str(target)]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True
    )
    seconds, extra = map(float, done.stdout.split())
    return seconds, extra


def measure_candidates(way: str, folder: Path, situations: int) -> dict[str, Any]:
    """What ``benchmarks/candidate_process.py`` prints."""
    words = [sys.executable, "-m", "benchmarks.candidate_process", way, str(folder), str(situations)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def candidates(folder: Path, rounds: int, situations: int) -> dict[str, Any]:
    """Both ways in turn; their losses must be the same."""
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}
    for _ in range(rounds):
        for way, measured in found.items():
            measured.append(measure_candidates(way, folder, situations))
            shown = {name: value for name, value in measured[-1].items() if name != "losses"}
            print(f"candidates, {way}: {json.dumps(shown)}", flush=True)
        assert found["ours"][-1].pop("losses") == found["plain"][-1].pop("losses")
    pairs = list(zip(found["ours"], found["plain"], strict=True))
    return {
        "situations": situations,
        "rounds": found,
        "times": statistics.median(ours["seconds"] / plain["seconds"] for ours, plain in pairs),
        "times_of_cpu": statistics.median(ours["cpu"] / plain["cpu"] for ours, plain in pairs),
        "bytes": max(ours["bytes"] for ours in found["ours"]),
    }


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same tensors."""
    from safetensors.torch import load_file

    for module in MODULES:
        a, b = (load_file(str(folder / f"{module}.safetensors")) for folder in (one, other))
        if a.keys() != b.keys() or not all(torch.equal(a[name], b[name]) for name in a):
            return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, stores, and prints a table; 1 where an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="730m", choices=("tiny", "small", "730m"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--situations", type=int, default=200, help="that candidates are scored on a share of")
    parser.add_argument("--folder", type=Path, help="on a disk with room for seven models (default: a temporary one)")
    chosen = parser.parse_args(argv)
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as temporary:
        folder = Path(temporary)
        parameters = write_epochs(folder, chosen.preset)
        for what in ("crossover", "average"):
            rows: dict[str, list[float]] = {"ours": [], "plain": [], "our bytes": [], "plain bytes": []}
            for _ in range(chosen.rounds):
                for way in ("ours", "plain"):
                    target = folder / way
                    subprocess.run(["rm", "-rf", str(target)], check=True)
                    seconds, extra = measure(way, what, folder, target)
                    rows[way].append(round(seconds, 2))
                    rows["our bytes" if way == "ours" else "plain bytes"].append(extra)
                assert same(folder / "ours", folder / "plain"), what
            found[what] = rows
            print(what, json.dumps(rows), flush=True)
        scored = candidates(folder, chosen.rounds, chosen.situations)
    ratios = {
        what: statistics.median(a / b for a, b in zip(rows["ours"], rows["plain"], strict=True))
        for what, rows in found.items()
    }
    peaks = {what: max(rows["our bytes"]) for what, rows in found.items()}
    write_json(
        RESULT,
        {
            "preset": chosen.preset,
            "parameters": parameters,
            "rounds": found,
            "times": ratios,
            "bytes": peaks,
            "candidates": scored,
            "device": _processor(),
            "versions": {name: version(name) for name in ("torch", "safetensors")},
            "date": datetime.now(timezone.utc).date().isoformat(),
        },
    )
    for what in found:
        print(
            f"{what}: {ratios[what]:.2f} times the plain loop's time (aim {TIMES}), {peaks[what] / 1e9:.2f} GB above the base "
            f"(aim {BYTES / 1e9:.1f}; the plain loop {max(found[what]['plain bytes']) / 1e9:.2f})"
        )
    of_a_model = scored["bytes"] / (4 * parameters)
    copied = {way: measured[0]["times"]["copied"] for way, measured in scored["rounds"].items()}
    print(
        f"candidates: {scored['times']:.2f} times the plain loop's time, {scored['times_of_cpu']:.2f} times its processor time, "
        f"{of_a_model:.2f} models above the base (aim {MODELS}); a file is copied from {copied['ours']['mean']:.2f} times "
        f"(the plain loop {copied['plain']['mean']:.2f}), at most {copied['ours']['most']:.2f}, and hashed once"
    )
    missed = any(ratios[what] > TIMES or peaks[what] > BYTES for what in found)
    return int(missed or of_a_model > MODELS)


if __name__ == "__main__":
    sys.exit(main())
