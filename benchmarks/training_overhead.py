"""What the training loop costs beside a bare PyTorch loop and Hugging Face's ``Trainer``: ``python -m benchmarks.training_overhead``.

All three train the same model on the same situations, thirty-two a step, with the same AdamW (fused), clipping and schedule, in one
process and in turn, a few steps each, in an order that changes: the ``Trainer`` leads, and where it has taken its steps, its callback
lets the others take theirs. Ours is what a real run does at a step – norms by module, losses by term, updates, finiteness, the question
whether it shall stop –; the bare loop gathers a batch, computes, clips and steps, and the ``Trainer`` is as its defaults have it, with
nothing logged or saved. Ratios are paired within a turn; intervals are of their median, by bootstrap. The result goes to
``benchmarks/results/training_overhead.json`` with device, versions and date.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.candidate_process import table_of
from benchmarks.startup import _processor
from redheart.batches.order import epoch_order, global_batches
from redheart.batches.table import SituationTable
from redheart.config import Config, load_config
from redheart.engine.factory import make_engine
from redheart.model import Batch, TargetStatistics, UnifiedModel, compute_losses, dimensions
from redheart.storage import write_json
from redheart.training.callbacks.callback import Callback, Callbacks
from redheart.training.callbacks.progress_bar import ProgressBar
from redheart.training.callbacks.run import Run
from redheart.training.callbacks.update_check import UpdateCheck
from redheart.training.epoch_sums import EpochSums
from redheart.training.loop import TrainingLoop
from redheart.training.optimizer import build_optimizer
from redheart.training.saving.resume_state import Position
from redheart.training.schedule import learning_rate_at, set_learning_rate
from redheart.training.step_result import Step

RESULT = Path(__file__).parent / "results" / "training_overhead.json"
#: What is aimed at: the upper end of the interval beside each peer.
AIMS = {"bare": 1.05, "trainer": 1.00}
SITUATIONS, GLOBAL_BATCH, EPOCHS, RATE = 900, 32, 1_000, 1e-4
#: Steps of each in a turn: few, since what else the machine does changes from second to second.
STEPS = {"tiny": 2, "small": 1}
#: Turns of each.
TURNS = {"tiny": 140, "small": 48}
SUBJECTS = ("ours", "bare", "trainer")


class Ratio(msgspec.Struct, frozen=True):
    """Ours over a peer's: the median of the turns' ratios, and the bounds of its interval (95 %)."""

    median: float
    low: float
    high: float


class Measured(msgspec.Struct):
    """One preset.

    Attributes:
        seconds: of a step, by the clock on the wall: each subject's median over the turns.
        beside, processor: by peer, ratios of the wall's seconds, and of the processor's, in which no other process is.
    """

    turns: int
    steps_a_turn: int
    seconds: dict[str, float]
    beside: dict[str, Ratio]
    processor: dict[str, Ratio]


class Result(msgspec.Struct):
    """The file: by preset."""

    device: str
    threads: int
    versions: dict[str, str]
    date: str
    presets: dict[str, Measured]


def random_table(count: int = SITUATIONS) -> SituationTable:
    """Situations of 5 to 16 segments."""
    windows = np.random.default_rng(1).integers(2, 14, count)
    return table_of(count, ["01" + "2" * int(one) + "3" for one in windows])


def new_model(preset: str, table: SituationTable, statistics: TargetStatistics) -> UnifiedModel:
    """The same weights each time."""
    torch.manual_seed(0)
    return UnifiedModel(dimensions(preset, d_embed=table.d_embed), statistics)


class _Sums(Callback):
    """What the trainer's record adds up, without its file."""

    def __init__(self) -> None:
        self.sums = EpochSums()

    def before_epoch(self, run: Run) -> None:
        self.sums = EpochSums()

    def after_step(self, run: Run, step: Step) -> None:
        self.sums.add(step)


def ours(preset: str, table: SituationTable, config: Config) -> Iterator[None]:
    """Our loop, with what the trainer does at each step."""
    train = table.split_indices["train"]
    statistics = table.statistics(train)
    engine = make_engine(config)
    model = new_model(preset, table, statistics)
    engine.prepare(model, build_optimizer(model, RATE, config.training))
    loop = TrainingLoop(engine, table, train, statistics, learning_rate=RATE, total_epochs=EPOCHS, seed=0)
    run = Run(config, loop, EPOCHS)
    sums = _Sums()
    callbacks = Callbacks([ProgressBar(), UpdateCheck(on_check=lambda report: sums.sums.add_check(report)), sums])
    callbacks.before_run(run, {})
    try:
        for epoch in range(1, EPOCHS + 1):
            run.position = Position(epoch)
            for _ in callbacks.around_steps(run):
                run.is_asked_to_stop()
                yield
    finally:
        callbacks.close(run)


