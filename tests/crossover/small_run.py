"""A real run in miniature: a synthetic dataset whose targets follow from its vectors, a small model trained on it for a
few epochs, checkpoints and records as training writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch

from redheart.batches.table import SituationTable
from redheart.checkpoint import Manifest, save_epoch
from redheart.data import Situation
from redheart.embedding import EmbeddedDataset
from redheart.evaluation.evaluate import evaluate_model
from redheart.facts.scores import SplitScores
from redheart.model import ModelDimensions, TargetStatistics, UnifiedModel, compute_losses
from redheart.sweet_spot.choice import Choice, Reason, SweetSpotAnalysis, Vote
from redheart.sweet_spot.techniques import TECHNIQUES
from redheart.tasks import LABELS, MODULES
from redheart.training.records import (
    EpochRecord,
    GradientRecord,
    ModuleUpdate,
    NormSpread,
    RunRecord,
    TrainLosses,
    UpdateRecord,
    append_record,
)
from tests.checkpoint.states import save_start

D_EMBED = 8
#: Identity of whatever is trained here.
RUN = "small"
DIMENSIONS = ModelDimensions(
    preset="tiny",
    d_embed=D_EMBED,
    d_model=16,
    layers=1,
    attention_heads=2,
    head_width=16,
    head_layers=1,
    analyzer_width=16,
    analyzer_layers=1,
    wrapper_width=16,
    wrapper_layers=1,
    phase_width=16,
    signal_channels=7,
    signal_width=16,
    state_width=16,
    dropout=0.0,
    embedding_dropout=0.0,
)


def story(index: int, seed: int = 0) -> str:
    """The text of a situation of ``small_table``."""
    return f"story number {index} of seed {seed}"


def small_table(
    folder: Path, count: int = 200, *, seed: int = 0, texts: Mapping[str, str] | None = None
) -> SituationTable:
    """Situations of a title, two windows and the text whole; what they are annotated with follows from the mean vector, with noise.

    Args:
        texts: by id, other texts than they would have.
    """
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((count, 4, D_EMBED)).astype(np.float32)
    hidden = vectors.mean(axis=1) @ generator.standard_normal((D_EMBED, 24))
    noisy = hidden + 0.5 * generator.standard_normal(hidden.shape)
    scores = 1 / (1 + np.exp(-noisy))
    emotions = np.exp(noisy[:, :7]) / np.exp(noisy[:, :7]).sum(axis=1, keepdims=True)
    bentham = ("intensity", "duration", "certainty", "propinquity", "fecundity", "purity", "extent")
    surd = ("selection", "uncertainty", "risk", "decision")
    situations = [
        Situation(
            id=f"s{index}",
            text=(texts or {}).get(f"s{index}", story(index, seed)),
            label=LABELS[int(noisy[index, 19:24].argmax())],
            emotions=tuple(float(value) for value in emotions[index]),
            regret_factor=float(scores[index, 7]),
            bentham_scores={name: float(scores[index, 8 + column]) for column, name in enumerate(bentham)},
            surd_metrics={name: float(scores[index, 15 + column]) for column, name in enumerate(surd)},
        )
        for index in range(count)
    ]
    path = folder / "small.embedded.json"
    first_rows = np.arange(0, 4 * count, 4, dtype=np.int64)
    keys = [f"k{index}" for index in range(count)]
    rows = vectors.reshape(-1, D_EMBED)
    return SituationTable(
        EmbeddedDataset.of_situations(
            path, situations, keys, rows, first_rows, ["0223"] * count, model_name="synthetic"
        ),
        path,
    )


@dataclass(frozen=True)
class SmallRun:
    """Where it lies, what it was trained on, and each epoch's weights as they were when they were saved."""

    output: Path
    table: SituationTable
    states: dict[int, dict[str, torch.Tensor]]


