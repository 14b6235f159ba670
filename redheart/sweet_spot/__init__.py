"""The best epoch of each module, by five techniques, from the numbers that training left behind.

Nothing here reads a weight: ``metrics.jsonl`` goes in; a JSON file, a readable report and plots come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redheart.sweet_spot.choice import Choice, Reason, SweetSpotAnalysis, Vote, load_analysis

if TYPE_CHECKING:
    from redheart.sweet_spot.analysis import analyze
    from redheart.sweet_spot.techniques import TECHNIQUES

__all__ = ["TECHNIQUES", "Choice", "Reason", "SweetSpotAnalysis", "Vote", "analyze", "load_analysis"]


def __getattr__(name: str) -> Any:
    # numpy, scipy and matplotlib are loaded by the first analysis, not by `redheart --help`.
    if name == "analyze":
        from redheart.sweet_spot.analysis import analyze

        return analyze
    if name == "TECHNIQUES":
        from redheart.sweet_spot.techniques import TECHNIQUES

        return TECHNIQUES
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
