"""The consolidation of a resume state into one model: gathered from ZeRO's shards in host memory, or read whole.

Where training averages its weights (``training.ema_decay``) the model is the average, as an epoch's checkpoint is; the
weights that training goes on from stay in the resume state.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from torch import Tensor

from redheart.checkpoint import list_epochs, newest_resume_state, save_model
from redheart.checkpoint.manifest import NAME as MANIFEST
from redheart.checkpoint.slices import WEIGHT, Slices
from redheart.engine.resume_files import read_outside, slice_files
from redheart.errors import NotYetDone, StorageError, UsageError
from redheart.messages import info, warn
from redheart.paths import OutputPaths
from redheart.training.average import AVERAGE, read_older_average
from redheart.training.saving.resume_state import ENGINE, Cursor
from redheart.workflow.target_folder import refuse_within_run


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target}: is a file, wanted a folder to write")
    names = sorted(path.name for path in target.iterdir()) if target.is_dir() else []
    if names and MANIFEST not in names:
        raise UsageError(
            f"{target}: holds no model that was consolidated earlier (found {', '.join(names[:3])}) and is left alone; name a "
            "new folder with --to"
        )
    refuse_within_run(target)


def consolidate(output: Path, target: Path | None = None) -> Path:
    """Writes the newest valid resume state's weights – their average, where one was kept – as a checkpoint folder.

    Args:
        output: a run's output folder.
        target: the folder to write; ``output/consolidated`` if None.

    Raises:
        NotYetDone: there is no state yet.
        UsageError: ``target`` holds something else than a model that was consolidated, or lies in a run's folder.
        StorageError: no state is valid, it holds no weights, or a shard of their average is missing.
    """
    own = OutputPaths(output).consolidated
    target = target or own
    if target.resolve() != own.resolve():
        _check_target(target)
    state, reasons = newest_resume_state(output, Cursor)
    for reason in reasons:
        warn("training.resume_passed_over", reason=reason)
    if state is None:
        kind = StorageError if reasons else NotYetDone
        epochs = list_epochs(output)
        what_to_do = (
            f"the last epoch is whole as it is: {epochs[-1].path}"
            if epochs
            else f"`{OutputPaths(output).training_command}` writes them"
        )
        raise kind(f"{OutputPaths(output).resume}: there is no valid resume state to consolidate; {what_to_do}")
    engine = state.path / ENGINE
    cursor = state.cursor
    epoch = cursor.epoch - (0 if cursor.batches_done else 1)
    manifest = msgspec.structs.replace(cursor.manifest, epoch=epoch, global_step=cursor.global_step, metrics={})
    weights = _weights_of_older(engine, state.path) if cursor.form == 1 else _weights(engine)
    path = save_model(target.parent, target.name, weights, manifest)
    info("training.checkpoint", path=path)
    return path


def _weights(engine: Path) -> dict[str, Tensor]:
    """Every tensor of the model, whole: the average of the weights where it is kept."""
    with Slices(slice_files(engine)) as slices:
        names = slices.names(WEIGHT)
        whole = {name: slices.whole(AVERAGE if slices.has(AVERAGE, name) else WEIGHT, name) for name in names}
    return whole | read_outside(engine)


def _weights_of_older(engine: Path, state: Path) -> dict[str, Tensor]:
    """The same of a state that the libraries wrote, in an earlier version."""
    shards = engine / "pytorch_model"
    if shards.is_dir():
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

        # The hashes were checked: these pickles are what this run wrote.
        weights: dict[str, Tensor] = get_fp32_state_dict_from_zero_checkpoint(
            str(engine), tag="pytorch_model", lazy_mode=False
        )
    elif (engine / "model.safetensors").exists():
        from safetensors.torch import load_file

        weights = load_file(str(engine / "model.safetensors"))
    else:
        raise StorageError(f"{engine}: found neither ZeRO shards nor model.safetensors")
    return weights | read_older_average(state)
