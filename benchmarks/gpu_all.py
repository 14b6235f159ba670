"""All that waits for a CUDA device, in parts: ``bash benchmarks/gpu_all.sh [PART…]``, or ``python -m benchmarks.gpu_all``.

A machine with a GPU is often to be had for minutes only, so each part takes four minutes at most, what failed is told and the rest
goes on, a part's result is merged into ``benchmarks/results/gpu_all.json`` as soon as it is there, and a short table comes last.

* ``tests``: ``tests/gpu``.
* ``mfu``: a whole training step of ``730m`` over batch sizes, eager and compiled (``benchmarks.gpu_train_step``, its own result).
* ``workflow``: every stage with ``730m``, one epoch, on the bundled sample: seconds by stage.
* ``fit``: the plan's memory and time beside real steps of ``730m`` by seven ways to train it.
* ``small-card``: ``730m`` in a process that may take 7 GiB of the GPU, as the plan has it, beside one that may take all.
* ``memory``: ``730m`` trained plainly, recomputing activations, and under ZeRO: memory of device and host, seconds, by phase.
* ``sweep``: five trials of ``730m`` by five workers on the one GPU, and by one.

Without a CUDA device, or with ``--reduced``, the same with ``tiny``, which shows that each part runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import psutil
import torch

from benchmarks.gpu_all_result import RESULT, Fact, Part, read_result, store_part
from benchmarks.gpu_plan import ROWS
from benchmarks.gpu_train_step import EAGER
from benchmarks.startup import _processor
from benchmarks.train_step_result import RESULT as TRAIN_STEP
from benchmarks.train_step_result import Run
from benchmarks.train_step_result import read_result as read_train_steps
from benchmarks.training_phases import Phases

ROOT = Path(__file__).parent.parent
GIB = 2**30
#: Strategy -> the launch file (None: this process alone) and settings. In this order, should time run out.
STRATEGIES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "plain": (None, ()),
    "ZeRO-2, optimizer offload": ("zero2_offload", ()),
    "ZeRO-3, offload": ("zero3_offload", ()),
    "plain, recomputing": (None, ("training.activation_checkpointing=true",)),
    "ZeRO-3": ("zero3", ()),
    "ZeRO-2": ("zero2", ()),
}
#: GiB that the process of ``small-card`` may take; reduced, of a card that is only described.
SMALL_CARD, SMALL_CARD_REDUCED = 7.0, 1.5
_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \w+ (.*)")
_STAGE = re.compile(r"── (\d/\d [^─]*) ──")


class PartFailed(Exception):
    """A part can't go on; the message says why."""


