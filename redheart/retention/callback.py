"""The thinning of a run's epochs while it trains, so that the disk holds what is to come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from redheart.checkpoint import EpochCheckpoint, list_epochs
from redheart.checkpoint.thinning import bytes_given_up, thin
from redheart.config import Config
from redheart.errors import StorageError
from redheart.messages import info, warn
from redheart.model.losses import served_loss
from redheart.paths import OutputPaths
from redheart.retention.policy import Counts, modules_to_keep
from redheart.sweet_spot.curves import read_history
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.records import read_records

_MIB = 2**20


class Retention(Callback):
    """Gives up files of earlier epochs once an epoch is recorded. The main process does it alone, and nothing in it is collective.

    Args:
        is_short: whether the disk has no room for what comes after an epoch, by its number, and so thinning is due.
        say_if_full: says so where, with all that was given up, it has none for what comes next.
    """

    def __init__(
        self,
        output: Path,
        config: Config,
        is_short: Callable[[int], bool],
        say_if_full: Callable[[int], None] = lambda epoch: None,
    ) -> None:
        self._output, self._config = output, config
        self._is_short, self._say_if_full = is_short, say_if_full
        self._counts = Counts.of(config)

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        if not run.engine.is_main:
            return
        keep = self._config.training.keep_epochs
        if keep == "thinned" or (keep == "auto" and self._is_short(end.epoch)):
            self._thin(end.epoch)
        self._say_if_full(end.epoch)

    def _thin(self, newest: int) -> None:
        """What can't be given up stays, and is told of: the run goes on."""
        try:
            plan = self._plan(newest)
            for checkpoint, keep in plan:
                thin(self._output, checkpoint, keep)
        except StorageError as error:
            warn("training.not_thinned", reason=error)
            return
        if plan:
            info(
                "training.thinned",
                epochs=", ".join(str(checkpoint.epoch) for checkpoint, _ in plan),
                size=sum(bytes_given_up(checkpoint, keep) for checkpoint, keep in plan) / _MIB,
                last=self._counts.last,
            )

    def _plan(self, newest: int) -> list[tuple[EpochCheckpoint, frozenset[str]]]:
        """What is to be thinned, up to the epoch ``newest``: later ones are of before a state that the run went back to.

        Raises:
            StorageError: the records are damaged.
        """
        metrics = OutputPaths(self._output).metrics
        records = read_records(metrics)
        history = read_history(metrics, among=range(1, newest + 1))
        loss = {
            epoch: served_loss(record.choose.terms)
            for epoch, record in records.epochs.items()
            if epoch <= newest and record.choose is not None
        }
        keep = modules_to_keep(history, loss, self._counts, self._config.sweet_spot)
        return [
            (one, keep[one.epoch])
            for one in list_epochs(self._output)
            if one.epoch in keep and not set(one.manifest.modules) <= keep[one.epoch]
        ]
