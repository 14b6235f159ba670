"""A worker process of the ablation: trains the runs that its parent names, and keeps the data loaded between them.

It writes the files of its runs itself, so nothing finished is lost with whoever watches.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from redheart import errors
from redheart.ablation.run import Ablator
from redheart.config import Config
from redheart.messages import Language, set_language, set_up_logging
from redheart.worker_pool import Parent, run_as_worker


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to know, in a form that travels to it.

    Attributes:
        asked: ``config`` as it was asked for, which identities are made of.
        dataset: path of the ``.embedded.json``; ``folder``: of the files of finished runs.
    """

    config: Config
    asked: Config
    dataset: str
    folder: str
    learning_rate: float
    language: Language


class Run(msgspec.Struct, frozen=True):
    """One training: a variant from a seed."""

    variant: str
    seed: int


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended: finished, or with an error, by the name of its class in ``redheart.errors``."""

    error: str | None = None
    message: str = ""

    def to_error(self) -> errors.RedHeartError | None:
        if self.error is None:
            return None
        kind: type[errors.RedHeartError] = getattr(errors, self.error)
        return kind(self.message)


def _work(parent: Parent) -> None:
    job = msgspec.json.decode(parent.job, type=Job)
    set_language(job.language)
    set_up_logging(verbose=True, debug=True)
    ablator = Ablator(job.config, Path(job.dataset), Path(job.folder), job.learning_rate, asked=job.asked)
    for task in parent.tasks():
        run = msgspec.json.decode(task, type=Run)
        try:
            ablator.run(run.variant, run.seed, should_stop=parent.should_stop)
        except errors.Interrupted:
            raise
        except errors.RedHeartError as error:
            parent.answer(msgspec.json.encode(Outcome(type(error).__name__, str(error))))
        else:
            parent.answer(msgspec.json.encode(Outcome()))


def main() -> int:
    """Entry of a pool's worker process."""
    return run_as_worker(_work)


if __name__ == "__main__":
    sys.exit(main())