@dataclass
class Setting:
    """What the parts have in common.

    Args:
        folder: a temporary one; each part takes its own within.
        encoder: the sentence encoder, as ``embedding.model`` names it.
        only: of the strategies of ``memory`` those with this in their names, and of the tests those that ``pytest -k`` takes.
        until: when a part that runs has to end, by ``time.monotonic``.
        has_extensions: whether DeepSpeed's are known to be built.
    """

    reduced: bool
    folder: Path
    encoder: str
    only: str = ""
    until: float = 0.0
    has_extensions: bool = False

    @property
    def preset(self) -> str:
        return "tiny" if self.reduced else "730m"

    def run(self, *words: str, must_work: bool = True) -> tuple[int, str]:
        """A command in the project's folder, ended when time is up: its exit code (124: that) and its output, also shown as it fails.

        Raises:
            PartFailed: it did not work, though it had to.
        """
        left = self.until - time.monotonic()
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "REDHEART_LANG": "en"}
        if self.reduced:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        log = self.folder / "output.txt"
        with open(log, "wb") as sink:
            started = subprocess.Popen(
                words, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code = started.wait(max(1.0, left))
            except subprocess.TimeoutExpired:
                end_tree(started.pid)
                started.wait()
                code = 124
        output = log.read_text(encoding="utf-8", errors="replace")
        if code and must_work:
            print(output[-3000:], file=sys.stderr)
            last = (output.strip().splitlines() or ["no output"])[-1]
            raise PartFailed(f"{' '.join(words[1:5])} …: exit code {code}: {last[:300]}")
        return code, output

    def redheart(self, command: str, output: Path, *words: str) -> str:
        """A command of ``redheart`` with this encoder, preset and output folder."""
        common = ("--output", str(output), "--preset", self.preset, f"embedding.model={self.encoder}")
        return self.run(sys.executable, "-m", "redheart", *command.split(), *common, *words)[1]

    def embedded(self, name: str) -> Path:
        """A new output folder in which the bundled sample is embedded already."""
        source, output = self.folder / "embedded", self.folder / name
        if not source.exists():
            self.redheart("embed", source)
        shutil.copytree(source, output)
        return output


def end_tree(pid: int) -> None:
    """Ends a process and all that it started; a launcher's workers are in sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for one in (*parent.children(recursive=True), parent):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def tests(setting: Setting) -> Iterator[Fact]:
    """How many of the tests that need a GPU passed, and which did not."""
    code, output = setting.run(
        *(sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-k", setting.only, "-v", "-rA", "--durations=0"),
        *("-p", "no:cacheprovider"),
        must_work=False,
    )
    for word in ("passed", "failed", "skipped", "error"):
        found = re.findall(rf"(\d+) {word}s?\b", output.strip().splitlines()[-1] if output.strip() else "")
        if found:
            yield Fact(word, float(found[-1]), "tests")
    for line in output.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            yield Fact("failed", text=line[:300])
    if code:
        print(output[-6000:], file=sys.stderr)
        raise PartFailed(f"pytest: exit code {code}")


def mfu(setting: Setting) -> Iterator[Fact]:
    """Rows of ``benchmarks.gpu_train_step``."""
    result = setting.folder / "train_step.json" if setting.reduced else TRAIN_STEP
    words = (
        ["--reduced", "--rounds", "1", "--batches", "4,8"]
        if setting.reduced
        else ["--rounds", "2", "--batches", "32,256,1024"]
    )
    limit = str(setting.until - time.monotonic() - 40)
    code, output = setting.run(
        *(sys.executable, "-m", "benchmarks.gpu_train_step", "--limit", limit, "--result", str(result), *words),
        must_work=False,
    )
    print(output, file=sys.stderr)
    stored = read_train_steps(result)
    found = stored.reduced if setting.reduced else stored.gpu
    if not isinstance(found, Run):
        raise PartFailed(f"benchmarks.gpu_train_step: exit code {code}, nothing measured")
    for row in found.rows:
        name = f"{row.subject}, {row.situations} situations"
        if row.seconds is None:
            yield Fact(name, text=row.outcome)
            continue
        yield Fact(name, 1e3 * row.seconds, "ms a step")
        if row.mfu is not None:
            yield Fact(f"{name}: of the peak", 100 * row.mfu, "%")
    if EAGER not in {row.subject for row in found.rows} or code:
        raise PartFailed(f"benchmarks.gpu_train_step: exit code {code}: {'; '.join(found.skipped)}")


def workflow(setting: Setting) -> Iterator[Fact]:
    """Seconds of each stage."""
    output = setting.folder / "workflow"
    began = time.monotonic()
    setting.redheart("workflow unified-train", output, "--epochs", "1", "--lr", "1e-4")
    yield Fact("the whole workflow", time.monotonic() - began, "s")
    yield from stage_seconds((output / "redheart.log").read_text(encoding="utf-8"))
    shutil.rmtree(output)


def stage_seconds(log: str) -> Iterator[Fact]:
    """Seconds between the headings of the stages in a workflow's log, the last until the end."""
    moments: list[tuple[str, datetime]] = []
    now = None
    for line in log.splitlines():
        if stamped := _LINE.match(line):
            now = datetime.strptime(stamped[1], "%Y-%m-%d %H:%M:%S,%f")
        if now is not None and (heading := _STAGE.search(line)):
            moments.append((heading[1], now))
    if now is not None:
        for (name, begin), (_, end) in zip(moments, [*moments[1:], ("", now)], strict=True):
            yield Fact(f"stage {name}", (end - begin).total_seconds(), "s")


def fit(setting: Setting) -> Iterator[Fact]:
    """Memory and seconds, planned and measured, of each row."""
    yield from needing_extensions(setting)
    for name in ROWS:
        if setting.only in name:
            yield from planned_row(setting, name)


def small_card(setting: Setting) -> Iterator[Fact]:
    """What the plan has a small GPU do, and how fast that is beside the same GPU without a limit."""
    yield from needing_extensions(setting)
    speeds: dict[str, float] = {}
    gib = SMALL_CARD_REDUCED if setting.reduced else SMALL_CARD
    for name, words in (("no limit", ()), ("limited", ("--gib", str(gib)))):
        if setting.only not in name:
            continue
        for fact in planned_row(setting, "chosen", *words):
            yield msgspec.structs.replace(fact, what=fact.what.replace("chosen", name, 1))
            if fact.what.endswith(": speed") and fact.value:
                speeds[name] = fact.value
    if len(speeds) == 2:
        yield Fact("limited, of the speed without limit", 100 * speeds["limited"] / speeds["no limit"], "%")


def needing_extensions(setting: Setting) -> Iterator[Fact]:
    """DeepSpeed's extensions, built once: a bare machine takes a minute or two for them, beside the part's own time."""
    if setting.has_extensions:
        return
    began, until = time.monotonic(), setting.until
    setting.until = began + 240
    setting.run(sys.executable, "-m", "redheart", "doctor", "build")
    setting.has_extensions = True
    took = time.monotonic() - began
    setting.until = until + took
    yield Fact("DeepSpeed's extensions built beforehand", took, "s")


def planned_row(setting: Setting, name: str, *words: str) -> Iterator[Fact]:
    """One row of ``benchmarks.gpu_plan``; what failed is told as a fact."""
    result = setting.folder / "row.json"
    result.unlink(missing_ok=True)
    preset = ("--preset", "small" if setting.reduced and name == "chosen" else setting.preset)
    code, log = setting.run(
        sys.executable, "-m", "benchmarks.gpu_plan", str(result), name, *preset, *words, must_work=False
    )
    if code:
        print(log[-3000:], file=sys.stderr)
        yield Fact(name, text=f"exit code {code}: {last_words(log)}")
    if result.exists():
        yield from msgspec.json.decode(result.read_bytes(), type=list[Fact])


def memory(setting: Setting) -> Iterator[Fact]:
    """Peaks and seconds of each strategy's phases."""
    yield from needing_extensions(setting)
    for name, (launch, words) in STRATEGIES.items():
        if setting.only not in name:
            continue
        output, result = setting.embedded("run"), setting.folder / "phases.json"
        result.unlink(missing_ok=True)
        starter: tuple[str, ...] = (sys.executable,)
        if launch is not None:
            file = ROOT / "launch" / f"{launch}.yaml"
            own = ("--num_processes", "1")
            starter = (sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file), *own)
        code, log = setting.run(
            *starter,
            *("-m", "benchmarks.training_phases", str(result), "train", "--output", str(output), "--lr", "1e-4"),
            *("--preset", setting.preset, "--epochs", "1", f"embedding.model={setting.encoder}", *words),
            must_work=False,
        )
        shutil.rmtree(output)
        if code:
            print(log[-6000:], file=sys.stderr)
            yield Fact(name, text=f"exit code {code}: {last_words(log)}")
        if result.exists():
            yield from phase_facts(name, msgspec.json.decode(result.read_bytes(), type=Phases))


