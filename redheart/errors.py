"""Errors of the program, as a small tree. The command line prints the message and exits with ``exit_code``.

A message names the file, the field, what was found and what is wanted, and where there is one, the fix.
"""

from __future__ import annotations

from typing import Literal

#: Where memory is: on a GPU, or the host's.
Memory = Literal["device", "host"]


class RedHeartError(Exception):
    """A failure that a user can act on; its text is the whole explanation.

    Attributes:
        is_refusal: what was asked for is not begun. Every process of a group finds so alike, so the first one's message is
            enough, and nothing is left behind.
    """

    exit_code = 1
    is_refusal = False


class UsageError(RedHeartError):
    """The command line, the configuration or a file's content is not what is asked for."""

    exit_code = 2
    is_refusal = True


class ConfigError(UsageError):
    """A key is unknown, a value is of the wrong type or out of range, or two settings contradict each other."""


class DataError(UsageError):
    """A dataset can't be used. ``problems`` holds one line for each thing that is wrong with it."""

    def __init__(self, summary: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((summary, *(f"  - {problem}" for problem in problems))))
        self.summary = summary
        self.problems = problems


class MissingRequirement(RedHeartError):
    """Something outside the program is missing: an encoder, a compiler, a device, a launcher. Names the fix."""

    exit_code = 3


class StorageError(RedHeartError):
    """A file could not be written or is damaged. What was there before is still there."""

    exit_code = 4


class TrainingError(RedHeartError):
    """Training can't go on: non-finite losses in a row, or a dead parameter under ``strict``."""

    exit_code = 5


class NotYetDone(RedHeartError):
    """What is asked for needs what an earlier command writes; names that command."""

    exit_code = 6
    is_refusal = True


class OutOfMemory(RedHeartError):
    """Device or host memory did not suffice, or is seen not to before anything starts (a refusal). Names what needs less.

    Attributes:
        memory: which of them ran out; None: not known, or nothing was begun.
        phase: of the training, such as ``backward``; None: none.
        is_least: smaller pieces would not help.
    """

    exit_code = 7

    def __init__(
        self,
        message: str = "",
        *,
        memory: Memory | None = None,
        phase: str | None = None,
        is_least: bool = False,
        is_refusal: bool = False,
    ) -> None:
        super().__init__(message)
        self.memory, self.phase, self.is_least, self.is_refusal = memory, phase, is_least, is_refusal


class AnotherEncoder(RedHeartError):
    """Vectors, or the encoder that is there, are not what the model was trained on; names both."""

    exit_code = 8


class AnotherModel(RedHeartError):
    """A checkpoint or a resume state is of another model than is asked for: another preset, shape or version; names both."""

    exit_code = 9
    is_refusal = True


class FolderInUse(RedHeartError):
    """Another run is at work in the output folder, or another conversion writes the same target; names it."""

    exit_code = 10
    is_refusal = True


class StartAgain(RedHeartError):
    """The processes of a training ended before its time, and what helps is the same command again, which was not for us to give."""

    exit_code = 75


class Interrupted(RedHeartError):
    """A signal asked the run to stop; state was saved and the same command goes on from there."""

    exit_code = 130
