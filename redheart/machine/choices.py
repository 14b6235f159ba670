"""Precision and device that follow from the machine, each with the reason in words."""

from __future__ import annotations

from typing import Literal

from redheart.config import Config
from redheart.messages import text

Precision = Literal["no", "bf16", "fp16"]


def inference_device() -> str:
    """Where a trained model is asked: the CUDA device if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_precision(config: Config) -> tuple[Precision, str]:
    """The mixed precision that trains here, and why, in words."""
    wanted = config.training.precision
    if wanted != "auto":
        return wanted, text("config.given")
    import torch

    if not torch.cuda.is_available():
        return "no", text("config.precision_cpu")
    if torch.cuda.is_bf16_supported(including_emulation=False):  # emulated it is slower than fp32
        return "bf16", text("config.precision_bf16")
    return "no", text("config.precision_no_bf16")
