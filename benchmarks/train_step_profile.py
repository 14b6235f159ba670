"""Where a step's time goes: kernels (on a CPU, operators) by category, and when the device waited."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.train_step_result import Kernel, Profile

#: Category -> what is in the names of its kernels or operators. The first that is found counts.
CATEGORIES = (
    ("attention", re.compile(r"fmha|flash|scaled_dot_product|attention|attn|sdpa", re.I)),
    (
        "matmul",
        re.compile(r"gemm|nvjet|cutlass|xmma|cublas|splitk|wgmma|aten::(mm|addmm|bmm|baddbmm|linear)\b|mkldnn", re.I),
    ),
    ("optimizer", re.compile(r"multi_tensor_apply|adam|foreach|clip_grad", re.I)),
    ("factorisation", re.compile(r"potr|trsm|trsv|cholesky|getr|magma|cusolver|linalg", re.I)),
    ("copy", re.compile(r"memcpy|memset|copy_|fill_|zero_", re.I)),
    (
        "elementwise and norm",
        re.compile(r"triton|elementwise|norm|reduce|softmax|gelu|dropout|vectorized|aten::", re.I),
    ),
)
TOP = 15


def category_of(name: str) -> str:
    """The category of a kernel by its name."""
    return next((category for category, pattern in CATEGORIES if pattern.search(name)), "other")


def profile_steps(step: Callable[[], None], *, subject: str, situations: int, on_cuda: bool, steps: int = 3) -> Profile:
    """Profiles a few steps that have been warmed up.

    Raises:
        RuntimeError: the profiler saw nothing on the device; some containers forbid it.
    """
    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as recorded:
        for _ in range(steps):
            step()
        if on_cuda:
            torch.cuda.synchronize()
    found = _kernels(recorded) if on_cuda else _operators(recorded)
    if not found:
        raise RuntimeError("the profiler saw nothing run; the device's performance counters may be forbidden here")
    busy = _union([(start, end) for spans in found.values() for start, end in spans])
    # Kernels on parallel streams overlap: shares are of the time that any was at work.
    total = sum(end - start for spans in found.values() for start, end in spans)
    span = max(e for spans in found.values() for _, e in spans) - min(s for spans in found.values() for s, _ in spans)
    span = span if on_cuda else busy
    scale = busy / total / span
    shares: dict[str, float] = defaultdict(float)
    kernels = []
    for name, spans in found.items():
        own = sum(end - start for start, end in spans)
        shares[category_of(name)] += own * scale
        kernels.append(Kernel(name[:120], category_of(name), len(spans), own / 1e6, min(1.0, own * scale)))
    if on_cuda:
        shares["idle"] = max(0.0, 1.0 - sum(shares.values()))
    ordered = dict(sorted(((name, round(share, 6)) for name, share in shares.items()), key=lambda one: -one[1]))
    kernels.sort(key=lambda kernel: -kernel.seconds)
    return Profile(subject, situations, span / 1e6, ordered, kernels[:TOP])


def _kernels(recorded: Any) -> dict[str, list[tuple[float, float]]]:
    """Start and end, in microseconds, of all that ran on the device, by name.

    From the trace and not from ``events()``: there, annotations that span other kernels pass for kernels.
    """
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(trace))
        for event in json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]:
            if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset") and event.get("dur", 0) > 0:
                found[event["name"]].append((float(event["ts"]), float(event["ts"]) + float(event["dur"])))
    return found


def _operators(recorded: Any) -> dict[str, list[tuple[float, float]]]:
    """The time of each operator itself, without those that it calls, as spans one after the other."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    at = 0.0
    for event in recorded.events():
        own = float(event.self_cpu_time_total)
        if own > 0 and event.name.startswith(("aten::", "mkldnn")):
            found[event.name].append((at, at + own))
            at += own
    return found


def _union(spans: list[tuple[float, float]]) -> float:
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
