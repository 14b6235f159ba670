"""The single runs that ``benchmarks.model_quality`` is made of: one model, or one baseline, on one division of the data.

Every finished run is a file, so that a benchmark of hours can be stopped and goes on. What a run leaves is each test
situation's prediction; all scores are computed from these, by ``quality_scores``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import redheart
from redheart.baseline.features import baseline_features
from redheart.baseline.fit import fit_baseline
from redheart.batches.table import SituationTable
from redheart.config import Config, ModelConfig, TrainingConfig
from redheart.data import read_dataset
from redheart.embedding import open_embedded
from redheart.embedding.dataset import EmbeddedDataset
from redheart.engine.factory import make_engine
from redheart.evaluation.evaluate import Evaluation, evaluate_model
from redheart.model import UnifiedModel, dimensions
from redheart.storage import replace_file
from redheart.tasks import TASKS
from redheart.training.linear_start import start_linear_paths
from redheart.training.loop import TrainingLoop
from redheart.training.optimizer import build_optimizer

Indices = NDArray[np.int64]
FOLDS = 5
#: Title, action, whole text, mean of the windows: the sizes that the model's linear views have.
BASELINE_WEIGHTS = (0.5, 0.5, 1.0, 1.0)
#: Fraction of the training situations on which the epoch is chosen.
VALIDATION = 0.15


@dataclass(frozen=True)
class Run:
    """One unit of work.

    Attributes:
        kind: ``constant``; ``baseline``; ``weighted baseline``, which gets title and action at half the size as the model does;
            ``untrained``, ``tiny`` as it starts; or a preset.
        section: ``annotated`` (cross-validated), ``votes`` (one fixed test part) or ``both`` (trained on both).
        fold: of the annotated situations; what is tested. For ``votes`` always 0.
        fraction: of the training situations.
    """

    section: str
    kind: str
    fold: int = 0
    seed: int = 0
    fraction: float = 1.0
    epochs: int = 8
    learning_rate: float = 3e-4

    @property
    def name(self) -> str:
        kind = self.kind.replace(" ", "_")
        return f"{self.section}-{kind}-fold{self.fold}-seed{self.seed}-{self.fraction:g}-{self.epochs}-{self.learning_rate:g}"


@dataclass(frozen=True)
class Source:
    """Embedded datasets: ``annotated`` with every target, ``votes`` with votes alone and how many of it are tested."""

    annotated: str
    votes: str | None
    votes_tested: int


def _draw(identifier: str, salt: str) -> float:
    """A number of 0..1 that only the identifier decides."""
    return int(hashlib.sha256(f"{salt} {identifier}".encode()).hexdigest()[:13], 16) / 16**13


@dataclass(frozen=True)
class Division:
    """Positions: what is trained on, the part of it that chooses the epoch, and the tested parts by name."""

    table: SituationTable
    train: Indices
    validation: Indices
    tests: dict[str, Indices]


@lru_cache(maxsize=4)
def _table(source: Source, section: str) -> tuple[SituationTable, int]:
    """The table of a section, and how many of its situations are the annotated ones (they come first)."""
    paths = {"annotated": [source.annotated], "votes": [source.votes], "both": [source.annotated, source.votes]}[
        section
    ]
    datasets = [open_embedded(Path(path)) for path in paths if path]
    dataset = datasets[0] if len(datasets) == 1 else _joined(datasets)
    annotated = 0 if section == "votes" else len(datasets[0])
    return SituationTable(dataset, dataset.path), annotated


def _joined(datasets: Sequence[EmbeddedDataset]) -> EmbeddedDataset:
    rows = [np.concatenate([one.segments(index).vectors for index in range(len(one))]) for one in datasets]
    kinds = ["".join(map(str, one.segments(index).kinds)) for one in datasets for index in range(len(one))]
    lengths = np.array([len(one) for one in kinds], np.int64)
    return EmbeddedDataset.of_situations(
        datasets[0].path,
        [situation for one in datasets for situation in read_dataset(one.path)],
        [key for one in datasets for key in one.keys],
        np.concatenate(rows),
        np.cumsum(lengths) - lengths,
        kinds,
        model_name=datasets[0].model_name,
    )


def divide(source: Source, run: Run) -> Division:
    """What ``run`` is trained and tested on; decided by the situations' ids alone."""
    table, annotated = _table(source, run.section)
    fold = np.array([int(FOLDS * _draw(name, "fold of the benchmark")) for name in table.ids])
    everything = np.arange(len(table.ids))
    mine, votes = everything[:annotated], everything[annotated:]
    order = votes[np.argsort([_draw(table.ids[index], "votes of the benchmark") for index in votes])]
    tested, rest = np.sort(order[: source.votes_tested]), np.sort(order[source.votes_tested :])
    tests = {"annotated": mine[fold[:annotated] == run.fold], "votes": tested}
    train = np.concatenate([mine[fold[:annotated] != run.fold], rest]).astype(np.int64)
    rank = np.array([_draw(table.ids[index], "part of the benchmark") for index in train])
    train = train[rank < run.fraction] if run.fraction < 1 else train
    aside = np.array([_draw(table.ids[index], "validation of the benchmark") < VALIDATION for index in train])
    return Division(table, train, train[aside], {name: part for name, part in tests.items() if len(part)})


@lru_cache(maxsize=1)
def _sources() -> str:
    """What the program's text says, as far as it decides a run: its hash."""
    package = Path(redheart.__file__).parent
    parts = (
        "config",
        "data",
        "embedding",
        "model",
        "baseline",
        "batches",
        "engine",
        "health",
        "evaluation",
        "training",
    )
    files = sorted(path for part in parts for path in (package / part).rglob("*.py"))
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in (*files, package / "tasks.py", Path(__file__)))
    ).hexdigest()


