"""How far down each term of the loss can go: ``python -m benchmarks.loss_floors --data situations.json --votes votes.json``.

A handful of situations is learned by heart, without dropout, weight decay or averaging, so that nothing but the loss and the
model's structure holds a term up: with the smallest preset, and with free numbers in the place of its predictions, which
tells a floor of the loss from one of the model. What a term of a distribution can't get below is the entropy of its
targets; the bound of every other term is zero. A term's floor is the lowest that was reached beyond that bound, as a share of where it
started beyond it: at most 1 %. It started at the lowest of three: the constant predictor, the untrained model, and the one
whose linear paths were solved. Label smoothing and R-Drop are off in a training by default; each is turned on once. R-Drop
compares two draws of dropout, so there dropout is on, and holds terms up itself: the same weights are looked at without it, too.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.startup import _processor
from redheart.batches.table import SituationTable
from redheart.config import load_config
from redheart.model import Batch, Outputs, UnifiedModel, compute_losses, dimensions
from redheart.model.losses import TARGETS, TERMS, Losses, valid_counts
from redheart.model.r_drop import with_divergence
from redheart.model.statistics import TargetStatistics
from redheart.tasks import TASK_BY_NAME
from redheart.training.linear_start import LinearStart, apply_linear_start, fit_linear_start
from redheart.workflow.datasets import embed

RESULT = Path(__file__).parent / "results" / "loss_floors.json"
#: The largest floor beyond the bound, as a share of the start beyond it.
PROMISED = 0.01
WEIGHTS = {term.name: term.weight for term in TERMS}


@dataclass(frozen=True)
class Part:
    """One way to train: the loss as it is, or with an option turned on.

    Attributes:
        effort: what share of the steps that were asked for it takes.
    """

    name: str
    label_smoothing: float = 0.0
    r_drop: float = 0.0
    dropout: float = 0.0
    effort: float = 1.0

    def losses(self, predict: Callable[[Batch], Outputs], batch: Batch, statistics: TargetStatistics) -> Losses:
        """As the training loop makes them."""
        if not self.r_drop:
            return compute_losses(predict(batch), batch, statistics, label_smoothing=self.label_smoothing)
        seen = batch.twice()
        outputs = predict(seen)
        losses = compute_losses(outputs, seen, statistics, label_smoothing=self.label_smoothing)
        return with_divergence(losses, outputs, batch, valid_counts(batch), self.r_drop)

    def weight(self, term: str) -> float:
        """Of ``term`` in the total."""
        task = term.removeprefix("r_drop.")
        return WEIGHTS[term] if task == term else self.r_drop * WEIGHTS[f"heads.{task}"]


ANNOTATED = Part("every target")
VOTES = Part("votes alone", effort=0.5)
SMOOTHED = Part("label smoothing 0.1", label_smoothing=0.1, effort=0.5)
#: Under dropout terms still fall where they have long been at rest without it.
DROPPED = Part("R-Drop 1, dropout 0.1", r_drop=1.0, dropout=0.1, effort=6.0)


def open_table(data: str | None, folder: Path) -> SituationTable:
    """The embedded dataset; the bundled sample where none is named."""
    if data is not None and data.endswith(".embedded.json"):
        return SituationTable.open(Path(data), needs=["train"])
    config = load_config(None, [("output", str(folder)), ("data.path", data)])
    return SituationTable.open(embed(config), needs=["train"])


def choose(table: SituationTable, count: int, targets: Iterable[str] = TARGETS) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The first training situations that have all of ``targets``."""
    train = table.split_indices["train"]
    complete = np.ones(len(train), bool)
    for name, mask in table.target_masks(train).items():
        if name in targets:
            complete &= mask.numpy().all(axis=1)
    if complete.sum() < count:
        raise SystemExit(f"{table.path}: {complete.sum()} training situations have every target, wanted {count}")
    return train[complete][:count]


def entropies(batch: Batch, label_smoothing: float = 0.0) -> dict[str, float]:
    """By term: the mean entropy of its targets, which no prediction's cross-entropy is below; 0 for numbers."""
    found = {}
    for target, task in TARGETS.items():
        found[target] = 0.0
        if TASK_BY_NAME[task].is_distribution:
            share = batch.targets[target].double()
            share = (1.0 - label_smoothing) * share + label_smoothing / share.shape[1]
            found[target] = abs(float(torch.special.xlogy(share, share).sum(1).mean()))
    return {term.name: found[term.target] for term in TERMS}


