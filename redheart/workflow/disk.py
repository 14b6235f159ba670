"""The disk that a training and what follows it will take, foretold before anything that takes long begins."""

from __future__ import annotations

import contextlib
from pathlib import Path

from redheart.config import Config
from redheart.errors import StorageError
from redheart.machine import GIB, choose_preset, inspect_machine
from redheart.messages import text, warn
from redheart.paths import OutputPaths

#: Bytes a parameter, on disk: of an epoch's checkpoint by its type; of a state, the fp32 weight and both moments; of each average.
_OF_EPOCH = {"fp32": 4, "bf16": 2}
_OF_STATE, _OF_AVERAGE = 12, 4
#: Two states are kept while the next is written.
_STATES = 3


def bytes_by_part(config: Config, parameters: int, *, crosses: bool) -> dict[str, int]:
    """What will lie there at the most, by part: ``epochs`` (with the start), ``states``, ``models``.

    Args:
        parameters: of the model.
        crosses: whether a crossover follows: ``best_model``, which is written beside the one that it replaces, and
            ``crossover_final.pth``.
    """
    from redheart.training.init_from import has_start

    training = config.training
    kept = _OF_EPOCH[training.checkpoint_dtype]
    checkpoints = training.epochs + (has_start(training) and not training.no_param_update)
    of_state = _OF_STATE + (_OF_AVERAGE if training.ema_decay else 0)
    return {
        "epochs": parameters * kept * checkpoints,
        "states": parameters * of_state * _STATES,
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
    folders = (paths.checkpoints, paths.best_model)
    files = [path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()]
    files += [paths.combined] if paths.combined.is_file() else []
    return sum(path.stat().st_size for path in files)


def foretell_disk(config: Config, *, crosses: bool) -> None:
    """Warns, with what is needed by part and what helps, where the disk will be full before all is done."""
    from redheart.model.parameters import count_parameters

    output = Path(config.output)
    parts = bytes_by_part(config, count_parameters(choose_preset(config)[0]).total, crosses=crosses)
    wanted = sum(parts.values()) - bytes_there(output)
    if wanted <= (free := inspect_machine(output).disk_bytes):
        return
    is_halved = config.training.checkpoint_dtype == "bf16"
    warn(
        "workflow.low_disk",
        path=output.absolute(),
        free=free / GIB,
        wanted=wanted / GIB,
        epochs=config.training.epochs,
        of_epochs=parts["epochs"] / GIB,
        of_states=parts["states"] / GIB,
        of_models=parts["models"] / GIB,
        help=text("workflow.low_disk_fewer" if is_halved else "workflow.low_disk_bf16"),
    )
