"""Changes of weights between two comparisons, with what weight decay alone did to them taken out.

A parameter that gets no gradient is still shrunk by AdamW's decay, so the expected decay is taken out first: what
remains is the optimizer's own doing. Either a sample of each tensor is compared, which needs no second copy of the model
and is cheap at 730M parameters, or all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import torch
from torch import Tensor

from redheart.engine.contract import Engine
from redheart.model.rows import as_rows, input_axes

SAMPLED = 128
#: Relative rounding a step of decay leaves in fp32; a real AdamW update is orders of magnitude above it.
ROUNDING_PER_STEP = 2.4e-7
#: Of ``(outputs, inputs)``, what is kept on the CPU in fp32 to be compared later.
Take = Callable[[Tensor], Tensor]


def _sampled(size: int) -> Tensor:
    return torch.linspace(0, size - 1, min(size, SAMPLED)).round().long()


def sample_of(rows: Tensor) -> Tensor:
    """At most 128 × 128 evenly spaced numbers of ``(outputs, inputs)``, in fp32 on the CPU; a copy."""
    chosen = rows[_sampled(rows.shape[0]).to(rows.device)][:, _sampled(rows.shape[1]).to(rows.device)]
    return chosen.detach().to("cpu", torch.float32, copy=True)


def all_of(rows: Tensor) -> Tensor:
    """All of ``(outputs, inputs)``, in fp32 on the CPU; a copy."""
    return rows.detach().to("cpu", torch.float32, copy=True).contiguous()


class ChangesState(msgspec.Struct):
    """``WeightChanges`` as a resume state keeps it, beside the weights.

    Attributes:
        decay: what weight decay has left since the last comparison, by parameter group; one number in a state of before layers
            could learn at rates of their own.
    """

    steps: int
    decay: list[float] | float


@dataclass(frozen=True)
class TensorChange:
    """One tensor, or the sample of it.

    Attributes:
        moved: sum of the squares of what changed, decay taken out.
        before, after: sum of the squares of the weights then and now.
        still: (outputs,) bool on the CPU: nothing in this row changed.
    """

    name: str
    moved: float
    before: float
    after: float
    still: Tensor

    @property
    def relative(self) -> float:
        """‖Δw‖ over ‖w‖ then or now, whichever is larger: 1 for a tensor that began at zero, 0 for one that stays there."""
        size = max(self.before, self.after)
        return float((self.moved / size) ** 0.5) if size else 0.0


class WeightChanges:
    """Holds the weights of the last comparison. Comparing is collective under ZeRO: every process must do it.

    Attributes:
        steps: optimizer steps since the last comparison.
    """

    def __init__(self, engine: Engine, take: Take) -> None:
        self._engine = engine
        self._take = take
        self._axes = input_axes(engine.unwrapped)
        self.steps = 0
        self._decay = self._no_decay()
        self._before = dict(self._now())

    def _now(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._engine.unwrapped.named_parameters():
            yield name, self._take(as_rows(self._engine.full_parameter(name, parameter), self._axes[name]))

    def _no_decay(self) -> list[float]:
        return [1.0] * len(self._engine.decay_of_step())

    def to_state(self) -> tuple[dict[str, Tensor], ChangesState]:
        """What a run that is stopped between two comparisons needs so that the next one sees all steps since the last."""
        return dict(self._before), ChangesState(self.steps, list(self._decay))

    def restore(self, before: dict[str, Tensor], state: ChangesState) -> None:
        """The inverse of ``to_state``."""
        self._before, self.steps = dict(before), state.steps
        decay = state.decay
        if not isinstance(decay, list):
            decay = [decay if group < 1.0 else 1.0 for group in self._engine.decay_of_step()]
        self._decay = list(decay)

    def stepped(self) -> None:
        """Tells of an optimizer step that was just taken."""
        self.steps += 1
        self._decay = [so_far * now for so_far, now in zip(self._decay, self._engine.decay_of_step(), strict=True)]

    def compare(self) -> Iterator[TensorChange]:
        """Every tensor's change since the last call, one at a time; the weights of now are what the next call compares with."""
        for name, weight in self._now():
            yield self._compared(name, self._before[name], weight)
            self._before[name] = weight
        self.steps = 0
        self._decay = self._no_decay()

    def _compared(self, name: str, before: Tensor, weight: Tensor) -> TensorChange:
        group = self._engine.held.get(name)
        factor = 1.0 if group is None else self._decay[group]
        change = weight - before * factor
        # A weight that the optimizer does not hold, or that got no gradient at all, does not even decay.
        is_still = weight.eq(before)
        if factor != 1.0:
            is_still |= change.abs() <= ROUNDING_PER_STEP * self.steps * before.abs()
        else:
            is_still |= change.eq(0)
        change = change.masked_fill(is_still, 0.0)
        return TensorChange(
            name,
            moved=float(change.double().square().sum()),
            before=float(before.double().square().sum()),
            after=float(weight.double().square().sum()),
            still=is_still.all(dim=1),
        )
