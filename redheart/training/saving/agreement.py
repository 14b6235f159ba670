"""What the first process sees and tells the others, so that all act alike.

On a network's file system each node may see a folder as it was some seconds ago: who lists one for himself may find another
number than the others, and write elsewhere, or wait for what they never do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from redheart.checkpoint import Manifest
from redheart.checkpoint.epoch import EpochWriter, FolderWriter
from redheart.checkpoint.tensor_file import TensorForm
from redheart.engine.contract import Engine

_GENERATION = ".g"


def number_of_main(engine: Engine, number: int) -> int:
    """The number that the first process has. Collective."""
    mine = torch.tensor([float(number if engine.is_main else 0)], dtype=torch.float64, device=engine.device)
    return int(engine.sum_over_processes(mine).item())


def writer_of_main(engine: Engine, writer: EpochWriter, forms: Mapping[str, TensorForm]) -> EpochWriter:
    """The same into the folder of that generation that the first process found to be the next. Collective.

    Only the first process publishes, so the manifest of the others is nobody's.
    """
    target = writer.folder.target
    epoch, _, own = target.name.partition(_GENERATION)
    generation = number_of_main(engine, int(own or 1))
    if generation == int(own or 1):
        return writer
    name = epoch if generation == 1 else f"{epoch}{_GENERATION}{generation}"
    folder = FolderWriter(target.with_name(name), forms, Manifest())
    return dataclasses.replace(writer, folder=folder)
