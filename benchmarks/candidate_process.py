"""A process that scores a crossover's candidates on ``judge`` and ``test``, by the stage's own way or a plain loop.

``python -m benchmarks.candidate_process WAY RUN`` prints, as JSON, seconds, CPU seconds, the peak of anonymous memory above the
imported libraries, how often each file was hashed and copied from (bytes by bytes on disk), and every candidate's two losses.
The plain loop loads each candidate once, with safetensors' ``load_file``, and hashes each file once, as the stage does.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from redheart.batches.table import SituationTable
from redheart.checkpoint import list_epochs
from redheart.checkpoint.manifest import file_of
from redheart.checkpoint.module_files import module_of
from redheart.checkpoint.restore import build_from_manifest
from redheart.crossover import strategies
from redheart.crossover.controls import random_crossovers
from redheart.crossover.evaluation import Scorer
from redheart.crossover.strategies import EpochFiles, Recipe, crossover, uniform
from redheart.data import Situation
from redheart.data.splits import Split
from redheart.embedding import EmbeddedDataset
from redheart.evaluation.evaluate import evaluate_model
from redheart.model import TargetStatistics, UnifiedModel, dimensions
from redheart.storage import sha256_of
from redheart.tasks import LABELS, MODULES

SEGMENTS, WIDTH = 4, 384
SPLITS: tuple[Split, ...] = ("judge", "test")


def table_of(count: int, kinds: Sequence[str] | None = None) -> SituationTable:
    """Situations with random vectors and targets.

    Args:
        kinds: of each one's segments, a digit a segment; None: the shortest there are, four each.
    """
    kinds = ["0223"] * count if kinds is None else kinds
    generator = np.random.default_rng(0)
    bentham = ("intensity", "duration", "certainty", "propinquity", "fecundity", "purity", "extent")
    surd = ("selection", "uncertainty", "risk", "decision")
    situations = [
        Situation(
            id=f"s{index}",
            text=f"situation {index}",
            label=LABELS[index % len(LABELS)],
            emotions=tuple(float(one) for one in generator.dirichlet(np.ones(7))),
            regret_factor=float(generator.random()),
            bentham_scores={name: float(generator.random()) for name in bentham},
            surd_metrics={name: float(generator.random()) for name in surd},
        )
        for index in range(count)
    ]
    lengths = [len(one) for one in kinds]
    rows = generator.standard_normal((sum(lengths), WIDTH)).astype(np.float32)
    path = Path("random.embedded.json")
    first = np.cumsum([0, *lengths[:-1]], dtype=np.int64)
    dataset = EmbeddedDataset.of_situations(
        path, situations, [f"k{one}" for one in range(count)], rows, first, list(kinds), model_name="random"
    )
    return SituationTable(dataset, path)


def recipes_of(epochs: list[int]) -> list[Recipe]:
    """As the stage has them, with a soup of the first, third and last."""
    choices = {module: epochs[number % len(epochs)] for number, module in enumerate(MODULES)}
    return [
        uniform("last", epochs[-1:]),
        uniform("best_epoch", epochs[-2:-1]),
        uniform("average", epochs[-5:]),
        uniform("soup", [epochs[0], epochs[len(epochs) // 2], epochs[-1]]),
        crossover("crossover", choices),
        *random_crossovers(choices, dict.fromkeys(MODULES, epochs), 3, seed=0),
    ]


def ours(run: Path, table: SituationTable) -> tuple[list[list[float | None]], dict[str, Counter[Path]]]:
    """Each candidate's losses, and the bytes of each file that were hashed and copied."""
    counted: dict[str, Counter[Path]] = {"hashed": Counter(), "copied": Counter()}
    real_hash, real_tensors = strategies.sha256_of, EpochFiles.tensors

    def hashed(path: Path) -> str:
        counted["hashed"][path] += path.stat().st_size
        return real_hash(path)

    def tensors(self: EpochFiles, recipe: Recipe, *which: Any) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in real_tensors(self, recipe, *which):
            module = module_of(name)
            for epoch in recipe.epochs[module]:
                file = self.path(epoch) / file_of(module)
                counted["copied"][file] += tensor.numel() * tensor.element_size()
            yield name, tensor

    strategies.sha256_of, EpochFiles.tensors = hashed, tensors  # type: ignore[method-assign,assignment]
    files = EpochFiles(run)
    scorer = Scorer(files, table, samples=100, confidence=0.95, seed=0)
    recipes = recipes_of(files.epochs)
    scorer.expect(recipes, SPLITS)
    scores = [scorer.score_all(recipes, split, comparisons=len(recipes) - 1) for split in SPLITS]
    return [[on[number].total_loss for on in scores] for number in range(len(recipes))], counted


def plain(run: Path, table: SituationTable) -> tuple[list[list[float | None]], dict[str, Counter[Path]]]:
    """The same by the plainest loop."""
    counted: dict[str, Counter[Path]] = {"hashed": Counter(), "copied": Counter()}
    epochs = {one.epoch: one for one in list_epochs(run)}
    model = build_from_manifest(epochs[max(epochs)].manifest)
    losses: list[list[float | None]] = []
    for recipe in recipes_of(sorted(epochs)):
        state = {}
        for module, chosen in recipe.epochs.items():
            total: dict[str, torch.Tensor] = {}
            for epoch in chosen:
                file = epochs[epoch].path / file_of(module)
                if file not in counted["hashed"]:
                    assert sha256_of(file) == epochs[epoch].manifest.files[file.name].sha256
                    counted["hashed"][file] += file.stat().st_size
                counted["copied"][file] += file.stat().st_size
                for name, tensor in load_file(file).items():
                    total[name] = total[name] + tensor.double() if name in total else tensor.double()
            state |= (
                {name: (tensor / len(chosen)).float() for name, tensor in total.items()}
                if chosen[1:]
                else load_file(file)
            )
        model.load_state_dict(state)
        del state
        losses.append([evaluate_model(model, table, split).loss for split in SPLITS])
    return losses, counted


def main(way: str, run: Path, situations: int) -> None:
    """Measures, and prints."""
    torch.set_num_threads(1)
    table = table_of(situations)
    peak, ended = 0, threading.Event()

    def anonymous() -> int:
        found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
        return 1024 * int(found[1]) if found else 0

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.005):
            peak = max(peak, anonymous())

    # What the first evaluation imports and sets up is part of neither way.
    warm = UnifiedModel(dimensions("tiny", d_embed=WIDTH), TargetStatistics.neutral())
    evaluate_model(warm, table, "judge")
    del warm
    base, began, used = anonymous(), time.perf_counter(), time.process_time()
    thread = threading.Thread(target=watch)
    thread.start()
    losses, counted = (ours if way == "ours" else plain)(run, table)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    ended.set()
    thread.join()
    times = {
        what: {
            "most": round(max(found[file] / file.stat().st_size for file in found), 2),
            "mean": round(statistics.mean(found[file] / file.stat().st_size for file in found), 2),
        }
        for what, found in counted.items()
    }
    print(
        json.dumps({"seconds": seconds, "cpu": cpu, "bytes": max(peak, base) - base, "times": times, "losses": losses})
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
