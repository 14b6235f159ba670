"""A run as its callbacks see it: engine, loop, position, and ways to score the current weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from redheart.config import Config
from redheart.data.splits import Split
from redheart.engine.contract import Engine
from redheart.evaluation.evaluate import Evaluation, evaluate_model
from redheart.training.loop import TrainingLoop
from redheart.training.saving.resume_state import Kept, Position


class KeepsState(Protocol):
    """What a run asks of its callbacks when its state is saved."""

    name: ClassVar[str]

    def state(self, run: Run) -> Kept | None:
        """See ``Callback.state``."""


@dataclass
class Run:
    """A training that is under way, or a trial.

    Attributes:
        loop: its model is prepared, and its weights are those that the run goes on from.
        epochs: how many the run has in all.
        position: what a state that is saved now would go on from; moved by whoever takes the steps, after each.
        is_resumed: it goes on from a state.
        should_stop: whether this process was asked to stop.
        callbacks: those that are told of it.
    """

    config: Config
    loop: TrainingLoop
    epochs: int
    position: Position = field(default_factory=Position)
    is_resumed: bool = False
    should_stop: Callable[[], bool] = lambda: False
    callbacks: Sequence[KeepsState] = ()

    @property
    def engine(self) -> Engine:
        return self.loop.engine

    def states(self) -> dict[str, Kept | None]:
        """By name, what each callback that keeps something would have kept now."""
        return {one.name: one.state(self) for one in self.callbacks if one.name}

    def is_asked_to_stop(self) -> bool:
        """Whether any process was asked to stop: agreed by all. Collective."""
        return self.engine.any_rank(self.should_stop())

    def score(self, split: Split = "choose") -> Evaluation:
        """The weights as they are on the whole of ``split``; the same on every process. Collective.

        Raises:
            Interrupted: asked to stop.
            OutOfMemory: a single situation does not fit into memory.
        """
        engine = self.engine
        return evaluate_model(
            engine.model,
            self.loop.table,
            split,
            statistics=self.loop.statistics,
            device=engine.device,
            rank=engine.rank,
            world_size=engine.world_size,
            gather=engine.gather,
            autocast=engine.autocast,
            batches=self.loop.evaluated_at_once,
            with_items=False,
            should_stop=self.is_asked_to_stop,
        )

    def evaluate(self) -> Evaluation:
        """The weights that are kept – their average where there is one – on ``choose``. Collective.

        Raises:
            Interrupted: asked to stop.
        """
        with self.loop.evaluated_weights():
            return self.score()


@dataclass(frozen=True)
class EpochEnd:
    """An epoch whose steps are over.

    Attributes:
        epoch: its number, 1-based.
        evaluation: of the weights after it, on ``choose``.
    """

    epoch: int
    evaluation: Evaluation
