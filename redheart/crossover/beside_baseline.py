"""The delivered model beside the simple baseline, on ``judge`` and ``test``, for the report. Decides nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from redheart.baseline.comparison import compare
from redheart.baseline.run import baseline_of_run
from redheart.batches.table import SituationTable
from redheart.config import Config
from redheart.crossover.evaluation import Scorer
from redheart.crossover.strategies import Recipe
from redheart.data.splits import Split
from redheart.facts.comparison import BaselineDescription, Comparison
from redheart.paths import OutputPaths
from redheart.storage import read_struct, write_json

FORMAT = 1
_SPLITS: tuple[Split, ...] = ("judge", "test")


class BesideBaseline(msgspec.Struct, frozen=True):
    """How the delivered model compares.

    Attributes:
        identity: of its weights, as the candidates have theirs.
        baseline: ``rival`` in the file.
    """

    candidate: str
    identity: str
    baseline: BaselineDescription = msgspec.field(name="rival")
    splits: dict[str, Comparison]
    format: int = FORMAT


def beside_baseline(config: Config, table: SituationTable, scorer: Scorer, recipe: Recipe) -> BesideBaseline:
    """Fits the baseline to the training split of ``table`` and sets the recipe's model, which was scored, beside it."""
    baseline = baseline_of_run(table, table, _SPLITS, should_stop=scorer.should_stop)
    splits: dict[str, Comparison] = {}
    for split in _SPLITS:
        splits[split] = compare(
            scorer.scored(recipe, split),
            scorer.model.statistics,
            baseline.predictions[split],
            samples=config.report.bootstrap_samples,
            confidence=config.report.confidence,
            seed=config.seed,
            should_stop=scorer.should_stop,
        )
    return BesideBaseline(recipe.name, scorer.files.identity(recipe), baseline.description, splits)


def save_beside_baseline(output: Path, found: BesideBaseline) -> Path:
    """Writes ``crossover/rival.json``."""
    path = OutputPaths(output).beside_baseline
    write_json(path, found)
    return path


def load_beside_baseline(output: Path, identity: str) -> BesideBaseline | None:
    """What was written for the model with this identity; None where it is about another one.

    Raises:
        StorageError: the file is missing or damaged.
    """
    path = OutputPaths(output).beside_baseline
    found = read_struct(path, BesideBaseline, fix=f"run `{OutputPaths(output).command('crossover --force')}`")
    return found if found.identity == identity else None