def last_words(log: str) -> str:
    """The last line of a log that names an error, else its last."""
    lines = [line for line in re.split(r"[\r\n]+", log) if line.strip()] or ["no output"]
    return ([line for line in lines if "Error" in line] or lines)[-1].strip()[-300:]


def phase_facts(strategy: str, found: Phases) -> Iterator[Fact]:
    """Each phase's seconds and peaks, in an order for readers."""
    for name, phase in found.phases.items():
        what = f"{strategy}: {name}"
        yield Fact(what, phase.shortest if name == "step" and phase.shortest else phase.seconds, "s")
        if phase.device_bytes is not None:
            yield Fact(f"{what}, device", phase.device_bytes / GIB, "GiB")
        if phase.host_bytes is not None:
            yield Fact(f"{what}, host", (phase.host_bytes - (found.host_before or 0)) / GIB, "GiB")


def sweep(setting: Setting) -> Iterator[Fact]:
    """Five trials by five workers and by one."""
    taken = {}
    for workers in (5, 1):
        output = setting.embedded("sweep")
        began = time.monotonic()
        setting.redheart("sweep", output, "--workers", str(workers), "sweep.stages=1", "sweep.epochs=1")
        taken[workers] = time.monotonic() - began
        shutil.rmtree(output)
        yield Fact(f"five trials by {workers}, imports included", taken[workers], "s")
    yield Fact("as fast by five as by one", taken[1] / taken[5], "times")