def identity(source: Source, run: Run) -> str:
    """Of a run: its data and the program that did it. A finished run of another is done again."""
    return hashlib.sha256(f"{_table(source, run.section)[0].identity} {_sources()}".encode()).hexdigest()[:16]


def is_done(source: Source, run: Run, folder: Path) -> bool:
    """Whether the run's file is there and is of this data and program."""
    path = folder / f"{run.name}.npz"
    if not path.exists():
        return False
    with np.load(path) as held:
        return bool(json.loads(str(held["about"])).get("identity") == identity(source, run))


def carry_out(source: Source, run: Run, folder: Path) -> Path:
    """Does ``run`` unless its file is there.

    Returns:
        The file: arrays ``<test>/<task>`` (tested situations, dims) in natural units, ``<test>/ids``, and ``about``.
    """
    path = folder / f"{run.name}.npz"
    if is_done(source, run, folder):
        return path
    division = divide(source, run)
    arrays: dict[str, NDArray[np.generic]] = {}
    about: dict[str, object] = asdict(run) | {"trained_on": len(division.train), "identity": identity(source, run)}
    if run.kind == "constant":
        said = _constant(division)
    elif run.kind in ("baseline", "weighted baseline"):
        said, penalties = _baseline(
            division, BASELINE_WEIGHTS if run.kind == "weighted baseline" else (1.0, 1.0, 1.0, 1.0)
        )
        about |= {"penalties": penalties}
    elif run.kind == "untrained":
        said = _train(division, run, until=0)
    else:
        epoch, curve = _choose_epoch(division, run)
        said = _train(division, run, until=epoch)
        about |= {"epoch": epoch, "validation_loss": curve}
    for test, predictions in said.items():
        arrays[f"{test}/ids"] = np.array([division.table.ids[index] for index in division.tests[test]])
        arrays |= {f"{test}/{task}": values.astype(np.float32) for task, values in predictions.items()}
    arrays["about"] = np.array(json.dumps(about))
    folder.mkdir(parents=True, exist_ok=True)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as out:
            np.savez(out, **arrays)

    replace_file(path, write)
    return path


Said = dict[str, dict[str, NDArray[np.float64]]]


def _constant(division: Division) -> Said:
    targets, train = division.table.targets, division.train
    said: Said = {test: {} for test in division.tests}
    for task in TASKS:
        known = targets.mask[task.name][train]
        values = np.where(known, targets.values[task.name][train], np.nan)
        mean = np.full(values.shape[1], 1 / values.shape[1] if task.is_distribution else 0.5)
        if known.any():
            mean = np.nanmean(values, axis=0)
        for test, indices in division.tests.items():
            said[test][task.name] = np.tile(mean, (len(indices), 1)).astype(np.float64)
    return said


def _baseline(division: Division, weights: Sequence[float]) -> tuple[Said, object]:
    table, train = division.table, division.train

    def features(indices: Indices) -> NDArray[np.float32]:
        return baseline_features(table.dataset, indices) * np.repeat(np.asarray(weights, np.float32), table.d_embed)

    baseline = fit_baseline(
        features(train),
        {name: values[train] for name, values in table.targets.values.items()},
        {name: known[train] for name, known in table.targets.mask.items()},
    )
    said = {}
    for test, part in division.tests.items():
        said[test] = baseline.predict(features(part))
    return said, baseline.record()


def _epochs(division: Division, train: Indices, run: Run, *, until: int, scored: dict[str, Indices]):  # type: ignore[no-untyped-def]
    """Trains on ``train`` and yields the evaluations of ``scored`` before it (epoch 0) and after each epoch up to ``until``."""
    table = division.table
    preset = "tiny" if run.kind == "untrained" else run.kind
    config = Config(
        model=ModelConfig(preset=preset),  # type: ignore[arg-type]
        training=TrainingConfig(epochs=run.epochs, learning_rate=run.learning_rate, precision="no"),
        seed=run.seed,
    )
    statistics = table.statistics(train)
    torch.manual_seed(run.seed)
    engine = make_engine(config)
    model = UnifiedModel(dimensions(preset, d_embed=table.d_embed, dropout=config.model.dropout), statistics)
    start_linear_paths(model, table, train, statistics)
    engine.prepare(model, build_optimizer(model, run.learning_rate, config.training))
    loop = TrainingLoop(
        engine,
        table,
        train,
        statistics,
        learning_rate=run.learning_rate,
        total_epochs=run.epochs,
        seed=run.seed,
        norms_every=1000,
    )
    for epoch in range(until + 1):
        if epoch:
            for _ in loop.epoch(epoch):
                pass
        found: dict[str, Evaluation] = {}
        for test, indices in scored.items():
            table.split_indices["judge"] = indices
            found[test] = evaluate_model(engine.model, table, "judge", statistics=statistics, device=engine.device)
        yield epoch, found
    engine.free()


def _choose_epoch(division: Division, run: Run) -> tuple[int, list[float]]:
    """The epoch at which what is served has the lowest loss on the validation part, trained on the rest; 0: the start."""
    rest = np.setdiff1d(division.train, division.validation)
    scored = {"validation": division.validation}
    curve = [
        float(found["validation"].item_losses.mean())
        for _, found in _epochs(division, rest, run, until=run.epochs, scored=scored)
    ]
    return int(np.argmin(curve)), curve


def _train(division: Division, run: Run, *, until: int) -> Said:
    """Trains on all training situations with the same schedule, as long as was chosen, and predicts the tested ones."""
    said: Said = {}
    for epoch, found in _epochs(division, division.train, run, until=until, scored=division.tests):
        if epoch == until:
            said = {test: one.predictions for test, one in found.items()}
    return said
