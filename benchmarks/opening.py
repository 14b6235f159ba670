"""What opening an embedded dataset costs, beside an earlier revision: ``python -m benchmarks.opening --folder FOLDER``.

The dataset is the bundled sample, replicated with other ids and texts, with random vectors laid out as ``redheart embed``
lays them. Each measurement is a fresh process; those of the two revisions alternate. Measured are processor seconds of the
call alone – other load on the machine hardly changes them – and the process's peak of resident memory. The result goes to
``benchmarks/results/opening.json`` with device, versions and date.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.startup import _processor
from redheart.data.locate import bundled_sample
from redheart.embedding.store import NewRecord, VectorStoreWriter
from redheart.storage import read_json, write_json

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "opening.json"
EARLIER = "4238d59"
#: What is promised: the first opening beside one validated read of the earlier revision; an opening after it.
FIRST_TIMES, AGAIN_SECONDS, AGAIN_MEGABYTES = 1.2, 3.0, 400.0
D_EMBED = 384
_A_BATCH = 1024
_WINDOW_CHARACTERS = 200
_CALL = {
    "read": "from redheart.data import read_dataset as call",
    "open": "from redheart.embedding import open_embedded as call",
    "table": "from {table} import SituationTable; call = SituationTable.open",
}
#: Where the table is, here and in the earlier revision.
_TABLE = {False: "redheart.batches.table", True: "redheart.training.table"}
_CHILD = """
import json, re, resource, sys, time
from pathlib import Path
{imports}
def resident():
    status = Path("/proc/self/status")  # the peak that getrusage tells begins with that of the process that started this one
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = resident()
started, wall = time.process_time(), time.perf_counter()
opened = call(Path(sys.argv[1]))
seconds, wall = time.process_time() - started, time.perf_counter() - wall
peak = resident()
print(json.dumps([seconds, wall, before, peak, getattr(opened, "identity", "")]))
"""


@dataclass(frozen=True)
class Measured:
    """Processor and wall-clock seconds of one call; resident memory (MB, 10⁶ bytes) before it and at its peak."""

    seconds: float
    wall_seconds: float
    megabytes_before: float
    megabytes: float
    identity: str


@dataclass(frozen=True)
class Subject:
    """What is measured: a call, of which revision, with or without the facts that an earlier opening stored."""

    name: str
    call: str
    earlier: bool = False
    without_facts: bool = False


SUBJECTS = (
    Subject("validated read, earlier", "read", earlier=True),
    Subject("opening, earlier", "open", earlier=True),
    Subject("validated read", "read"),
    Subject("first opening", "open", without_facts=True),
    Subject("opening again", "open"),
    Subject("table again", "table"),
    Subject("table, earlier", "table", earlier=True),
)


def _records(count: int) -> Iterator[tuple[dict[str, object], NewRecord]]:
    items = read_json(bundled_sample())
    random = np.random.default_rng(0)
    for number in range(count):
        copy, place = divmod(number, len(items))
        item = dict(items[place])
        item["id"], item["text"] = f"{item['id']}-{copy}", f"{item['text']} ({copy})"
        key = item["embedding_key"] = hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()
        kinds = f"01{'2' * min(13, 1 + len(item['text']) // _WINDOW_CHARACTERS)}3"
        yield item, NewRecord(key, kinds, random.standard_normal((len(kinds), D_EMBED), np.float32))


def make(folder: Path, count: int) -> Path:
    """An embedded dataset of ``count`` situations in ``folder``; its ``.embedded.json``."""
    folder.mkdir(parents=True)
    path = folder / "replicated.embedded.json"
    writer = VectorStoreWriter(folder / "replicated.vectors", "0123456789abcdef", model_name="random", d_embed=D_EMBED)
    waiting: list[NewRecord] = []
    with open(path, "w", encoding="utf-8") as out:
        for number, (item, record) in enumerate(_records(count)):
            out.write(("[\n" if number == 0 else ",\n") + json.dumps(item, ensure_ascii=False))
            waiting.append(record)
            if len(waiting) == _A_BATCH:
                writer.append(waiting, precision="fp32")
                waiting = []
        out.write("\n]\n")
    writer.append(waiting, precision="fp32")
    return path


def measure(subject: Subject, path: Path, earlier: Path) -> Measured:
    """Runs the subject's call in a process of its own."""
    if subject.without_facts:
        for facts in path.parent.glob("*.vectors/facts*"):
            facts.unlink()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _CHILD.replace("{imports}", _CALL[subject.call].format(table=_TABLE[subject.earlier])),
            str(path),
        ],
        env={**os.environ, "PYTHONPATH": str(earlier if subject.earlier else ROOT), "OMP_NUM_THREADS": "1"},
        cwd=path.parent,
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, wall, before, peak, identity = json.loads(done.stdout.splitlines()[-1])
    return Measured(round(seconds, 3), round(wall, 3), round(before / 1e6, 1), round(peak / 1e6, 1), identity)


