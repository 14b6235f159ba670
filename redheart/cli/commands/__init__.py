"""The commands in the order of ``redheart --help``. Another one is a file here and a line in the list: see docs/adding.md.

A command hands what is asked for to the workflow's stages, and prints what comes back.
"""

from redheart.cli.command import Command
from redheart.cli.commands.checkpoints import CHECKPOINTS
from redheart.cli.commands.examinations import ABLATE, DOCTOR, PARAMS
from redheart.cli.commands.launching import LAUNCH
from redheart.cli.commands.models import CONSOLIDATE, EVALUATE, EXPORT, PREDICT
from redheart.cli.commands.planning import PLAN
from redheart.cli.commands.runs import RUNS
from redheart.cli.commands.stages import ANALYZE, CROSSOVER, EMBED, REPORT, SWEEP, TRAIN, VALIDATE, WORKFLOW

__all__ = ["COMMANDS"]

_LISTED = (
    VALIDATE,
    EMBED,
    SWEEP,
    TRAIN,
    LAUNCH,
    CONSOLIDATE,
    ANALYZE,
    CROSSOVER,
    EVALUATE,
    PREDICT,
    EXPORT,
    ABLATE,
    REPORT,
    WORKFLOW,
    CHECKPOINTS,
    RUNS,
    PLAN,
    PARAMS,
    DOCTOR,
)
COMMANDS: dict[str, Command] = {command.name: command for command in _LISTED}
