"""A whole training step, forward, backward, clipping and fused AdamW: ``python -m benchmarks.gpu_train_step``.

On a CUDA device: the 730M model in bf16 with 16 segments per situation over batch sizes, eager alone, then eager and compiled in turn;
then where the time goes, and a plain ``torch.nn.TransformerEncoder`` of as many operations in turn with the model. Without a CUDA
device, or with ``--reduced``, the same for ``tiny``, which shows that all of it runs. One command, less than nine minutes: what
takes too long, fails or does not fit is told in the result, and the rest goes on (exit code 1 where something failed).
Model FLOP utilisation counts the model's own operations (``redheart/model/flops.py``), not what is computed a second time.

The result is stored after every part in ``benchmarks/results/gpu_train_step.json``; a run on a CPU leaves what a GPU measured there.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import platform
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import torch

from benchmarks.startup import _processor
from benchmarks.train_step_profile import profile_steps
from benchmarks.train_step_result import RESULT, Device, Profile, Row, Run, Subject, read_result, store_run
from benchmarks.train_step_subjects import Step, build_model, build_peer, layers_for, make_batch, peer_flops
from redheart.engine.compiled import compile_forward
from redheart.model import PRESETS, Batch, ModelDimensions, dimensions
from redheart.model.modules.activation_checkpointing import recompute_blocks
from redheart.training.out_of_memory import is_out_of_memory

#: Dense bf16 operations per second by NVIDIA's data sheets (H100: 1,979 with sparsity; A100: 624 with sparsity; halves).
PEAKS = {
    "NVIDIA H100 80GB HBM3": (989.4e12, "NVIDIA H100 data sheet, SXM, bf16 dense"),
    "NVIDIA H200": (989.4e12, "NVIDIA H200 data sheet, SXM, bf16 dense"),
    "NVIDIA A100-SXM4-40GB": (312e12, "NVIDIA A100 data sheet, bf16 dense"),
    "NVIDIA A100-SXM4-80GB": (312e12, "NVIDIA A100 data sheet, bf16 dense"),
    "NVIDIA A100-PCIE-40GB": (312e12, "NVIDIA A100 data sheet, bf16 dense"),
    "NVIDIA A100 80GB PCIe": (312e12, "NVIDIA A100 data sheet, bf16 dense"),
}
EAGER, COMPILED, CHECKPOINTED = "model, eager", "model, compiled", "model, eager, checkpointed"
PEER = "TransformerEncoder"
#: Of the time limit, how much compiling may take: what comes after it needs the rest.
COMPILING_SHARE = 0.6


class TookTooLong(Exception):
    """Time is up for something that can't be asked to stop."""