def summary(found: dict[str, list[Measured]]) -> dict[str, object]:
    """Medians, ratios, and whether the promises hold."""
    seconds = {name: statistics.median(one.seconds for one in runs) for name, runs in found.items()}
    ratio = seconds["first opening"] / seconds["validated read, earlier"]
    peak = max(one.megabytes for one in found["opening again"])
    identities = {one.identity for runs in found.values() for one in runs if one.identity}
    return {
        "median_processor_seconds": {name: round(one, 3) for name, one in seconds.items()},
        "peak_megabytes": {name: max(one.megabytes for one in runs) for name, runs in found.items()},
        "first_opening_to_earlier_read": round(ratio, 3),
        "identities_agree": len(identities) == 1,
        "holds": {
            f"first opening at most {FIRST_TIMES} earlier reads": ratio <= FIRST_TIMES,
            f"again under {AGAIN_SECONDS} s": seconds["opening again"] < AGAIN_SECONDS,
            f"again under {AGAIN_MEGABYTES} MB": peak < AGAIN_MEGABYTES,
        },
    }


def main() -> int:
    """Makes the dataset, measures, stores; exit code 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="made, and removed in the end; 20 KB per situation")
    parser.add_argument("--situations", type=int, default=150_000)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--to", type=Path, default=RESULT)
    asked = parser.parse_args()
    path = make(asked.folder / "data", asked.situations)
    try:
        earlier = asked.folder / "earlier"
        earlier.mkdir()
        archive = subprocess.run(["git", "archive", EARLIER, "redheart"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", str(earlier)], input=archive.stdout, check=True)
        found: dict[str, list[Measured]] = {one.name: [] for one in SUBJECTS}
        for _ in range(asked.runs):
            for subject in SUBJECTS:
                found[subject.name].append(measure(subject, path, earlier))
                print(subject.name, found[subject.name][-1], flush=True)
        vectors = path.parent / "replicated.vectors"
        sizes = {"json": path, "vectors": next(vectors.glob("*.float32")), "facts": vectors / "facts.safetensors"}
        megabytes = {name: round(file.stat().st_size / 1e6, 1) for name, file in sizes.items()}
    finally:
        shutil.rmtree(asked.folder)
    told = summary(found)
    about = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "device": {"cpu": _processor(), "logical_cpus": os.cpu_count(), "system": platform.machine()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("numpy", "msgspec")}},
        "situations": asked.situations,
        "earlier_revision": EARLIER,
        "megabytes": megabytes,
    }
    runs = {name: [asdict(one) for one in each] for name, each in found.items()}
    write_json(asked.to, {**about, **told, "runs": runs})
    print(json.dumps(told, indent=2))
    return 0 if all(told["holds"].values()) and told["identities_agree"] else 1  # type: ignore[attr-defined]


if __name__ == "__main__":
    raise SystemExit(main())
