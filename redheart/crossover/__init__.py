"""The crossover: epochs combined into one model, compared with its controls on held-out data.

Importing this loads neither torch nor numpy; running it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redheart.crossover.result import Candidate, CrossoverResult, candidate_label, load_result

if TYPE_CHECKING:
    from redheart.crossover.crossover import run_crossover

__all__ = [
    "Candidate",
    "CrossoverResult",
    "candidate_label",
    "load_result",
    "run_crossover",
]


def __getattr__(name: str) -> Any:
    # torch is loaded by the first crossover, not by `redheart --help`.
    if name == "run_crossover":
        from redheart.crossover.crossover import run_crossover

        return run_crossover
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
