"""How far down each term of the loss can go: ``python -m benchmarks.loss_floors``.

A few situations are learned by heart, without dropout, weight decay or averaging, so that nothing but the model's structure
holds a term up. What a term of a distribution can't get below is the entropy of its targets; the peer of every other
term is zero. Its floor is what it has reached at the end, beyond that, as a share of where it started: at most 1 %.
The result goes to ``benchmarks/results/loss_floors.json`` with device, versions and date.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from redheart.config import load_config
from redheart.model import Batch, UnifiedModel, compute_losses, dimensions
from redheart.model.losses import TARGETS, TERMS
from redheart.tasks import TASK_BY_NAME
from redheart.training.table import SituationTable
from redheart.workflow.stages import embed

RESULT = Path(__file__).parent / "results" / "loss_floors.json"
#: The largest floor beyond the entropy, as a share of the start beyond it.
PROMISED = 0.01


def open_table(data: str | None, folder: Path) -> SituationTable:
    """The embedded dataset; the bundled sample where none is named."""
    config = load_config(None, [("output", str(folder)), ("data.path", data)])
    return SituationTable.open(embed(config), needs=["train"])


def choose(table: SituationTable, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The first training situations that have every target."""
    train = table.split_indices["train"]
    complete = np.ones(len(train), bool)
    for mask in table.target_masks(train).values():
        complete &= mask.numpy().all(axis=1)
    if complete.sum() < count:
        raise SystemExit(f"{table.path}: {complete.sum()} training situations have every target, wanted {count}")
    return train[complete][:count]


def entropies(batch: Batch) -> dict[str, float]:
    """By term: the mean entropy of its targets, which no prediction's cross-entropy is below; 0 for numbers."""
    found = {}
    for target, task in TARGETS.items():
        share = batch.targets[target].double()
        found[target] = (
            float(-torch.special.xlogy(share, share).sum(1).mean()) if TASK_BY_NAME[task].is_distribution else 0.0
        )
    return {term.name: found[term.target] for term in TERMS}


def learn_by_heart(
    model: UnifiedModel, batch: Batch, *, steps: int, learning_rate: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Each term before the first step and after the last, the rate falling to nothing along half a cosine."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1, pct_start=0.05)
    start: dict[str, float] = {}
    model.train()
    for step in tqdm(range(steps + 1), unit="step", dynamic_ncols=True):
        losses = compute_losses(model(*batch.inputs), batch, model.statistics)
        if step in (0, steps):
            now = {name: float(value) for name, value in losses.terms.items()}
            start = start or now
            if step == steps:
                return start, now
        optimizer.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    raise AssertionError("the last pass returns")


def measure(table: SituationTable, *, situations: int, steps: int, learning_rate: float, seed: int) -> dict[str, Any]:
    """Start, floor, entropy and their ratio a term, at the smallest preset."""
    torch.manual_seed(seed)
    chosen = choose(table, situations)
    statistics = table.statistics(table.split_indices["train"])
    model = UnifiedModel(dimensions("tiny", d_embed=table.d_embed, dropout=0.0), statistics)
    batch = table.batch(chosen)
    started = time.perf_counter()
    start, floor = learn_by_heart(model, batch, steps=steps, learning_rate=learning_rate)
    seconds = time.perf_counter() - started
    entropy = entropies(batch)
    terms = {
        name: {
            "start": start[name],
            "floor": floor[name],
            "entropy": entropy[name],
            "ratio": (floor[name] - entropy[name]) / (start[name] - entropy[name]),
        }
        for name in start
    }
    return {
        "situations": situations,
        "steps": steps,
        "learning_rate": learning_rate,
        "seed": seed,
        "seconds": round(seconds, 1),
        "terms": terms,
    }


def as_table(measured: dict[str, Any]) -> str:
    lines = [f"{'term':<28}{'start':>10}{'floor':>10}{'entropy':>10}{'beyond it':>12}"]
    for name, one in measured["terms"].items():
        lines.append(
            f"{name:<28}{one['start']:>10.5f}{one['floor']:>10.5f}{one['entropy']:>10.5f}{one['ratio']:>12.3%}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measures, stores, and says whether the promise holds; exit code 1 where it does not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="a dataset (default: the bundled sample)")
    parser.add_argument("--situations", type=int, default=24)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        table = open_table(arguments.data, Path(folder))
        measured = measure(
            table,
            situations=arguments.situations,
            steps=arguments.steps,
            learning_rate=arguments.learning_rate,
            seed=arguments.seed,
        )
    worst = max(one["ratio"] for one in measured["terms"].values())
    result = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": f"CPU, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "data": "bundled sample" if arguments.data is None else Path(arguments.data).name,
        "preset": "tiny",
        **measured,
        "promises": {f"no floor above {PROMISED:.0%} of the start, beyond the entropy": worst <= PROMISED},
    }
    arguments.result.parent.mkdir(parents=True, exist_ok=True)
    arguments.result.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(as_table(measured))
    return 0 if worst <= PROMISED else 1


if __name__ == "__main__":
    sys.exit(main())
