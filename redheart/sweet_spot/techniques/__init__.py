"""The techniques in the order of the report. Another one is a file here and a line in ``VOTERS``: see docs/adding.md."""

from redheart.sweet_spot.techniques.gradient_health import GRADIENT_HEALTH
from redheart.sweet_spot.techniques.mcda import MCDA
from redheart.sweet_spot.techniques.plateau import PLATEAU
from redheart.sweet_spot.techniques.task_metrics import TASK_METRICS
from redheart.sweet_spot.techniques.technique import Technique

__all__ = ["TECHNIQUES", "VOTERS", "VOTING"]

VOTERS: tuple[Technique, ...] = (
    PLATEAU,
    TASK_METRICS,
    MCDA,
    GRADIENT_HEALTH,
)
#: The vote over the others, which comes last.
VOTING = "voting"
#: All names, as an analysis has them.
TECHNIQUES: tuple[str, ...] = (*(one.name for one in VOTERS), VOTING)
