"""One process of a probe: makes the model, hands it to the engine, takes steps, saves, and writes down each phase's memory."""

from __future__ import annotations

import math
import shutil
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import torch

from redheart.batches.out_of_memory import is_out_of_memory
from redheart.config import Config
from redheart.engine.contract import Engine
from redheart.engine.factory import make_engine
from redheart.engine.launch_variables import rank
from redheart.errors import OutOfMemory
from redheart.model import TargetStatistics, UnifiedModel, dimensions
from redheart.probe.memory_in_use import device_peak, forget_peak, host_now, host_peak
from redheart.probe.situations import MadeUpSituations
from redheart.storage import write_json
from redheart.training.loop import TrainingLoop
from redheart.training.optimizer import build_optimizer


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe's processes are told.

    Attributes:
        config: with preset and precision settled.
        steps: the first makes the optimizer's state; the second shows what all others take.
        folder: where each process writes ``rank_N.json``, and a state is saved to be looked at and removed.
        saves: whether one is.
        device_limit: bytes of a GPU that tensors may take, as if it had no more.
    """

    config: Config
    folder: str
    segments: int
    d_embed: int = 384
    steps: int = 2
    saves: bool = True
    device_limit: int | None = None


class PhaseMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes over what the process had with its imports; the device's of all tensors."""

    host: int
    host_peak: int
    device_peak: int


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one process saw: by phase ``model``, ``prepared``, ``step``, ``save``; and with what micro-batch it came through.

    Attributes:
        step_seconds: of the shortest step after the first; None: there was none.
    """

    imports: int
    phases: dict[str, PhaseMemory]
    step_seconds: float | None = None
    micro_batch_size: int = 0


class _Watch:
    def __init__(self) -> None:
        self.imports = host_now()
        self.phases: dict[str, PhaseMemory] = {}
        forget_peak()

    def note(self, phase: str) -> None:
        """The memory since the last note; of a phase that comes again, the larger."""
        found = PhaseMemory(
            host=host_now() - self.imports, host_peak=host_peak() - self.imports, device_peak=device_peak()
        )
        before = self.phases.get(phase)
        if before is None or found.host_peak + found.device_peak >= before.host_peak + before.device_peak:
            self.phases[phase] = found
        forget_peak()


def run(probe: Probe) -> None:
    """Goes through all phases. Collective."""
    config, watch = probe.config, _Watch()
    engine = make_engine(config)
    if probe.device_limit is not None and engine.device.type == "cuda":
        total = torch.cuda.get_device_properties(engine.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, probe.device_limit / total), engine.device)
    torch.manual_seed(config.seed)
    model = UnifiedModel(dimensions(config.model.preset, d_embed=probe.d_embed), TargetStatistics.neutral())
    watch.note("model")
    engine.prepare(model, build_optimizer(model, 1e-4, config.training))
    watch.note("prepared")
    count = config.training.global_batch_size * probe.steps
    situations = MadeUpSituations(count, segments=probe.segments, d_embed=probe.d_embed)
    loop = TrainingLoop(
        engine,
        situations.as_table(),
        np.arange(count),
        TargetStatistics.neutral(),
        learning_rate=1e-4,
        total_epochs=1,
        seed=config.seed,
    )
    seconds, began = math.inf, time.perf_counter()
    for number, _ in enumerate(loop.epoch(1)):
        if engine.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = min(seconds, time.perf_counter() - began) if number else seconds
        watch.note("step")
        began = time.perf_counter()
    if probe.saves:
        _save(engine, Path(probe.folder) / "state")
        watch.note("save")
    engine.barrier()
    found = Measured(
        imports=watch.imports,
        step_seconds=seconds if probe.steps > 1 else None,
        phases=watch.phases,
        micro_batch_size=engine.geometry.micro_batch_size,
    )
    write_json(Path(probe.folder) / f"rank_{engine.rank}.json", found)
    engine.barrier()
    engine.end()


def _save(engine: Engine, state: Path) -> None:
    """A resume state, which is removed again. Collective."""
    if engine.is_main:
        state.mkdir(parents=True)
    engine.barrier()
    engine.save_state(state, {})
    engine.barrier()
    if engine.is_main:
        shutil.rmtree(state)


def main(told: Path) -> int:
    """Goes through all phases; where memory runs out it leaves a file that says so, and our exit code."""
    probe = msgspec.json.decode(told.read_bytes(), type=Probe)
    try:
        run(probe)
    except Exception as error:
        if not (isinstance(error, OutOfMemory) or is_out_of_memory(error)):
            raise
        write_json(Path(probe.folder) / f"short_{rank()}.json", {"message": str(error)})
        return OutOfMemory.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
