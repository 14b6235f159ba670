"""The checkpoints of a run as they lie on disk: how large, whether whole, how good, and what is made of them."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from redheart.checkpoint import epoch_folders, epochs_folder, list_epochs
from redheart.checkpoint.epoch import START, START_EPOCH
from redheart.checkpoint.manifest import NAME as MANIFEST
from redheart.checkpoint.manifest import Manifest, load_manifest
from redheart.checkpoint.resume import MANIFEST as STATE_MANIFEST
from redheart.errors import NotYetDone, StorageError, UsageError
from redheart.facts.scores import SplitScores
from redheart.inspection.integrity import PICKLE, Entry, faults_of, faults_of_archive
from redheart.inspection.references import References, run_of
from redheart.inspection.resume_states import Position, StoredState, gone_on_from, stored_states
from redheart.inspection.sizes import size_of
from redheart.paths import OutputPaths
from redheart.training.records import read_records
from redheart.training.run_folder import RunDescription

Kind = Literal["start", "epoch", "state", "best model", "crossover", "consolidated"]
#: The parts of a PyTorch archive that say which types its tensors have.
_STORAGE = re.compile(r"torch (\w+)Storage")
_STORED = {"Float": "float32", "BFloat16": "bfloat16", "Half": "float16", "Double": "float64"}


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One of them.

    Attributes:
        epoch: 1-based, 0 for the start; None for what is no epoch.
        dtype: of its floating-point tensors, as a manifest has them; None where the files do not say.
        faults: what is wrong with it, naming the file.
        is_superseded: another generation of the same epoch is the one that counts.
        thinned: modules whose files were given up for room on the disk.
        loss, mean_skill: on ``choose``; None where it was not measured.
        modules, candidates, in_best_model: what is made of it: by the analysis, in the crossover, in ``best_model``.
        made_of: the recipe of a combined model: its candidate, and the epochs that are in it.
        position: of a resume state: where the run was; ``is_gone_on_from``: training would go on from it.
    """

    name: str
    kind: Kind
    path: str
    epoch: int | None = None
    bytes: int
    dtype: str | None = None
    faults: tuple[str, ...] = ()
    is_superseded: bool = False
    thinned: tuple[str, ...] = ()
    loss: float | None = None
    mean_skill: float | None = None
    modules: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    in_best_model: bool = False
    made_of: tuple[str, tuple[int, ...]] | None = None
    position: Position | None = None
    is_gone_on_from: bool = False


@dataclass(frozen=True)
class Stored:
    """A checkpoint with what its manifest lists, which is what is compared with its hashes; an archive has none."""

    facts: Checkpoint
    files: dict[str, Entry]


def mean_skill(scores: SplitScores | None) -> float | None:
    """The mean of the tasks' skills; None where none was scored."""
    found = [one.skill for one in scores.tasks.values() if one.skill is not None] if scores else []
    return sum(found) / len(found) if found else None


def check_is_there(output: Path) -> None:
    """Whether there is a run's folder with a checkpoint in it.

    Raises:
        UsageError: there is no such folder.
        NotYetDone: nothing is in it yet.
    """
    if not output.is_dir():
        raise UsageError(f"{output}: found no such folder, wanted that of a run; name it with --output")
    paths = OutputPaths(output)
    places = (paths.checkpoints, paths.best_model, paths.combined, paths.consolidated)
    if not any(place.exists() for place in places):
        raise NotYetDone(f"{output}: found no checkpoint; `{paths.training_command}` writes them")


def stored_checkpoints(output: Path, references: References) -> list[Stored]:
    """All that lie in a run's folder: the start, epochs, resume states, what was combined and consolidated.

    What is cheap to see is looked at: manifests, and whether each file is there in its size.
    """
    paths, run = OutputPaths(output), run_of(output)
    scores = _recorded_scores(output)
    found = []
    if (start := epochs_folder(output) / START).exists():
        found.append(_folder(start, "start", START_EPOCH, references, scores))
    valid = list_epochs(output)
    counting, complete = {one.path for one in valid}, {one.epoch for one in valid}
    for epoch, _, path in epoch_folders(output):
        is_superseded = path not in counting and epoch in complete
        found.append(_folder(path, "epoch", epoch, references, scores, is_superseded=is_superseded))
    states = stored_states(output)
    newest = gone_on_from(states, run.run if run else None)
    found += [_state(one, run, one is newest) for one in states]
    if paths.best_model.exists():
        found.append(_folder(paths.best_model, "best model", None, references, {}))
    if paths.combined.exists():
        found.append(_archive(paths.combined, references))
    if paths.consolidated.exists():
        found.append(_folder(paths.consolidated, "consolidated", None, references, {}))
    return found


