"""A run from training to the report, in the package that is imported first: ``python whole_run.py FOLDER ITEM``.

Args:
    FOLDER: the dataset goes there, and everything that the run writes into its ``out``.
    ITEM: what an item is annotated with besides, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from redheart.batches.table import SituationTable
from redheart.cli.main import main
from redheart.config import Config, CrossoverConfig, ReportConfig, SweetSpotConfig, TrainingConfig
from redheart.config.schema import ModelConfig
from redheart.crossover import run_crossover
from redheart.messages import set_language
from redheart.report import build_report
from redheart.sweet_spot import analyze
from redheart.training.trainer import Trainer
from tests.training.small_data import embedded_items, write_embedded

EPOCHS = 2


def annotated(further: dict[str, object]) -> list[dict[str, object]]:
    """Items of the sample, two in three with ``further``, varied so that there is something to tell apart."""
    items = embedded_items(80)
    for number, item in enumerate(items):
        if number % 3:
            item.update({field: varied(value, number) for field, value in further.items()})
    return items


def varied(value: object, number: int) -> object:
    """A fraction scaled down, or votes with some more for the first dimension."""
    if isinstance(value, float):
        return value * (number % 5) / 4
    assert isinstance(value, dict)
    first, *_ = value
    return {**value, first: value[first] + number % 4}


if __name__ == "__main__":
    folder, further = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    set_language("en")
    output = folder / "out"
    config = Config(
        output=str(output),
        model=ModelConfig(preset="tiny"),
        training=TrainingConfig(epochs=EPOCHS),
        crossover=CrossoverConfig(random_controls=1),
        report=ReportConfig(bootstrap_samples=100),
    )
    dataset = write_embedded(folder, annotated(further))
    Trainer(config, dataset, output, learning_rate=1e-3).run()
    analysis = analyze(output / "metrics.jsonl", output, SweetSpotConfig())
    run_crossover(config, output, analysis, SituationTable.open(dataset))
    build_report(config, output)
    sys.exit(main(["epochs", "--output", str(output), "--lang", "en"]))
