"""How long training stands still for an epoch's checkpoint: ``python -m benchmarks.snapshot [--preset 730m] [--rounds 5]``.

Three ways, alternating, on one folder of one disk: as training does it, by a copy that is written while it goes on; with training
waiting for the same writer; and the plainest way there is, safetensors' own ``save_file`` of each module's tensors, synced. Each
checkpoint of the first way is read back and compared with the weights of its moment, which are changed while it is written. The
result goes to ``benchmarks/results/snapshot.json`` with device, versions and date.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.startup import _processor
from redheart.checkpoint import Manifest, load_modules
from redheart.checkpoint.epoch import EpochWriter
from redheart.checkpoint.module_files import module_of
from redheart.checkpoint.tensor_file import TensorForm
from redheart.config import load_config
from redheart.engine.factory import make_engine
from redheart.model import TargetStatistics, UnifiedModel, dimensions
from redheart.storage import write_json
from redheart.storage.atomic import sync_file
from redheart.training.optimizer import build_optimizer
from redheart.training.saving.snapshot import Snapshots

RESULT = Path(__file__).parent / "results" / "snapshot.json"
#: Share of a blocking write's time that training may stand still, on a CPU; seconds on a GPU, at 730m.
SHARE, SECONDS_ON_GPU = 1 / 3, 1.0


class Measured(msgspec.Struct):
    """Seconds, by round: how long training stood still, and until the checkpoint was there."""

    preset: str
    parameters: int
    device: str
    stood_still: list[float]
    written_after: list[float]
    waiting: list[float]
    save_file: list[float]
    versions: dict[str, str]
    date: str

    @property
    def share(self) -> float:
        """The median of the rounds' shares of a blocking write."""
        return statistics.median(still / waited for still, waited in zip(self.stood_still, self.waiting, strict=True))


class Loop:
    """As much of a training loop as a snapshot asks for."""

    def __init__(self, preset: str) -> None:
        config = load_config(None, [f"model.preset={preset}"])
        torch.manual_seed(0)
        model = UnifiedModel(dimensions(preset, d_embed=384), TargetStatistics.neutral())
        self.engine = make_engine(config)
        self.engine.prepare(model, build_optimizer(model, 1e-4, config.training))

    def kept_values(self) -> dict[str, Tensor]:
        return {name: shard.values for name, shard in self.engine.weight_shards().items()}

    def change(self) -> None:
        """As a step would."""
        with torch.no_grad():
            for one in self.engine.unwrapped.parameters():
                one.add_(1.0)


def write_plainly(loop: Loop, folder: Path) -> None:
    """A file of each module, durable."""
    by_module: dict[str, dict[str, Tensor]] = {}
    for name, tensor in loop.engine.unwrapped.state_dict().items():
        by_module.setdefault(module_of(name), {})[name] = tensor.cpu().contiguous()
    folder.mkdir()
    for module, tensors in by_module.items():
        save_file(tensors, str(folder / f"{module}.safetensors"))
        sync_file(folder / f"{module}.safetensors")


def measure(preset: str, rounds: int, folder: Path) -> Measured:
    """All three ways, in every round, in turn."""
    loop = Loop(preset)
    engine = loop.engine
    snapshots = Snapshots("fp32")
    found: dict[str, list[float]] = {name: [] for name in ("stood_still", "written_after", "waiting", "save_file")}

    def writer(forms: Mapping[str, TensorForm]) -> EpochWriter:
        return EpochWriter.of(folder, 1, forms, Manifest())

    for number in range(rounds + 1):  # the first makes room for the copy, and is told apart
        before = {name: tensor.clone() for name, tensor in engine.full_state_dict().items()}
        began = time.perf_counter()
        path = snapshots.begin(loop, writer)  # type: ignore[arg-type]
        stood_still = time.perf_counter() - began
        loop.change()
        snapshots.wait(engine, is_told=False)
        written = time.perf_counter() - began
        state = load_modules(path)
        assert all(torch.equal(state[name], tensor) for name, tensor in before.items()), "not of its moment"
        del state, before
        began = time.perf_counter()
        snapshots.begin(loop, writer, in_background=False)  # type: ignore[arg-type]
        snapshots.wait(engine, is_told=False)
        waiting = time.perf_counter() - began
        began = time.perf_counter()
        write_plainly(loop, folder / f"plain_{number}")
        plainly = time.perf_counter() - began
        print(
            f"round {number}: stood still {stood_still:.2f} s (written after {written:.2f}), waiting {waiting:.2f}, "
            f"save_file {plainly:.2f}",
            flush=True,
        )
        for path in (folder / f"plain_{number}").iterdir():
            path.unlink()
        if number:
            for name, seconds in zip(found, (stood_still, written, waiting, plainly), strict=True):
                found[name].append(round(seconds, 3))
    return Measured(
        preset=preset,
        parameters=sum(one.numel() for one in engine.unwrapped.parameters()),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        versions={name: version(name) for name in ("torch", "safetensors")},
        date=datetime.now(timezone.utc).date().isoformat(),
        **found,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, stores, and prints a table; 1 where training stands still for too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="730m", choices=("tiny", "small", "730m"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk that is meant (default: a temporary one)")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as temporary:
        found = measure(chosen.preset, chosen.rounds, Path(temporary))
    write_json(RESULT, found)
    median = {
        name: statistics.median(getattr(found, name))
        for name in ("stood_still", "written_after", "waiting", "save_file")
    }
    print(f"{found.preset}, {found.parameters / 1e6:.1f} M parameters, {found.device}; medians of {chosen.rounds}:")
    print(f"  training stands still for {median['stood_still']:.2f} s ({found.share:.0%} of a blocking write, paired)")
    print(f"  the checkpoint is there after {median['written_after']:.2f} s")
    print(f"  blocking: {median['waiting']:.2f} s; safetensors' save_file, without hashes: {median['save_file']:.2f} s")
    if torch.cuda.is_available():
        return int(median["stood_still"] > SECONDS_ON_GPU)
    return int(found.share > SHARE)


if __name__ == "__main__":
    sys.exit(main())