def _recorded_scores(output: Path) -> dict[int, SplitScores | None]:
    """Scores on ``choose`` by epoch, for manifests without; a damaged file is told of where runs are shown."""
    try:
        records = read_records(OutputPaths(output).metrics)
    except (StorageError, NotYetDone):
        return {}
    start = {START_EPOCH: records.run.choose} if records.run is not None else {}
    return {**start, **{epoch: one.choose for epoch, one in records.epochs.items()}}


def _folder(
    path: Path,
    kind: Kind,
    epoch: int | None,
    references: References,
    recorded: dict[int, SplitScores | None],
    *,
    is_superseded: bool = False,
) -> Stored:
    try:
        manifest = load_manifest(path)
        faults = tuple(faults_of(path, manifest.files))
    except StorageError as error:
        manifest, faults = Manifest(), (str(error),)
    scores = (manifest.metrics or {}).get("choose") or (recorded.get(epoch) if epoch is not None else None)
    named = references.named(None if is_superseded else epoch)
    selection = manifest.selection
    made_of = None
    if selection is not None:
        made_of = (selection.candidate, tuple(sorted({one for epochs in selection.epochs.values() for one in epochs})))
    facts = Checkpoint(
        name=path.name,
        kind=kind,
        path=str(path),
        epoch=manifest.epoch if epoch is None else epoch,
        bytes=size_of(path),
        dtype=manifest.dtype or None,
        faults=faults,
        is_superseded=is_superseded,
        thinned=manifest.thinned,
        loss=scores.loss if scores else None,
        mean_skill=mean_skill(scores),
        modules=named.modules,
        candidates=named.candidates,
        in_best_model=named.is_delivered,
        made_of=made_of,
    )
    return Stored(facts, dict(manifest.files))


def _state(state: StoredState, run: RunDescription | None, is_newest: bool) -> Stored:
    facts = Checkpoint(
        name=state.path.name,
        kind="state",
        path=str(state.path),
        bytes=size_of(state.path),
        dtype=state.dtype,
        faults=state.faults,
        position=state.position,
        is_gone_on_from=is_newest and run is not None and not run.finished,
    )
    return Stored(facts, dict(state.files))


def _archive(path: Path, references: References) -> Stored:
    result, made_of = references.result, None
    if result is not None and any(one.name == result.combined for one in result.candidates):
        epochs = result[result.combined].epochs.values()
        made_of = (result.combined, tuple(sorted({one for chosen in epochs for one in chosen})))
    faults = tuple(faults_of_archive(path))
    facts = Checkpoint(
        name=path.name,
        kind="crossover",
        path=str(path),
        bytes=size_of(path),
        dtype=None if faults else _dtype_of_archive(path),
        faults=faults,
        made_of=made_of,
    )
    return Stored(facts, {})


def _dtype_of_archive(path: Path) -> str | None:
    """From the names in the pickle of a whole archive, which is looked through and not carried out."""
    found = set()
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith(PICKLE)]
        for operation, argument, _ in pickletools.genops(archive.read(pickles[0]) if pickles else b"."):
            if operation.name == "GLOBAL" and (match := _STORAGE.fullmatch(str(argument))):
                found.add(_STORED.get(match[1], ""))
    return "/".join(sorted(found - {""})) or None


def damage(stored: Stored, on_bytes: Callable[[int], None]) -> tuple[str, ...]:
    """Everything that is wrong with a checkpoint, the hashes of all its files compared with the manifest's."""
    path = Path(stored.facts.path)
    if stored.facts.kind == "crossover":
        return tuple(faults_of_archive(path, on_bytes=on_bytes))
    if not stored.files:
        return stored.facts.faults or (f"{path / MANIFEST}: lists no file",)
    manifest = STATE_MANIFEST if stored.facts.kind == "state" else None
    return tuple(faults_of(path, stored.files, manifest, on_bytes=on_bytes))
