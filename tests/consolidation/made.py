"""Sources that are made by hand, and what is read of them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.zero_files import Model
from redheart.consolidation import Source
from redheart.consolidation.reading import Reader
from redheart.tasks import MODULES


def odd_model() -> Model:
    """Two groups, sizes that need padding, one number alone, buffers of several types, a frozen and a shared parameter."""
    generator = torch.Generator().manual_seed(5)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    matrices = {"first.weight": numbers(7, 3), "second.weight": numbers(3, 13), "third.weight": numbers(5, 1)}
    vectors = {"scale": torch.tensor([1.5]), "first.bias": numbers(7), "second.bias": numbers(3)}
    buffers = {
        "seen": torch.arange(5),
        "half": numbers(4).half(),
        "mean": numbers(2),
        "flags": torch.tensor([True, False]),
    }
    return Model([matrices, vectors], buffers, {"frozen": numbers(3, 5).bfloat16()}, {"last.weight": "first.weight"})


def model_of_ours(seed: int = 3) -> Model:
    """A parameter and a buffer for each of the 17 modules."""
    generator = torch.Generator().manual_seed(seed)
    weights = {f"{module}.weight": torch.randn(5, 3, generator=generator) for module in MODULES}
    return Model([weights], {f"{module}.count": torch.tensor(seed) for module in MODULES})


def state_of(model: Model) -> dict[str, Tensor]:
    """What a consolidation of the model's checkpoint should give."""
    buffers = {name: one.float() if one.is_floating_point() else one for name, one in model.buffers.items()}
    whole = buffers | dict(model.frozen) | {name: one for group in model.groups for name, one in group.items()}
    return whole | {name: whole[other] for name, other in model.shared.items()}


def tensors_of(source: Source) -> dict[str, Tensor]:
    """All tensors of a source, read."""
    found = {}
    with Reader() as reader:
        for name, tensor in source.tensors.items():
            content = bytearray(b"".join(bytes(view) for view in reader.bytes_of(tensor)))
            dtype = getattr(torch, tensor.dtype.torch_name)
            flat = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            found[name] = flat.view(tensor.shape)
    return found


def cut_short(file: Path, count: int = 1) -> None:
    """Takes ``count`` bytes off the end of a file."""
    file.write_bytes(file.read_bytes()[:-count])


def flip(file: Path, content: bytes) -> None:
    """Changes one byte in the place where ``content`` lies in a file."""
    whole = bytearray(file.read_bytes())
    whole[whole.index(content)] ^= 1
    file.write_bytes(whole)
