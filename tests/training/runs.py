"""Short ways to a trained run, to its weights, and to a loop without a run around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from redheart.batches.table import SituationTable
from redheart.checkpoint import list_epochs, load_modules
from redheart.config import Config
from redheart.engine.factory import make_engine
from redheart.model import UnifiedModel, dimensions
from redheart.paths import OutputPaths
from redheart.training.init_from import solves_start
from redheart.training.linear_start import start_linear_paths
from redheart.training.loop import TrainingLoop
from redheart.training.optimizer import build_optimizer
from redheart.training.records import read_records
from redheart.training.trainer import Trainer, TrainingResult

LEARNING_RATE = 1e-3


def train(
    dataset: Path, output: Path, config: Config, learning_rate: float = LEARNING_RATE, **stage: Any
) -> TrainingResult:
    return Trainer(config, dataset, output, learning_rate=learning_rate, **stage).run()


def weights(output: Path, epoch: int = -1) -> dict[str, torch.Tensor]:
    """All tensors of an epoch's checkpoint (1-based; -1 the last)."""
    found = list_epochs(output, verify=True)
    return load_modules(found[epoch if epoch < 0 else epoch - 1].path)


def training_metrics(output: Path) -> list[dict[str, Any]]:
    """The epochs' records that count, as their lines have them."""
    return [msgspec.to_builtins(record) for record in read_records(OutputPaths(output).metrics).epochs.values()]


def metrics(output: Path) -> list[dict[str, Any]]:
    """The same without what a clock decides."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in training_metrics(output)]


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def furthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The largest difference of any two weights."""
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def assert_same_but_few(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal weights; a few, whose gradient is all but nothing, may turn the other way where sums are taken in another order."""
    turned = sum(int(((found[name] - expected[name]).abs() > 1e-4).sum()) for name in expected)
    assert turned <= 1e-5 * sum(tensor.numel() for tensor in expected.values())
    apart = sum(float((found[name] - expected[name]).double().square().sum()) for name in expected) ** 0.5
    size = sum(float(tensor.double().square().sum()) for tensor in expected.values()) ** 0.5
    assert apart < 1e-5 * size


def make_loop(
    config: Config,
    table: SituationTable,
    learning_rate: float = LEARNING_RATE,
    *,
    without: tuple[str, ...] = (),
    **loop: Any,
) -> TrainingLoop:
    """Model, optimizer and loop as the stage puts them together."""
    torch.manual_seed(config.seed)
    train_indices = table.split_indices["train"]
    statistics = table.statistics(train_indices)
    engine = make_engine(config)
    shape = dimensions("tiny", d_embed=table.d_embed, dropout=config.model.dropout)
    model = UnifiedModel(replace(shape, without=without), statistics)
    if solves_start(config.training):
        start_linear_paths(model, table, train_indices, statistics)
    engine.prepare(model, build_optimizer(model, learning_rate, config.training))
    return TrainingLoop(
        engine,
        table,
        train_indices,
        statistics,
        learning_rate=learning_rate,
        total_epochs=config.training.epochs,
        seed=config.seed,
        **loop,
    )


def state_of(loop: TrainingLoop) -> dict[str, torch.Tensor]:
    return loop.engine.full_state_dict()