def _copy(model: UnifiedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def train(
    output: Path, table: SituationTable, *, epochs: int, rate: float = 0.015, dry_run: bool = False, start: bool = False
) -> SmallRun:
    """Trains, and writes checkpoints and ``metrics.jsonl`` under ``output``; with ``start`` also what it starts from, as epoch 0."""
    torch.manual_seed(0)
    statistics = table.statistics(table.split_indices["train"])
    model = UnifiedModel(DIMENSIONS, statistics)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    whole = table.batch(table.split_indices["train"])
    first = RunRecord(world_size=1, parameters=1, dry_run=dry_run, counts=table.counts)
    states: dict[int, dict[str, torch.Tensor]] = {}
    if start:
        states[0] = _copy(model)
        first = msgspec.structs.replace(first, learning_rate=rate, choose=_scored(model, table))
        save_start(output, state=states[0], manifest=_manifest(0, table, statistics))
    append_record(output / "metrics.jsonl", first)
    for epoch in range(1, epochs + 1):
        before = _copy(model)
        model.train()
        for start in range(0, len(whole), 32):
            piece = whole.rows(start, start + 32)
            optimizer.zero_grad()
            losses = compute_losses(model(*piece.inputs), piece, statistics)
            losses.total.backward()
            if not dry_run:
                optimizer.step()
        states[epoch] = _copy(model)
        record = _record(epoch, model, table, before, float(losses.total.detach()))
        append_record(output / "metrics.jsonl", record)
        save_epoch(output, epoch=epoch, state=states[epoch], manifest=_manifest(epoch, table, statistics))
    return SmallRun(output, table, states)


def _manifest(epoch: int, table: SituationTable, statistics: TargetStatistics) -> Manifest:
    return Manifest(
        run=RUN,
        dataset=table.identity,
        global_step=5 * epoch,
        preset="tiny",
        d_embed=D_EMBED,
        model=DIMENSIONS.to_json(),
        statistics=statistics.to_json(),
    )


def _scored(model: UnifiedModel, table: SituationTable) -> SplitScores:
    return evaluate_model(model, table, "choose", with_items=False).scores()


def _record(
    epoch: int, model: UnifiedModel, table: SituationTable, before: dict[str, torch.Tensor], loss: float
) -> EpochRecord:
    state = model.state_dict()

    def relative(module: str) -> float:
        names = [name for name in state if name.startswith(f"{module}.")]
        moved = sum(float((state[name] - before[name]).double().square().sum()) for name in names)
        there = sum(float(before[name].double().square().sum()) for name in names)
        return (moved / max(there, 1e-12)) ** 0.5

    return EpochRecord(
        epoch=epoch,
        global_step=5 * epoch,
        learning_rate=0.01 / epoch,
        seconds=1.0,
        train=TrainLosses(loss=loss),
        choose=_scored(model, table),
        gradient=GradientRecord(
            total_norm_mean=1.0 + 1 / epoch,
            modules={module: NormSpread(mean=0.3 + 0.1 / epoch, std=0.1, max=0.9) for module in MODULES},
        ),
        update=UpdateRecord(
            modules={module: ModuleUpdate(relative=relative(module), dead_fraction=0.0) for module in MODULES}
        ),
        checkpoint=f"checkpoints/epoch_{epoch:04d}",
    )


def analysis_of(
    choices: dict[str, int] | None, *, epochs: int, dry_run: bool = False, weights_changed: bool = True
) -> SweetSpotAnalysis:
    """An analysis that chose these epochs."""
    reason = Reason("crossover.name_last")
    return SweetSpotAnalysis(
        choices=None
        if choices is None
        else {
            module: Choice(epoch, 0.5, {name: Vote(epoch, 0.5, reason) for name in TECHNIQUES}, reason, epoch == epochs)
            for module, epoch in choices.items()
        },
        dry_run=dry_run,
        weights_changed=weights_changed,
        epochs=tuple(range(1, epochs + 1)),
        explanation=reason,
        inputs="inputs",
        settings={},
    )


def mixed(epochs: int) -> dict[str, int]:
    """Different epochs for different modules."""
    return {module: 1 + position % epochs for position, module in enumerate(MODULES)}
