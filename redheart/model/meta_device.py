"""Models on the meta device: shapes without numbers, so nothing is allocated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _ShapesOnly(TorchFunctionMode):
    """Leaves new tensors unfilled. On the meta device filling them does nothing but load torch's compiler: a second."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func is torch.linspace:
            return torch.empty(args[2])
        return func(*args, **kwargs)


@contextlib.contextmanager
def meta_device() -> Iterator[None]:
    """A model that is made within it has shapes but no numbers."""
    with torch.device("meta"), _ShapesOnly():
        yield
