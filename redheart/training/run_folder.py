"""The output folder's run: the same run is resumed or skipped, another one is moved out of the way."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path

import msgspec

from redheart.checkpoint import list_epochs
from redheart.checkpoint.epoch import START
from redheart.checkpoint.thinning import remove_superseded
from redheart.errors import NotYetDone, RedHeartError, StorageError
from redheart.facts.learning_rate import RateOrigin
from redheart.messages import info, warn
from redheart.paths import OutputPaths
from redheart.storage import fingerprint, read_struct, write_json
from redheart.storage.left_overs import remove_left_overs
from redheart.storage.structs import Settings
from redheart.training.identity import flat
from redheart.training.records import read_records


class RunDescription(msgspec.Struct, frozen=True, kw_only=True):
    """``run.json``: which run lies in the output folder, where it ran, and on what.

    Attributes:
        run: fingerprint of ``identity``.
        finished: its last epoch was reached.
        dataset: where the embedded dataset was, see ``dataset_of_run``; ``counts``: its situations by split.
        rate_origin: where its learning rate is from; None: not on record.
        save_seconds: how long writing the last state took, which a job that is asked to stop needs time for; None: none was.
        micro_batch_size: into which a batch was cut when it was written; None in files of before.
        updated: when this was written, in ISO 8601.
    """

    run: str | None = None
    finished: bool = False
    identity: Settings | None = None
    engine: str | None = None
    world_size: int | None = None
    device: str | None = None
    precision: str | None = None
    dataset: str | None = None
    counts: dict[str, int] | None = None
    rate_origin: RateOrigin | None = None
    save_seconds: float | None = None
    micro_batch_size: int | None = None
    updated: str | None = None


def read_run(output: Path) -> RunDescription | None:
    """What ``run.json`` in ``output`` says; None where there is none.

    Raises:
        StorageError: it is damaged.
    """
    path = OutputPaths(output).run
    fix = "put it back from a copy, or remove it: a training then begins anew, and moves what is there to previous/"
    return read_struct(path, RunDescription, fix=fix) if path.exists() else None


def remove_left_overs_of_checkpoints(output: Path) -> None:
    """Takes away what a killed process left half done of epochs and states."""
    paths = OutputPaths(output)
    remove_left_overs(paths.checkpoints, lambda name: name == START or name.startswith("epoch_"))
    remove_left_overs(paths.resume, lambda name: name.startswith("state_"))


def dataset_of_run(output: Path, run: RunDescription | None) -> Path | None:
    """The embedded dataset that a run was trained on, if it is to be found.

    A run that was moved or copied names where its dataset was. One of that name in the run's folder, beside it or here is the
    run's if it holds the same.
    """
    if run is None or run.dataset is None:
        return None
    recorded = Path(run.dataset)
    if recorded.exists():
        return recorded
    identity = run.identity.get("dataset") if run.identity else None
    for folder in dict.fromkeys((output.absolute(), output.absolute().parent, Path.cwd())):
        found = folder / recorded.name
        if identity is not None and found.is_file() and _identity_of(found, found.stat().st_mtime_ns) == identity:
            return found
    return None


@lru_cache(maxsize=8)
def _identity_of(dataset: Path, modified: int) -> str | None:
    """Of an embedded dataset; None where it can't be opened."""
    from redheart.embedding import open_embedded

    try:
        return open_embedded(dataset).identity
    except RedHeartError:
        return None


