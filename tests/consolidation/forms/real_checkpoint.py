"""A program of two processes that has DeepSpeed itself write checkpoints: every ZeRO stage, in bf16 and fp32.

``python -m torch.distributed.run --nproc-per-node 2 -m tests.consolidation.forms.real_checkpoint FOLDER``

The model has what makes consolidating hard: odd sizes that need padding, two groups of parameters, a frozen one, one
that two modules share, buffers of floating-point numbers and of integers, and one that is not kept.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import torch
from torch import Tensor, nn

CASES = {f"zero{stage}_{precision}": (stage, precision) for stage in (1, 2, 3) for precision in ("bf16", "fp32")}


class Model(nn.Module):
    """Three layers of odd sizes, the last of which shares its weight with the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(7, 7)
        self.middle = nn.Sequential(nn.Linear(7, 13), nn.GELU(), nn.Linear(13, 7))
        self.frozen = nn.Parameter(torch.randn(3, 5), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor([1.5]))
        self.last = nn.Linear(7, 7)
        self.last.weight = self.first.weight
        self.register_buffer("seen", torch.arange(5))
        self.register_buffer("mean", torch.randn(4))
        self.register_buffer("passing", torch.zeros(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.middle(self.first(x))) * self.scale + self.frozen.sum()
        return out


def write(folder: Path, stage: int, precision: str) -> None:
    """Three steps, then DeepSpeed's own checkpoint; collective."""
    import deepspeed

    torch.manual_seed(3)
    model = Model()
    decayed = [one for one in model.parameters() if one.requires_grad and one.dim() > 1]
    others = [one for one in model.parameters() if one.requires_grad and one.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    settings = {
        "train_micro_batch_size_per_gpu": 4,
        "zero_optimization": {"stage": stage, "sub_group_size": 150, "round_robin_gradients": stage == 2},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": precision == "bf16"},
        "steps_per_print": 1000,
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(groups, lr=0.01), config=settings)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    generator = torch.Generator().manual_seed(torch.distributed.get_rank())
    for _ in range(3):
        loss = engine(torch.randn(4, 7, generator=generator).to(dtype)).float().square().mean()
        engine.backward(loss)
        engine.step()
    engine.save_checkpoint(str(folder))
    engine.destroy()


def main() -> None:
    """Writes every case into a folder of its name."""
    import deepspeed

    # Nothing here calls it, and making the group would compile it for a minute where it is not built yet.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo")
    for name, (stage, precision) in CASES.items():
        write(Path(sys.argv[1]) / name, stage, precision)


if __name__ == "__main__":
    main()