def constant_outputs(model: UnifiedModel, batch: Batch) -> Outputs:
    """What the constant predictor says where the model has a prediction: its units are relative to that one."""
    model.eval()
    with torch.no_grad():
        outputs = model(*batch.inputs)

    def constant(name: str, prediction: Tensor) -> Tensor:
        task = name if name in TASK_BY_NAME else next(term.task for term in TERMS if term.name == name)
        prior = model.statistics[task].prior
        return torch.tensor(prior).log().expand_as(prediction) if prior else torch.zeros_like(prediction)

    return Outputs(*({name: constant(name, one) for name, one in part.items()} for part in outputs))


def repeated(outputs: Outputs, times: int) -> Outputs:
    """Below each other, as a batch that is seen twice."""
    return Outputs(*({name: one.repeat(times, 1) for name, one in part.items()} for part in outputs))


def learn_by_heart(
    part: Part, model: UnifiedModel, batch: Batch, *, steps: int, learning_rate: float
) -> tuple[dict[str, float], dict[str, float], float]:
    """The terms' highest and lowest; and how far the total was ever from their weighted sum.

    The rate falls to nothing along half a cosine.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0, foreach=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1, pct_start=0.05)
    seen: list[dict[str, float]] = []
    apart = 0.0
    model.train()
    for _ in tqdm(range(steps), desc=part.name, unit="step", dynamic_ncols=True):
        losses = part.losses(lambda seen: model(*seen.inputs), batch, model.statistics)
        seen.append({name: float(value.detach()) for name, value in losses.terms.items()})
        apart = max(apart, beside_the_terms(part, losses))
        optimizer.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    # Of the last tenth the mean: a noisy term's single lowest value is luck.
    last = seen[-max(1, steps // 10) :]
    return (
        {name: max(one[name] for one in seen) for name in seen[0]},
        {name: float(np.mean([one[name] for one in last])) for name in seen[0]},
        apart,
    )


def beside_the_terms(part: Part, losses: Losses) -> float:
    """How much of the total is in none of the terms, as a share of the total."""
    terms = sum(part.weight(name) * float(value.detach()) for name, value in losses.terms.items())
    return abs(float(losses.total.detach()) - terms) / max(abs(terms), 1e-12)


def free_numbers(part: Part, like: Outputs, batch: Batch, statistics: TargetStatistics) -> dict[str, float]:
    """The terms' lowest with free numbers in the place of the model's predictions: by L-BFGS, each convex."""
    torch.manual_seed(0)
    copies = 2 if part.r_drop else 1
    free = [
        {name: torch.randn(copies * len(one), one.shape[1]).requires_grad_() for name, one in group.items()}
        for group in like
    ]
    numbers = [one for group in free for one in group.values()]
    optimizer = torch.optim.LBFGS(
        numbers,
        max_iter=600,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        total = part.losses(lambda _: Outputs(*free), batch, statistics).total
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    losses = part.losses(lambda _: Outputs(*free), batch, statistics)
    return {name: float(value.detach()) for name, value in losses.terms.items()}


def measure(
    part: Part,
    table: SituationTable,
    linear_start: Mapping[str, LinearStart],
    *,
    situations: int,
    steps: int,
    learning_rate: float,
    seed: int,
) -> dict[str, Any]:
    """Starts, bounds and floors of the terms that have a target, at the smallest preset."""
    targets = ("verdict", "votes") if part == VOTES else tuple(TARGETS)
    batch = table.batch(choose(table, situations, targets))
    train = table.split_indices["train"]
    statistics = table.statistics(train)
    torch.manual_seed(seed)
    model = UnifiedModel(dimensions("tiny", d_embed=table.d_embed, dropout=part.dropout), statistics)
    began = time.perf_counter()

    def now(predict: Callable[[Batch], Outputs]) -> dict[str, float]:
        with torch.no_grad():
            losses = part.losses(predict, batch, statistics)
        return {name: float(value) for name, value in losses.terms.items()}

    constant = constant_outputs(model, batch)
    starts = {
        "constant": now(lambda seen: repeated(constant, len(seen) // situations)),
        "untrained": now(lambda seen: model.train()(*seen.inputs)),
    }
    solved = UnifiedModel(model.config, statistics)
    solved.load_state_dict(model.state_dict())
    apply_linear_start(solved, linear_start)
    starts["linear start"] = now(lambda seen: solved.train()(*seen.inputs))
    alone = free_numbers(part, constant, batch, statistics)
    taken = max(2, round(part.effort * steps))
    highest, reached, apart = learn_by_heart(part, model, batch, steps=taken, learning_rate=learning_rate)
    undropped = now(lambda seen: model.eval()(*seen.inputs))
    bound = entropies(batch, part.label_smoothing)
    terms: dict[str, Any] = {}
    for name in reached:
        target = next((term.target for term in TERMS if term.name == name), None)
        if target is not None and target not in targets:
            continue
        least = bound.get(name, 0.0)
        own = {way: one[name] for way, one in starts.items()}
        terms[name] = {
            "entropy": least,
            "start": own,
            "highest": highest[name],
            "loss_alone": alone[name],
            "reached": reached[name],
            "without_dropout": undropped[name],
        }
        if target is not None:
            start = min(own.values()) - least
            terms[name] |= {
                "floor_alone": (alone[name] - least) / start,
                "floor": (undropped[name] - least) / start,
                "under_dropout": (reached[name] - least) / start,
            }
    return {
        "data": table.name,
        "situations": situations,
        "label_smoothing": part.label_smoothing,
        "r_drop": part.r_drop,
        "dropout": part.dropout,
        "steps": taken,
        "learning_rate": learning_rate,
        "seed": seed,
        "seconds": round(time.perf_counter() - began, 1),
        "beside_the_terms": apart,
        "terms": terms,
    }


def missed(parts: dict[str, Any]) -> list[str]:
    """What has a floor above the promised one, in words: terms, and totals that hold something beside them."""
    found = []
    for name, part in parts.items():
        for term, one in part["terms"].items():
            for which, what in (("floor_alone", "of the loss"), ("floor", "of the model")):
                if which in one and not one[which] <= PROMISED:
                    found.append(f"{term} ({name}): a floor {what} of {one[which]:.2%}")
        if not part["beside_the_terms"] <= 1e-4:
            found.append(f"the total ({name}): {part['beside_the_terms']:.2%} of it is in no term")
    return found


def as_table(parts: dict[str, Any]) -> str:
    """One line per term: where it starts, the least it can be, what was reached, and the floors."""
    lines = []
    for name, part in parts.items():
        lines.append(
            f"{name}: {part['situations']} situations of {part['data']}, {part['steps']} steps, {part['seconds']:.0f} s"
        )
        columns = ("constant", "untrained", "linear", "highest", "entropy", "alone", "reached")
        floors = ("floor_alone", "floor", "under_dropout")
        lines.append(f"  {'term':<27}" + "".join(f"{column:>14}" for column in (*columns, *floors)))
        for term, one in part["terms"].items():
            numbers = [*one["start"].values(), one["highest"], one["entropy"], one["loss_alone"], one["reached"]]
            shares = [f"{one[floor]:>14.4%}" if floor in one else f"{'–':>14}" for floor in floors]
            lines.append(f"  {term:<27}" + "".join(f"{number:>14.6f}" for number in numbers) + "".join(shares))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, stores, and says whether the promise holds; exit code 1 where it does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a dataset, embedded or not, with every target (default: the bundled sample)")
    parser.add_argument("--votes", help="one with votes alone (default: none)")
    parser.add_argument("--situations", type=int, default=16, help="how many are learned by heart (default: 16)")
    parser.add_argument("--steps", type=int, default=300, help="of the first part (default: 300)")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path, default=RESULT, help="the file to write")
    chosen = parser.parse_args(argv)
    began = time.perf_counter()
    parts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        table = open_table(chosen.data, Path(folder))
        of_votes = open_table(chosen.votes, Path(folder)) if chosen.votes else None
        for source, ways in ((table, (ANNOTATED, SMOOTHED, DROPPED)), (of_votes, (VOTES,))):
            if source is None:
                continue
            train = source.split_indices["train"]
            centres = dimensions("tiny", d_embed=source.d_embed).centres
            linear_start = fit_linear_start(source, train, source.statistics(train), centres=centres)
            for part in ways:
                parts[part.name] = measure(
                    part,
                    source,
                    linear_start,
                    situations=chosen.situations,
                    steps=chosen.steps,
                    learning_rate=chosen.learning_rate,
                    seed=chosen.seed,
                )
    found = missed(parts)
    result = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "device": "cpu",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "preset": "tiny",
        "seconds": round(time.perf_counter() - began, 1),
        "parts": parts,
        "promised": PROMISED,
        "missed": found,
    }
    chosen.result.parent.mkdir(parents=True, exist_ok=True)
    chosen.result.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(as_table(parts))
    print("\n".join(f"above {PROMISED:.0%} – {one}" for one in found) or f"no floor above {PROMISED:.0%}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
