"""The disk that a training and what follows it will take, foretold before anything that takes long begins."""

from __future__ import annotations

import contextlib
from pathlib import Path

from redheart.checkpoint import list_epochs
from redheart.checkpoint.resume import bytes_of_state
from redheart.config import Config
from redheart.errors import StorageError
from redheart.machine import GIB, inspect_machine
from redheart.messages import info, text, warn
from redheart.paths import OutputPaths
from redheart.plan.auto import choose_preset

#: Bytes a parameter of an epoch's checkpoint, by its type.
_OF_EPOCH = {"fp32": 4, "bf16": 2}
#: Two states are kept while the next is written.
_STATES = 3


def bytes_by_part(config: Config, parameters: int, *, crosses: bool, is_thinned: bool = False) -> dict[str, int]:
    """What will lie there at the most, by part: ``epochs`` (with the start), ``states``, ``models``.

    Args:
        parameters: of the model.
        crosses: whether a crossover follows: ``best_model``, which is written beside the one that it replaces, and
            ``crossover_final.pth``.
        is_thinned: whether epochs are thinned by module as they come, see ``redheart.retention``.
    """
    from redheart.retention.policy import Counts
    from redheart.training.init_from import has_start

    training = config.training
    kept = _OF_EPOCH[training.checkpoint_dtype]
    epochs = Counts.of(config).most(training.epochs) if is_thinned else training.epochs
    checkpoints = epochs + (has_start(training) and not training.no_param_update)
    return {
        "epochs": parameters * kept * checkpoints,
        "states": _STATES * bytes_of_state(parameters, has_average=bool(training.ema_decay)),
        "models": parameters * 4 * 3 if crosses else 0,
    }


def bytes_there(output: Path) -> int:
    """What the run that goes on there has taken already, and will not take again; of a finished one, which another moves to
    ``previous/`` on the same disk, nothing."""
    from redheart.training.run_folder import read_run

    paths = OutputPaths(output)
    with contextlib.suppress(StorageError):
        if (there := read_run(output)) is None or there.finished:
            return 0
    return _size_of(paths.checkpoints, paths.best_model, paths.combined)


def _size_of(*paths: Path) -> int:
    """Of files, and of those in folders."""
    found = 0
    for path in paths:
        for file in [path] if path.is_file() else path.rglob("*"):
            with contextlib.suppress(OSError):  # what was temporary is gone again
                found += file.lstat().st_size if file.is_file() else 0
    return found


def is_short_after(config: Config, epoch: int) -> bool:
    """Whether the disk does not hold what is to come after an epoch of the run that is under way: the other epochs whole, states
    beside one another, and what a crossover writes.

    Args:
        config: resolved.
    """
    paths = OutputPaths(config.output)
    parts = bytes_by_part(config, parameters := _parameters_of(config), crosses=True)
    of_epoch = parameters * _OF_EPOCH[config.training.checkpoint_dtype]
    wanted = of_epoch * (config.training.epochs - epoch)
    wanted += max(0, parts["states"] - _size_of(paths.resume))
    wanted += max(0, parts["models"] - _size_of(paths.best_model, paths.combined))
    return wanted > inspect_machine(Path(config.output)).disk_bytes


def say_if_full_after(config: Config, epoch: int) -> None:
    """Warns where the disk does not hold what a run writes next after an epoch: the next one's checkpoint, if there is one, and a
    state beside those that are there.

    Args:
        config: resolved.
    """
    parameters, output = _parameters_of(config), Path(config.output)
    is_last = epoch >= config.training.epochs
    of_epoch = 0 if is_last else parameters * _OF_EPOCH[config.training.checkpoint_dtype]
    of_state = bytes_of_state(parameters, has_average=bool(config.training.ema_decay))
    free = inspect_machine(output).disk_bytes
    if of_epoch + of_state > free:
        warn(
            "workflow.disk_full_next",
            path=output.absolute(),
            free=free / GIB,
            of_epoch=of_epoch / GIB,
            of_state=of_state / GIB,
        )


def _parameters_of(config: Config) -> int:
    from redheart.model.parameters import count_parameters

    return count_parameters(choose_preset(config)[0]).total


def foretell_models(output: str | Path) -> None:
    """Warns where the disk has no room for what a crossover writes: ``best_model`` beside the one that it replaces, and
    ``crossover_final.pth``, which is put together beside the one that is there."""
    output = Path(output)
    epochs = [one for one in list_epochs(output) if one.is_whole]
    if not epochs:
        return
    of_model = sum(entry.bytes for entry in epochs[-1].manifest.files.values())
    wanted, free = 2 * of_model, inspect_machine(output).disk_bytes
    if wanted > free:
        warn("workflow.low_disk_models", path=output.absolute(), free=free / GIB, wanted=wanted / GIB)


def foretell_disk(config: Config, *, crosses: bool) -> None:
    """Says where the disk does not hold all epochs, and how they will be thinned; warns, with what is needed by part and what
    helps, where it will be full all the same before all is done."""
    output, parameters = Path(config.output), _parameters_of(config)
    free, there = inspect_machine(output).disk_bytes, bytes_there(output)
    whole, thinned = (
        bytes_by_part(config, parameters, crosses=crosses, is_thinned=is_thinned) for is_thinned in (False, True)
    )
    keep = config.training.keep_epochs
    parts = thinned if keep == "thinned" else whole
    if sum(parts.values()) - there <= free:
        return
    if keep == "auto":
        parts = thinned
        if sum(thinned.values()) - there <= free:
            info(
                "workflow.epochs_thinned",
                path=output.absolute(),
                free=free / GIB,
                wanted=(sum(whole.values()) - there) / GIB,
                epochs=config.training.epochs,
                thinned=thinned["epochs"] / GIB,
            )
            return
    is_halved = config.training.checkpoint_dtype == "bf16"
    what_helps = [] if keep == "all" else [text("workflow.low_disk_keep")]
    what_helps.append(text("workflow.low_disk_fewer" if is_halved else "workflow.low_disk_bf16"))
    warn(
        "workflow.low_disk",
        path=output.absolute(),
        free=free / GIB,
        wanted=(sum(parts.values()) - there) / GIB,
        epochs=text(
            "workflow.low_disk_all" if keep == "all" else "workflow.low_disk_thinned", count=config.training.epochs
        ),
        of_epochs=parts["epochs"] / GIB,
        of_states=parts["states"] / GIB,
        of_models=parts["models"] / GIB,
        help=" ".join(what_helps),
    )
