"""Resume states in the form of earlier versions, as the libraries wrote them, made anew."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from redheart.engine.accelerated import AcceleratedEngine
from redheart.training.average import AVERAGE
from redheart.training.loop import TrainingLoop
from redheart.training.saving import resume_state


def write_older_average(loop: TrainingLoop, folder: Path) -> None:
    """The average of a plain engine's weights, in a state's folder."""
    assert loop.average is not None
    places = {name: [shard.start, *shard.shape] for name, shard in loop.engine.weight_shards().items()}
    metadata = {"updates": str(loop.average.updates), "places": json.dumps(places)}
    save_file(dict(loop.average.shards), str(folder / "average_0000.safetensors"), metadata)


@contextlib.contextmanager
def writing_older_states() -> Iterator[None]:
    """While the body runs, states of the plain engine are written as they were before form 2."""

    def save_state(self: AcceleratedEngine, folder: Path, beside: dict[str, Any]) -> None:
        self.accelerator.save_state(str(folder))
        if AVERAGE in beside:
            loop_like: Any = type("Loop", (), {"engine": self, "average": loops[-1].average})
            write_older_average(loop_like, folder.parent)

    loops: list[TrainingLoop] = []
    by_kind = TrainingLoop.average_by_kind
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AcceleratedEngine, "save_state", save_state)
        patch.setattr(TrainingLoop, "average_by_kind", lambda self: loops.append(self) or by_kind(self))
        patch.setattr(resume_state, "FORM", 1)
        patch.setattr(resume_state, "check_complete", lambda *_, **__: None)
        yield