class RunFolder:
    """An output folder as one run sees it.

    Args:
        identity: what makes this run this run, see ``identity.py``.
    """

    def __init__(self, output: Path, identity: Settings) -> None:
        self.output, self.paths = output, OutputPaths(output)
        self.identity = dict(identity)
        self.run = fingerprint(self.identity)
        there = read_run(output)
        self._save_seconds = there.save_seconds if there is not None and there.run == self.run else None

    def is_finished(self, epochs: int) -> bool:
        """Whether this very run was finished here, and its epochs' checkpoints and records are still there."""
        previous = read_run(self.output)
        return previous is not None and previous.run == self.run and previous.finished and not self.lost(epochs)

    def lost(self, epochs: int) -> list[int]:
        """Which of the first ``epochs``, all of them trained, have no valid checkpoint or no record any more.

        A log with a damaged line tells nothing of its other lines; whoever reads it says so.
        """
        saved = {found.epoch for found in list_epochs(self.output)}
        with contextlib.suppress(StorageError):
            try:
                saved &= read_records(self.paths.metrics).epochs.keys()
            except NotYetDone:
                saved = set()
        return [epoch for epoch in range(1, epochs + 1) if epoch not in saved]

    def retire_other(self, *, force: bool) -> None:
        """Moves another run's files – with ``force`` this one's too – to ``previous/<time>``; nothing is deleted."""
        previous = read_run(self.output)
        has_files = any(path.exists() for path in self.paths.of_a_run())
        if not has_files or (previous is not None and previous.run == self.run and not force):
            return
        target = self._move_away()
        info("training.retired", path=target, why=self._why_other(previous) or "--force")

    def keep_aside(self) -> None:
        """Moves what this very run trained, where it can't be gone on from and begins anew, to ``previous/<time>``.

        What holds no epoch – a run that was ended in its first – is left to be written over.
        """
        if not self._has_epochs():
            return
        resume = self.paths.resume.relative_to(self.output)
        warn("training.starts_over", path=self._move_away(), resume=resume)

    def _has_epochs(self) -> bool:
        if any(self.paths.checkpoints.glob("epoch_*")):
            return True
        try:
            return bool(read_records(self.paths.metrics).epochs)
        except NotYetDone:
            return False
        except StorageError:  # a damaged line may be one
            return True

    def _move_away(self) -> Path:
        """Moves the run's files; where they are now."""
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d_%H%M%S")
        target = self.paths.previous / stamp
        number = 1
        while target.exists():
            number += 1
            target = self.paths.previous / f"{stamp}_{number}"
        target.mkdir(parents=True)
        for path in (*self.paths.of_a_run(), self.paths.settings):
            if path.exists():
                path.rename(target / path.name)
        return target

    def remove_left_overs(self) -> None:
        """Takes away what a killed run left half done, and generations of epochs that it had replaced."""
        ours = {place.name for place in OutputPaths.declared()}
        remove_left_overs(self.output, lambda name: name in ours)
        remove_left_overs_of_checkpoints(self.output)
        remove_superseded(self.output)

    def _why_other(self, previous: RunDescription | None) -> str:
        """What makes the previous run another, as ``preset: tiny → small``; empty where nothing does."""
        if previous is None or previous.identity is None:
            return f"{OutputPaths.run.name}: –"
        before, now = flat(previous.identity), flat(self.identity)
        found = [
            f"{key}: {before.get(key, '–')} → {now.get(key, '–')}"
            for key in dict.fromkeys([*before, *now])
            if before.get(key) != now.get(key)
        ]
        return ", ".join(found)

    def describe(
        self,
        *,
        finished: bool,
        engine: str,
        world_size: int,
        device: str,
        precision: str,
        dataset: str,
        counts: dict[str, int],
        rate_origin: RateOrigin | None = None,
        micro_batch_size: int | None = None,
    ) -> None:
        """Writes ``run.json``."""
        write_json(
            self.paths.run,
            RunDescription(
                run=self.run,
                finished=finished,
                identity=self.identity,
                engine=engine,
                world_size=world_size,
                device=device,
                precision=precision,
                dataset=dataset,
                counts=counts,
                rate_origin=rate_origin,
                save_seconds=self._save_seconds,
                micro_batch_size=micro_batch_size,
                updated=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            ),
        )

    def note_save(self, seconds: float) -> None:
        """Writes into ``run.json`` how long a state's saving took."""
        self._save_seconds = round(seconds, 1)
        # Of one process alone: if it failed here, the others would wait for it; the state itself is saved.
        with contextlib.suppress(StorageError):
            if (there := read_run(self.output)) is not None and there.run == self.run:
                write_json(self.paths.run, msgspec.structs.replace(there, save_seconds=self._save_seconds))
