"""What names an epoch's checkpoint: the analysis, the crossover's candidates, the delivered model; and what going on needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from redheart.checkpoint import list_epochs
from redheart.checkpoint.manifest import NAME as MANIFEST
from redheart.checkpoint.manifest import Manifest, load_manifest
from redheart.crossover.result import CrossoverResult, load_result
from redheart.errors import StorageError
from redheart.inspection.resume_states import gone_on_from, stored_states
from redheart.paths import OutputPaths
from redheart.sweet_spot.choice import SweetSpotAnalysis, load_analysis
from redheart.training.run_folder import RunDescription, read_run

T = TypeVar("T")


@dataclass(frozen=True)
class Named:
    """By what an epoch is named.

    Attributes:
        modules: whose best epoch it is, by the analysis.
        candidates: of the crossover, controls too, that it is part of.
        is_delivered: it is part of ``best_model``.
    """

    modules: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    is_delivered: bool = False

    def reasons(self) -> list[str]:
        """In words; empty where nothing names it."""
        found = []
        if self.modules:
            found.append(f"the analysis chose it for {_some(self.modules, 'modules')}")
        if self.candidates:
            found.append(f"the crossover has it in {_some(self.candidates, 'candidates')}")
        if self.is_delivered:
            found.append("best_model is made of it")
        return found


def _some(names: Sequence[str], what: str) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} {what} ({names[0]}, …)"


@dataclass(frozen=True)
class References:
    """What is made of the epochs of a run.

    Attributes:
        faults: what could not be read, and so may name any epoch.
    """

    result: CrossoverResult | None
    analysis: SweetSpotAnalysis | None
    best_model: Manifest | None
    faults: tuple[str, ...]

    def named(self, epoch: int | None) -> Named:
        """By what ``epoch`` is named; 0 is the start."""
        if epoch is None:
            return Named()
        choices = (self.analysis.choices if self.analysis else None) or {}
        candidates = self.result.candidates if self.result else []
        selection = self.best_model.selection if self.best_model else None
        return Named(
            modules=tuple(module for module, choice in choices.items() if choice.epoch == epoch),
            candidates=tuple(one.name for one in candidates if epoch in _all_of(one.epochs.values())),
            is_delivered=selection is not None and epoch in _all_of(selection.epochs.values()),
        )


def _all_of(recipe: Iterable[list[int]]) -> set[int]:
    return {epoch for epochs in recipe for epoch in epochs}


def unreadable(error: OSError) -> str:
    """What the operating system did not let be read, and why."""
    return f"{error.filename}: could not read: {error.strerror or error}"


def read_references(output: Path) -> References:
    """What is there; files that are damaged are among its ``faults``."""
    paths, faults = OutputPaths(output), list[str]()

    def part(path: Path, read: Callable[[], T]) -> T | None:
        try:
            return read() if path.exists() else None
        except StorageError as error:
            faults.append(str(error))
        except OSError as error:  # of a folder that this user may not look into
            faults.append(unreadable(error))
        return None

    analysis = part(paths.analysis, lambda: load_analysis(output))
    result = part(paths.candidates, lambda: load_result(output))
    best_model = part(paths.best_model / MANIFEST, lambda: load_manifest(paths.best_model))
    return References(result, analysis, best_model, tuple(faults))


def needed_to_go_on(output: Path) -> dict[int, str]:
    """Epochs of a run that is not finished without which training would go back, and why."""
    run = run_of(output)
    if run is None or run.finished:
        return {}
    states = stored_states(output)
    newest = gone_on_from(states, run.run)
    epochs = [one.epoch for one in list_epochs(output)]
    why: dict[int, str] = {}
    if newest is None or newest.position is None:
        return {epochs[-1]: "the run is not finished, and this is its last epoch"} if epochs else {}
    for state in states:
        if state.faults or state.position is None or state.position.run != run.run:
            continue
        for epoch in epochs:
            if state.position.epoch <= epoch < newest.position.epoch and epoch not in why:
                why[epoch] = f"the run is not finished, and would go back to {state.path.name} to train it again"
    if epochs:
        why.setdefault(epochs[-1], "the run is not finished, and this is its last epoch")
    return why


def lost_epochs(output: Path) -> list[int]:
    """Epochs of a run that is finished which have no valid checkpoint any more."""
    run = run_of(output)
    training = run.identity.get("training") if run is not None and run.finished and run.identity else None
    total = training.get("epochs") if isinstance(training, dict) else None
    there = {one.epoch for one in list_epochs(output)}
    return [epoch for epoch in range(1, total + 1) if epoch not in there] if isinstance(total, int) else []


def run_of(output: Path) -> RunDescription | None:
    """``run.json``; None where there is none, or it is damaged."""
    try:
        return read_run(output)
    except StorageError:
        return None