def bare(preset: str, table: SituationTable, config: Config) -> Iterator[None]:
    """The plainest loop there is."""
    train = table.split_indices["train"]
    statistics = table.statistics(train)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = new_model(preset, table, statistics).to(device).train()
    optimizer = build_optimizer(model, RATE, config.training)
    _fuse(optimizer)
    total = EPOCHS * -(-len(train) // GLOBAL_BATCH)
    for step, indices in enumerate(_batches(train)):
        set_learning_rate(optimizer.param_groups, learning_rate_at(step, total, RATE, config.training))
        batch = table.batch(indices).to(device)
        compute_losses(model(*batch.inputs), batch, statistics).total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.training.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield


def _fuse(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group["fused"] = True


def _batches(train: Any) -> Iterator[Any]:
    for epoch in itertools.count(1):
        yield from global_batches(epoch_order(train, seed=0, epoch=epoch), GLOBAL_BATCH)


class _WithLoss(nn.Module):
    """The model as the ``Trainer`` wants it: it takes a batch's tensors by name and gives the loss."""

    def __init__(self, model: UnifiedModel, statistics: TargetStatistics) -> None:
        super().__init__()
        self.model, self.statistics = model, statistics

    def forward(self, **tensors: Any) -> dict[str, Tensor]:
        batch = Batch(ids=[], **tensors)
        return {"loss": compute_losses(self.model(*batch.inputs), batch, self.statistics).total}


def lead_by_trainer(
    preset: str, table: SituationTable, config: Config, turns: int, after_turn: Callable[[float, float], None]
) -> None:
    """Hugging Face's ``Trainer``, which tells of each of its turns how long it took, and waits meanwhile.

    Args:
        after_turn: is handed seconds by the clock on the wall and the processor's.
    """
    from transformers import Trainer, TrainerCallback, TrainingArguments

    train = table.split_indices["train"]
    statistics = table.statistics(train)
    steps = STEPS[preset]
    model = _WithLoss(new_model(preset, table, statistics), statistics)
    optimizer = build_optimizer(model.model, RATE, config.training)
    _fuse(optimizer)
    total = EPOCHS * -(-len(train) // GLOBAL_BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_at(step, total, RATE, config.training) / RATE
    )

    def collate(indices: list[int]) -> dict[str, Any]:
        batch = table.batch(np.array(indices))
        names = ("segments", "segment_mask", "kinds", "positions", "targets", "target_mask")
        return {name: getattr(batch, name) for name in names}

    class Turns(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter(), time.process_time()

        def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % steps == 0:
                wall, processor = self.began
                after_turn(time.perf_counter() - wall, time.process_time() - processor)
                self.began = time.perf_counter(), time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=turns * steps,
                per_device_train_batch_size=GLOBAL_BATCH,
                max_grad_norm=config.training.max_grad_norm,
                use_cpu=not torch.cuda.is_available(),
                remove_unused_columns=False,
                report_to=[],
                disable_tqdm=True,
                save_strategy="no",
            ),
            data_collator=collate,
            train_dataset=[int(one) for one in train],
            optimizers=(optimizer, schedule),
            callbacks=[Turns()],
        ).train()


def measure(preset: str, turns: int, *, warm: int = 3) -> Measured:
    """All three in turn, ``turns`` times after a few that are not counted."""
    table = random_table()
    config = load_config(None, [f"model.preset={preset}", "training.linear_start=false"])
    others = {"ours": ours(preset, table, config), "bare": bare(preset, table, config)}
    wall: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    processor: dict[str, list[float]] = {name: [] for name in SUBJECTS}

    def after_turn(seconds: float, of_processor: float) -> None:
        wall["trainer"].append(seconds)
        processor["trainer"].append(of_processor)
        names = list(others) if len(wall["trainer"]) % 2 else list(others)[::-1]
        for name in names:
            began = time.perf_counter(), time.process_time()
            for _ in range(STEPS[preset]):
                next(others[name])
            wall[name].append(time.perf_counter() - began[0])
            processor[name].append(time.process_time() - began[1])

    lead_by_trainer(preset, table, config, turns + warm, after_turn)
    for one in others.values():
        one.close()  # type: ignore[attr-defined]
    wall, processor = ({name: values[warm:] for name, values in one.items()} for one in (wall, processor))
    return Measured(
        turns=turns,
        steps_a_turn=STEPS[preset],
        seconds={name: float(np.median(values)) / STEPS[preset] for name, values in wall.items()},
        beside={name: ratio(wall["ours"], wall[name]) for name in AIMS},
        processor={name: ratio(processor["ours"], processor[name]) for name in AIMS},
    )


def ratio(own: Sequence[float], peer: Sequence[float], *, resamples: int = 4_000) -> Ratio:
    """The median of paired ratios with its bootstrap interval."""
    ratios = np.array(own) / np.array(peer)
    drawn = np.random.default_rng(0).integers(0, len(ratios), (resamples, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), (0.025, 0.975))
    return Ratio(round(float(np.median(ratios)), 4), round(float(low), 4), round(float(high), 4))


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, stores, and prints a table; 1 where an aim is missed by the clock on the wall."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--turns", type=int, help=f"default: {', '.join(f'{n} of {p}' for p, n in TURNS.items())}")
    parser.add_argument("--no-store", action="store_true")
    chosen = parser.parse_args(argv)
    found = Result(
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        threads=torch.get_num_threads(),
        versions={name: version(name) for name in ("torch", "transformers", "accelerate")},
        date=datetime.now(timezone.utc).date().isoformat(),
        presets={preset: measure(preset, chosen.turns or TURNS[preset]) for preset in chosen.presets},
    )
    for preset, one in found.presets.items():
        print(
            f"{preset}: {', '.join(f'{name} {1e3 * seconds:.1f} ms' for name, seconds in one.seconds.items())} a step"
        )
        for name in AIMS:
            for what, ratios in (("on the wall", one.beside), ("of the processor", one.processor)):
                print(
                    f"  beside {name}, {what}: {ratios[name].median:.3f} ({ratios[name].low:.3f}–{ratios[name].high:.3f})"
                )
    if not chosen.no_store:
        write_json(RESULT, found)
    return int(any(one.beside[name].high > aim for one in found.presets.values() for name, aim in AIMS.items()))


if __name__ == "__main__":
    sys.exit(main())
