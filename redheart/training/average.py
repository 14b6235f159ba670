"""A running average of the weights: what is evaluated, chosen and kept, while the weights themselves go on training.

It is kept in fp32 and in shards: under ZeRO a process averages what its optimizer steps on and holds no whole model. For
an evaluation the two are exchanged number by number, and exchanged back, so that the weights come back bit by bit.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from redheart.engine.contract import Engine
from redheart.engine.shards import Shard
from redheart.errors import Interrupted, StorageError

#: Numbers that are exchanged at a time: what the exchange needs of memory beside the two.
EXCHANGED = 1 << 22
#: The kind under which it stands in a state's slices.
AVERAGE = "average"


def decay_at(updates: int, decay: float) -> float:
    """The decay of the next update after ``updates`` of them: ``min(decay, (1 + t) / (10 + t))``.

    The rise keeps the first average from being mostly initial weights (``num_updates`` of TensorFlow's
    ``ExponentialMovingAverage``).
    """
    return min(decay, (1 + updates) / (10 + updates))


class WeightAverage:
    """The exponential moving average of an engine's weights, beginning with those that are there.

    Attributes:
        updates: optimizer steps that went into it.
    """

    def __init__(self, engine: Engine, decay: float) -> None:
        self._engine = engine
        self._decay = decay
        self.updates = 0
        self._average = {name: shard.values.clone() for name, shard in engine.weight_shards().items()}

    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        """The averages, and the weights that they are of."""
        shards = self._engine.weight_shards()
        return [self._average[name] for name in shards], [shard.values for shard in shards.values()]

    def update(self) -> None:
        """Takes the weights in. To be called after an optimizer step that was applied, and only then."""
        averages, weights = self._pairs()
        torch._foreach_lerp_(averages, weights, 1.0 - decay_at(self.updates, self._decay))
        self.updates += 1

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """While the body runs, the model's weights are the average; after it, however it ends, they are what they were.

        Collective under ZeRO. Where one of several processes fails the others can't be told, and the group ends: there its
        shard is put back, and nothing more is sent.
        """
        # Taken once for both ways: after an evaluation that ran out of memory there may be none for the way back.
        spare = {one.device: torch.empty(EXCHANGED, device=one.device) for one in self._average.values()}
        self._exchange(spare)
        is_agreed = True
        try:
            self._engine.broadcast_weights()
            yield
        except Interrupted:  # agreed by all processes
            raise
        except BaseException:
            is_agreed = self._engine.world_size == 1
            raise
        finally:
            self._exchange(spare)
            if is_agreed:
                self._engine.broadcast_weights()

    def _exchange(self, spare: Mapping[torch.device, Tensor]) -> None:
        """Number by number, by way of ``spare``: a buffer of ``EXCHANGED`` fp32 numbers per device. Allocates nothing."""
        for averages, weights in zip(*self._pairs(), strict=True):
            for start in range(0, len(averages), EXCHANGED):
                average, weight = averages[start : start + EXCHANGED], weights[start : start + EXCHANGED]
                kept = spare[average.device][: len(average)].copy_(average)
                average.copy_(weight)
                weight.copy_(kept)

    @property
    def shards(self) -> dict[str, Tensor]:
        """``(count,)`` by parameter: the memory itself, of this process's shard."""
        return self._average

    def load_older(self, folder: Path) -> None:
        """Reads what an earlier version wrote into a state's folder, for as many processes.

        Raises:
            StorageError: the file is not there, or does not hold this process's shard.
        """
        rank = self._engine.rank if self._engine.shards_state else 0
        file = folder / f"average_{rank:04d}.safetensors"
        updates, shards = _read(file)
        if {name: len(one) for name, one in self._average.items()} != {n: len(s.values) for n, s in shards.items()}:
            raise StorageError(f"{file}: is not the average of this process's share of the weights")
        self.updates = updates
        for name, average in self._average.items():
            average.copy_(shards[name].values)


def _read(file: Path) -> tuple[int, dict[str, Shard]]:
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata()
            places = json.loads(metadata["places"])
            return int(metadata["updates"]), {
                name: Shard(opened.get_tensor(name), start, tuple(shape)) for name, (start, *shape) in places.items()
            }
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{file}: the average of the weights can't be read: {error}") from error