@dataclass
class Benchmark:
    """One run, part by part.

    Args:
        limit: seconds after which no further part begins.
    """

    dims: ModelDimensions
    device: torch.device
    backend: str
    sizes: Sequence[int]
    rounds: int
    steps: int
    limit: float
    result: Path
    started: float = field(default_factory=time.monotonic)
    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    profile: Profile | None = None
    compile_seconds: float | None = None
    graphs: int = 0
    failed: bool = False

    def __post_init__(self) -> None:
        self.on_cuda = self.device.type == "cuda"
        self.about = describe(self.device)
        self.model = build_model(self.dims, self.device)
        layers = layers_for(self.dims, self.model.forward_flops)
        self.peer_layers = layers
        self.peer = Subject(
            f"torch.nn.TransformerEncoder, {layers} layers of width {self.dims.d_model}, pre-norm, GELU, compiled as the model",
            peer_parameters(self.dims, layers),
            peer_flops(self.dims, layers),
        )

    def run(self) -> None:
        """Everything, as far as time goes."""
        # Eager alone first: it takes seconds, and is kept whatever compiling comes to.
        for size in self.sizes:
            self._part(f"{EAGER}, {size}", 5, partial(self._measure, size, {EAGER: self.model.eager}))
        way = COMPILED if self._compiles() else EAGER
        if way == COMPILED:
            both = {EAGER: self.model.eager, COMPILED: self.model.compiled}
            for size in self.sizes:
                self._part(f"{COMPILED}, {size}", 10, partial(self._measure, size, both))
        fitting = [row.situations for row in self.rows if row.subject == way and row.outcome == "measured"]
        if fitting:
            step = self.model.compiled if way == COMPILED else self.model.eager
            sizes = sorted({fitting[len(fitting) // 2], fitting[-1]})
            self._part("the profile", 20, lambda: self._profile(way, step, fitting[-1]))
            self._part("activation checkpointing", 20, lambda: self._checkpointed(fitting[-1]))
            wanted = 40 + (self.compile_seconds or 0)
            self._part("the peer", wanted, lambda: self._beside_peer(way, step, sizes))
        self.store(complete=True)

    def _part(self, name: str, seconds: float, do: Callable[[], None]) -> bool:
        """Whether it was done. The machine may be there only once: what fails is told, and the rest goes on."""
        left = self.limit - (time.monotonic() - self.started)
        if seconds > left:
            self.skipped.append(f"{name}: no time left of {self.limit:.0f} s")
            return False
        reason = ""
        try:
            # What was begun in time may end a little late.
            with no_longer_than(left + 30):
                do()
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            reason = "out of memory" if is_out_of_memory(error) else f"{type(error).__name__}: {first}"
            if not is_out_of_memory(error):
                self.failed = True
                traceback.print_exc()
        # Outside the handler: the exception's frames hold the tensors that have to go.
        if reason:
            self.skipped.append(f"{name}: {reason}")
        self._free()
        self.store()
        return not reason

    def _compiles(self) -> bool:
        """The first compiled step, which says whether there are more, and how long compiling takes."""
        batch = make_batch(self.dims, self.sizes[0], self.device)

        def compile_it() -> None:
            compile_forward(self.model.module, backend=self.backend)
            began = time.monotonic()
            with no_longer_than(COMPILING_SHARE * self.limit):
                self._timed(self.model.compiled, batch, 1, {COMPILED: 0}, COMPILED, must_fit=True)
            self.compile_seconds = time.monotonic() - began

        return self._part("compiling", 0, compile_it)

    def _measure(self, size: int, subjects: dict[str, Step], flops: dict[str, float] | None = None) -> None:
        """Rounds of a few steps of each subject in turn; a subject that does not fit drops out."""
        batch = make_batch(self.dims, size, self.device)
        left, peaks = dict(subjects), dict.fromkeys(subjects, 0)
        times: dict[str, list[float]] = {name: [] for name in subjects}
        for number in range(self.rounds + 1):  # the first warms up
            for name, step in list(left.items()):
                found = self._timed(step, batch, self.steps if number else 2, peaks, name)
                if found is None:
                    del left[name]
                elif number:
                    times[name] += found
        for name in subjects:
            own = 3 * ((flops or {}).get(name) or self.model.forward_flops) * size
            row = self._row(name, size, times[name] if name in left else None, own, peaks[name])
            self.rows = [one for one in self.rows if (one.subject, one.situations) != (name, size)] + [row]
            print(_line(row), file=sys.stderr, flush=True)

    def _timed(
        self, step: Step, batch: Batch, count: int, peaks: dict[str, int], name: str, *, must_fit: bool = False
    ) -> list[float] | None:
        """Seconds of each step; None where memory did not suffice."""
        graphs = _graphs()
        try:
            if self.on_cuda:
                torch.cuda.reset_peak_memory_stats()
            found = seconds_of(step, batch, count, on_cuda=self.on_cuda)
            if self.on_cuda:
                peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated())
            return found
        except RuntimeError as error:
            if must_fit or not is_out_of_memory(error):
                raise
        finally:
            if name.startswith(COMPILED):
                self.graphs += _graphs() - graphs
        self._free()  # outside the handler: the exception's frames hold the tensors that have to go
        return None

    def _row(self, name: str, size: int, times: list[float] | None, flops: float, peak: int) -> Row:
        if not times:
            return Row(name, size, "out of memory", 0)
        median = statistics.median(times)
        deciles = statistics.quantiles(times, n=10) if len(times) > 1 else [median] * 9
        device_peak = self.about.peak_flops
        return Row(
            name,
            size,
            "measured",
            len(times),
            seconds=median,
            low=max(deciles[0], min(times)),
            high=min(deciles[-1], max(times)),
            situations_per_second=size / median,
            flops=flops,
            flops_per_second=flops / median,
            mfu=flops / median / device_peak if device_peak else None,
            peak_bytes=peak or None,
        )

    def _profile(self, way: str, step: Step, size: int) -> None:
        batch = make_batch(self.dims, size, self.device)
        self._timed(step, batch, 2, {way: 0}, way, must_fit=True)
        self.profile = profile_steps(lambda: step(batch), subject=way, situations=size, on_cuda=self.on_cuda)

    def _checkpointed(self, size: int) -> None:
        recompute_blocks(self.model.module)
        try:
            self._measure(size, {CHECKPOINTED: self.model.eager})
        finally:
            recompute_blocks(self.model.module, on=False)

    def _beside_peer(self, way: str, step: Step, sizes: Sequence[int]) -> None:
        backend = self.backend if way == COMPILED else None
        peer_step, parameters = build_peer(self.dims, self.peer_layers, self.device, backend)
        assert parameters == self.peer.parameters
        peer = f"{PEER}, {way.partition(', ')[2]}"
        for size in sizes:
            # The model is measured again, in turn with it; its earlier row has the memory without a peer beside it.
            self._measure(size, {f"{way}, beside the peer": step, peer: peer_step}, {peer: self.peer.forward_flops})

    def _free(self) -> None:
        for parameter in self.model.module.parameters():
            parameter.grad = None
        gc.collect()
        if self.on_cuda:
            torch.cuda.empty_cache()

    def store(self, *, complete: bool = False) -> Run:
        """Writes what there is so far."""
        model = Subject(f"redheart {self.dims.preset}", self.model.parameters, self.model.forward_flops)
        run = Run(
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            device=self.about,
            versions={"python": platform.python_version(), "torch": str(torch.__version__)},
            preset=self.dims.preset,
            segments=self.dims.max_segments,
            precision="bf16",
            compile_backend=self.backend,
            clock="device" if self.on_cuda else "processor time of one thread",
            model=model,
            peer=self.peer,
            compile_seconds=self.compile_seconds,
            graphs=self.graphs,
            rows=self.rows,
            profile=self.profile,
            skipped=self.skipped,
            seconds=time.monotonic() - self.started,
            complete=complete,
        )
        store_run(run, self.result)
        return run


def seconds_of(step: Step, batch: Batch, count: int, *, on_cuda: bool) -> list[float]:
    """How long each of ``count`` steps takes: by the device's clock, or in processor time, which no other process is in."""
    if not on_cuda:
        found = []
        for _ in range(count):
            began = time.process_time()
            step(batch)
            found.append(time.process_time() - began)
        return found
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for event in events[1:]:
        step(batch)
        event.record()
    torch.cuda.synchronize()
    return [one.elapsed_time(other) / 1e3 for one, other in itertools.pairwise(events)]


@contextlib.contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Raises ``TookTooLong`` inside, and again every few seconds, should it be caught there. Where signals can't be had, nothing.

    The nearer of two that are one inside the other counts.
    """

    def stop(*_: object) -> None:
        raise TookTooLong(f"longer than {seconds:.0f} s")

    try:
        before = signal.signal(signal.SIGALRM, stop)
    except (AttributeError, ValueError):  # Windows, or not the main thread
        yield
        return
    left, every = signal.getitimer(signal.ITIMER_REAL)
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, min(seconds, left or seconds), 5.0)
    try:
        yield
    finally:
        rest = max(0.1, left - (time.monotonic() - began)) if left else 0.0
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, rest, every)


def _graphs() -> int:
    """Graphs that were compiled in this process so far."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def describe(device: torch.device) -> Device:
    """The device, what its maker promises, and what a large matrix product reaches on it now."""
    if device.type != "cuda":
        import psutil

        return Device("cpu", _processor(), psutil.virtual_memory().total, None, None, None)
    name = torch.cuda.get_device_name(device)
    peak, source = PEAKS.get(name, (None, None))
    size = 8192
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(13):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        one @ other
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    reached = 2 * size**3 / statistics.median(times[3:])
    return Device("cuda", name, torch.cuda.get_device_properties(device).total_memory, peak, source, reached)


def peer_parameters(dims: ModelDimensions, layers: int) -> int:
    """Counted without allocating it."""
    from benchmarks.train_step_subjects import Peer

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Peer(dims, layers).parameters())


def _line(row: Row) -> str:
    if row.outcome != "measured" or row.seconds is None:
        return f"{row.subject:<34}{row.situations:>6}  {row.outcome}"
    mfu = f"{row.mfu:>7.1%}" if row.mfu is not None else f"{'–':>7}"
    memory = f"{row.peak_bytes / 2**30:>8.1f}" if row.peak_bytes else f"{'–':>8}"
    rate, tera = row.situations_per_second or 0.0, (row.flops_per_second or 0.0) / 1e12
    return f"{row.subject:<34}{row.situations:>6}{1e3 * row.seconds:>10.1f}{rate:>11.1f}{tera:>9.3g}{mfu}{memory}"


def as_table(run: Run) -> str:
    """The run in a screenful."""
    reached = (
        f", {run.device.matmul_flops / 1e12:.0f} TFLOP/s in a large matrix product" if run.device.matmul_flops else ""
    )
    peak = f", peak {run.device.peak_flops / 1e12:.1f}" if run.device.peak_flops else ""
    lines = [
        f"{run.device.name}{peak}{reached}; {run.preset}, {run.segments} segments, {run.precision}, {run.compile_backend}",
        f"{'subject':<34}{'batch':>6}{'ms/step':>10}{'situat./s':>11}{'TFLOP/s':>9}{'MFU':>7}{'GiB':>8}",
        *map(_line, run.rows),
    ]
    if run.compile_seconds:
        lines.append(f"compiled in {run.compile_seconds:.0f} s, {run.graphs} graph(s) in the whole run")
    if run.profile:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in run.profile.shares.items())
        lines.append(f"a step at {run.profile.situations} situations: {shares}")
    lines += [f"not done – {reason}" for reason in run.skipped]
    return "\n".join([*lines, f"{run.seconds:.0f} s in all"])


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, stores and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reduced", action="store_true", help="tiny on the CPU, also where there is a CUDA device")
    parser.add_argument("--preset", choices=tuple(PRESETS), help="default: 730m, or tiny where reduced")
    parser.add_argument("--batches", metavar="N,N", help="batch sizes (default: 16,32,64,128,256,512; reduced: 4,8,16)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each subject (default: 3)")
    parser.add_argument("--steps", type=int, help="steps per turn (default: 6; reduced: 2)")
    parser.add_argument(
        "--backend", help="of torch.compile (default: inductor; reduced: aot_eager, which compiles nothing)"
    )
    parser.add_argument("--limit", type=float, default=480.0, help="seconds after which no part begins (default: 480)")
    parser.add_argument("--result", type=Path, default=RESULT, help="the file to write")
    chosen = parser.parse_args(argv)
    read_result(chosen.result)  # a file of another form is refused now and not after the first part
    reduced = chosen.reduced or not torch.cuda.is_available()
    if reduced:
        torch.set_num_threads(1)  # threads that wait for each other on shared cores spend processor time on nothing
    benchmark = Benchmark(
        dimensions(chosen.preset or ("tiny" if reduced else "730m")),
        torch.device("cpu" if reduced else "cuda"),
        chosen.backend or ("aot_eager" if reduced else "inductor"),
        [int(size) for size in (chosen.batches or ("4,8,16" if reduced else "16,32,64,128,256,512")).split(",")],
        chosen.rounds,
        chosen.steps or (2 if reduced else 6),
        chosen.limit,
        chosen.result,
    )
    benchmark.run()
    print(as_table(benchmark.store(complete=True)))
    return int(benchmark.failed)


if __name__ == "__main__":
    sys.exit(main())
