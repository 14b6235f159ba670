"""The command ``doctor liveness``: some real optimizer steps of a preset, and the verdict on every tensor.

What counts here is whole tensors: a second copy of the weights is kept to compare with. It runs in one process or under a
launcher, with whatever engine that means, and changes no run: its weights are thrown away.
"""

from __future__ import annotations

import math
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from redheart.batches.table import SituationTable
from redheart.config import Config
from redheart.embedding import EmbeddedDataset
from redheart.engine.factory import make_engine
from redheart.errors import Interrupted, OutOfMemory, UsageError
from redheart.health.dead_tensors import MIN_GRADIENT, LivenessReport, ModuleLiveness, TensorLiveness
from redheart.health.gradient_check import GradientCheck, GradientSummary, check_gradients
from redheart.health.liveness import LivenessProbe
from redheart.health.weight_changes import all_of
from redheart.machine import GIB, inspect_machine
from redheart.messages import info, text
from redheart.model import UnifiedModel, count_parameters, dimensions
from redheart.paths import OutputPaths
from redheart.progress import Progress
from redheart.storage import write_json
from redheart.training.linear_start import Stopping, start_linear_paths
from redheart.training.loop import TrainingLoop
from redheart.training.optimizer import build_optimizer
from redheart.training.step_result import Step
from redheart.workflow.datasets import Stop
from redheart.workflow.resolve import choose_learning_rate, resolve

#: Weights, gradients, two moments of Adam and the copy to compare with, in fp32.
BYTES_PER_PARAMETER = 5 * 4
#: For the process itself, the activations of a few situations and the largest tensor's temporaries.
BYTES_BESIDE = 2 * GIB
#: Float64 and hundreds of forward passes: for the smallest preset.
CHECKED_PRESET = "tiny"
CHECKED_SITUATIONS = 4


class LivenessRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``liveness.json``: an examination with its verdict on every module and tensor; ``gradient_check`` None: not made."""

    preset: str
    parameters: int
    engine: str
    world_size: int
    device: str
    precision: str
    batch_size: int
    dataset: str
    learning_rate: float
    seconds_a_step: float
    peak_host_bytes: int
    peak_device_bytes: int
    alive: bool
    steps: int
    updates: int
    smallest_gradient_allowed: float
    lacking: tuple[str, ...]
    longest_story: int
    modules: dict[str, ModuleLiveness]
    tensors: dict[str, TensorLiveness]
    gradient_check: GradientSummary | None = None


@dataclass(frozen=True)
class LivenessExamination:
    """What ``redheart doctor liveness`` found.

    Attributes:
        seconds_a_step: median over the steps.
        peak_host_bytes: this process's largest resident memory; ``peak_device_bytes`` torch's on its GPU, 0 without one.
    """

    preset: str
    parameters: int
    engine: str
    world_size: int
    device: str
    precision: str
    batch_size: int
    dataset: str
    learning_rate: float
    seconds_a_step: float
    peak_host_bytes: int
    peak_device_bytes: int
    report: LivenessReport
    gradients: GradientCheck | None

    @property
    def is_alive(self) -> bool:
        return self.report.is_alive and not (self.gradients and self.gradients.wrong)

    def record(self) -> LivenessRecord:
        report = self.report
        return LivenessRecord(
            preset=self.preset,
            parameters=self.parameters,
            engine=self.engine,
            world_size=self.world_size,
            device=self.device,
            precision=self.precision,
            batch_size=self.batch_size,
            dataset=self.dataset,
            learning_rate=self.learning_rate,
            seconds_a_step=self.seconds_a_step,
            peak_host_bytes=self.peak_host_bytes,
            peak_device_bytes=self.peak_device_bytes,
            alive=self.is_alive,
            steps=report.steps,
            updates=report.updates,
            smallest_gradient_allowed=MIN_GRADIENT,
            lacking=report.lacking,
            longest_story=report.longest,
            modules={one.module: one for one in report.modules()},
            tensors={one.name: one for one in report.tensors},
            gradient_check=self.gradients.summary() if self.gradients else None,
        )


def examine_liveness(
    config: Config,
    dataset: EmbeddedDataset | Path,
    *,
    batches: int,
    batch_size: int,
    with_gradients: bool = False,
    should_stop: Stop = lambda: False,
) -> LivenessExamination | None:
    """Takes ``batches`` steps on the training split and judges every tensor; writes ``OUTPUT/liveness.json``. Collective.

    Args:
        dataset: what ``redheart.embedding`` opened, or an ``.embedded.json``.
        with_gradients: compare autograd with finite differences in float64 too.

    Returns:
        What was found, on the first process; None on the others.

    Raises:
        UsageError: ``with_gradients`` with a preset that is too large for it.
        MissingRequirement: not enough memory.
        Interrupted: asked to stop.
    """
    resolution = resolve(config, choose_learning_rate(config, asks_sweep=False))
    config, learning_rate, preset = resolution.config, resolution.learning_rate, resolution.config.model.preset
    if with_gradients and preset != CHECKED_PRESET:
        raise UsageError(
            f"--check-gradients computes hundreds of forward passes in float64: found --preset {preset}, wanted "
            f"--preset {CHECKED_PRESET}"
        )
    table = SituationTable.open(dataset, needs=["train"])
    training = msgspec.structs.replace(
        config.training,
        global_batch_size=batch_size,
        micro_batch_size=None,
        gradient_accumulation_steps=None,
        no_param_update=False,
    )
    config = msgspec.structs.replace(config, training=training)
    loop = _prepare(config, table, preset, batches, learning_rate, should_stop)
    engine = loop.engine
    probe = LivenessProbe(engine, table, steps=batches, take=all_of)
    loop.watchers.append(probe)
    seconds = []
    with Progress(text("progress.liveness"), batches, is_shown=engine.is_main, unit="batch") as progress:
        started = time.monotonic()
        for step in _steps(loop):
            seconds.append(time.monotonic() - started)
            progress.note(f"loss={step.loss:.4f}")
            progress.update()
            if step.verdict.is_watched:
                probe.add(step.batch, updated=step.updated)
            if probe.is_due:
                break
            if engine.any_rank(should_stop()):
                raise Interrupted(f"stopped after {probe.observed} of {batches} batches; nothing was written")
            started = time.monotonic()
    loop.watchers.clear()
    report = probe.report()
    gradients = _check_gradients(loop, table, preset) if with_gradients else None
    examination = LivenessExamination(
        preset=preset,
        parameters=count_parameters(preset, table.d_embed).total,
        engine=engine.kind,
        world_size=engine.world_size,
        device=str(engine.device),
        precision="fp32" if engine.precision == "no" else engine.precision,
        batch_size=batch_size,
        dataset=str(table.path),
        learning_rate=learning_rate,
        seconds_a_step=statistics.median(seconds),
        peak_host_bytes=_peak_host_bytes(),
        peak_device_bytes=torch.cuda.max_memory_allocated() if engine.device.type == "cuda" else 0,
        report=report,
        gradients=gradients,
    )
    if not engine.is_main:
        return None
    path = OutputPaths(config.output).liveness
    write_json(path, examination.record())
    info("training.liveness_saved", path=path)
    return examination


def _prepare(
    config: Config, table: SituationTable, preset: str, batches: int, learning_rate: float, should_stop: Stop
) -> TrainingLoop:
    """The loop of a training that is as long as the examination."""
    training = config.training
    train = table.split_indices["train"]
    statistics_ = table.statistics(train)
    engine = make_engine(config)
    if not engine.shards_state and engine.device.type == "cpu":
        _check_memory(preset, table.d_embed, Path(config.output))
    torch.manual_seed(config.seed)
    model = UnifiedModel(dimensions(preset, d_embed=table.d_embed, dropout=config.model.dropout), statistics_)
    if training.linear_start:
        stopping = Stopping(should_stop, engine.any_rank if engine.world_size > 1 else None)
        start_linear_paths(model, table, train, statistics_, stopping)
    engine.prepare(model, build_optimizer(model, learning_rate, training))
    an_epoch = math.ceil(len(train) / training.global_batch_size)
    return TrainingLoop(
        engine,
        table,
        train,
        statistics_,
        learning_rate=learning_rate,
        total_epochs=math.ceil(batches / an_epoch),
        seed=config.seed,
    )


def _steps(loop: TrainingLoop) -> Iterator[Step]:
    """As many epochs as it takes. Too many steps in a row that are not finite end it with an error of the loop's."""
    epoch = 0
    while True:
        epoch += 1
        yield from loop.epoch(epoch)


def _check_memory(preset: str, d_embed: int, output: Path) -> None:
    needed = count_parameters(preset, d_embed).total * BYTES_PER_PARAMETER + BYTES_BESIDE
    found = inspect_machine(output).host_bytes
    if found < needed:
        raise OutOfMemory(
            f"preset {preset} wants about {needed / GIB:.1f} GiB of memory (weights, gradients, two moments of the optimizer "
            f"and a copy to compare with), and {found / GIB:.1f} GiB are free: end other programs, or choose a smaller --preset"
        )


def _check_gradients(loop: TrainingLoop, table: SituationTable, preset: str) -> GradientCheck:
    """On a plain copy of the model as the steps have left it, whatever engine holds it. Collective."""
    engine = loop.engine
    state = engine.full_state_dict()
    shape = dimensions(preset, d_embed=table.d_embed, dropout=0.0)
    model = UnifiedModel(shape, loop.statistics)
    model.load_state_dict(state)
    tensors = sum(1 for _ in model.parameters())
    with Progress(text("progress.gradients"), tensors, is_shown=engine.is_main, unit="tensor") as progress:
        return check_gradients(
            model, table.batch(loop.train[:CHECKED_SITUATIONS]), loop.statistics, progress=progress.update
        )


def _peak_host_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