PARTS: dict[str, Callable[[Setting], Iterator[Fact]]] = {
    "tests": tests,
    "mfu": mfu,
    "fit": fit,
    "small-card": small_card,
    "workflow": workflow,
    "memory": memory,
    "sweep": sweep,
}


def measure(name: str, setting: Setting, limit: float) -> Part:
    """One part, whatever becomes of it, within ``limit`` seconds."""
    began = time.monotonic()
    setting.until = began + limit
    facts: list[Fact] = []
    failed = False
    try:
        for fact in PARTS[name](setting):
            facts.append(fact)
            print(f"{name:<9} {shown(fact)}", file=sys.stderr, flush=True)
    except (PartFailed, OSError, ValueError, subprocess.SubprocessError) as error:
        failed = True
        facts.append(Fact("failed", text=str(error)))
        print(f"{name:<9} failed: {error}", file=sys.stderr, flush=True)
    on_gpu = not setting.reduced
    return Part(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device=torch.cuda.get_device_name() if on_gpu else _processor(),
        kind="cuda" if on_gpu else "cpu",
        versions={"python": platform.python_version(), **installed("torch", "accelerate", "deepspeed")},
        seconds=round(time.monotonic() - began, 1),
        failed=failed,
        facts=facts,
    )


def installed(*packages: str) -> dict[str, str]:
    """Versions of packages; what is absent is left out."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def shown(fact: Fact) -> str:
    """A fact in a line."""
    return f"{fact.what:<64}{fact.value:>10.3f} {fact.unit}" if fact.value is not None else f"{fact.what}: {fact.text}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, stores and prints a table; 1 where a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--reduced", action="store_true", help="tiny on the CPU, also where there is a CUDA device")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds a part may take (default: 240)")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2", help="the sentence encoder, by name or folder")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="strategies of memory, or tests, with this in their names"
    )
    parser.add_argument("--result", type=Path, default=RESULT, help="the file to merge into")
    chosen = parser.parse_args(argv)
    if unknown := [name for name in chosen.parts if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; wanted {', '.join(PARTS)}")
    read_result(chosen.result)  # a file of another form is refused now and not after the first part
    done: dict[str, Part] = {}
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(chosen.reduced or not torch.cuda.is_available(), Path(folder), chosen.encoder, chosen.only)
        for name in chosen.parts or PARTS:
            done[name] = measure(name, setting, chosen.limit)
            store_part(name, done[name], chosen.result)
    for name, part in done.items():
        print(f"── {name}: {'failed' if part.failed else 'done'} in {part.seconds:.0f} s, {part.device}")
        print("\n".join(f"   {shown(fact)}" for fact in part.facts))
    return int(any(part.failed for part in done.values()))


if __name__ == "__main__":
    sys.exit(main())
