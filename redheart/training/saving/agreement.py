"""What the first process sees and tells the others, so that all act alike.

On a network's file system each node may see a folder as it was some seconds ago: who lists one for himself may find another
number than the others, and write elsewhere, or wait for what they never do.
"""

from __future__ import annotations

import torch

from redheart.engine.contract import Engine


def number_of_main(engine: Engine, number: int) -> int:
    """The number that the first process has. Collective."""
    mine = torch.tensor([float(number if engine.is_main else 0)], dtype=torch.float64, device=engine.device)
    return int(engine.sum_over_processes(mine).item())
