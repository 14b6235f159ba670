"""How soon the command line answers, and what counting the 730M model takes: ``python -m benchmarks.startup``.

Each number is the best of several runs in fresh processes; the peer beside ``--help`` is Python itself doing nothing.
The result goes to ``benchmarks/results/startup.json`` with machine, versions and date.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "startup.json"
#: What is promised: seconds for ``--help``; seconds and megabytes of resident memory for counting the 730M preset.
HELP_SECONDS, PARAMS_SECONDS, PARAMS_MEGABYTES = 0.3, 4.0, 600.0


def measure(words: list[str], runs: int) -> dict[str, float]:
    """Best wall-clock and processor seconds and highest peak resident memory (MB, 10⁶ bytes) of ``python WORDS``."""
    seconds, busy, peak = [], [], 0.0
    for _ in range(runs):
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds.append(time.perf_counter() - started)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"python {' '.join(words)} ended with exit code {process.returncode}")
        busy.append(usage.ru_utime + usage.ru_stime)  # what other load on the machine hardly changes
        peak = max(peak, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6)
    return {
        "best_seconds": round(min(seconds), 3),
        "best_processor_seconds": round(min(busy), 3),
        "peak_megabytes": round(peak, 1),
        "runs": runs,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> int:
    """Measures, stores, and says whether the promises hold; exit code 1 where one does not."""
    measured = {
        "python -c pass": measure(["-c", "pass"], 10),
        "redheart --help": measure(["-m", "redheart", "--help"], 10),
        "redheart params --preset 730m": measure(["-m", "redheart", "params", "--preset", "730m"], 3),
    }
    counting = measured["redheart params --preset 730m"]
    promises = {
        f"--help below {HELP_SECONDS} s": measured["redheart --help"]["best_seconds"] < HELP_SECONDS,
        f"params below {PARAMS_SECONDS} s": counting["best_seconds"] < PARAMS_SECONDS,
        f"params below {PARAMS_MEGABYTES} MB": counting["peak_megabytes"] < PARAMS_MEGABYTES,
    }
    result: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "measured": measured,
        "promises": promises,
    }
    text = json.dumps(result, indent=2, ensure_ascii=False)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0 if all(promises.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
