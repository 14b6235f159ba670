"""What names an epoch's checkpoint: the analysis, the crossover's candidates, the delivered model; and what going on needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from redheart.checkpoint import list_epochs
from redheart.checkpoint.manifest import NAME as MANIFEST
from redheart.checkpoint.manifest import Manifest, load_manifest
from redheart.crossover.result import CrossoverResult, load_result
from redheart.errors import StorageError
from redheart.inspection.resume_states import gone_on_from, stored_states
from redheart.paths import OutputPaths
from redheart.sweet_spot.choice import SweetSpotAnalysis, load_analysis
from redheart.training.run_folder import RunDescription, read_run


@dataclass
class Named:
    """By what an epoch is named.

    Attributes:
        modules: whose best epoch it is, by the analysis.
        candidates: of the crossover, controls too, that it is part of.
        is_delivered: it is part of ``best_model``.
    """

    modules: list[str] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
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


def _some(names: list[str], what: str) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} {what} ({names[0]}, …)"


@dataclass
class References:
    """What is made of the epochs of a run.

    Attributes:
        by_epoch: 0 is the start; epochs that nothing names are absent.
        faults: what could not be read, and so may name any epoch.
    """

    result: CrossoverResult | None = None
    analysis: SweetSpotAnalysis | None = None
    best_model: Manifest | None = None
    by_epoch: dict[int, Named] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def _of(self, epoch: int) -> Named:
        return self.by_epoch.setdefault(epoch, Named())

    def named(self, epoch: int | None) -> Named:
        """By what ``epoch`` is named."""
        return Named() if epoch is None else self.by_epoch.get(epoch, Named())

    def add_analysis(self, output: Path) -> None:
        """What ``sweet_spot_analysis.json`` chose."""
        self.analysis = load_analysis(output)
        for module, choice in (self.analysis.choices or {}).items():
            self._of(choice.epoch).modules.append(module)

    def add_crossover(self, output: Path) -> None:
        """What ``candidates.json`` compares."""
        self.result = load_result(output)
        for candidate in self.result.candidates:
            for epoch in _all_of(candidate.epochs.values()):
                self._of(epoch).candidates.append(candidate.name)

    def add_best_model(self, output: Path) -> None:
        """What ``best_model`` is made of."""
        self.best_model = load_manifest(OutputPaths(output).best_model)
        if self.best_model.selection is not None:
            for epoch in _all_of(self.best_model.selection.epochs.values()):
                self._of(epoch).is_delivered = True


def _all_of(recipe: Iterable[list[int]]) -> list[int]:
    return sorted({epoch for epochs in recipe for epoch in epochs})


def read_references(output: Path) -> References:
    """What is there; files that are damaged are among its ``faults``."""
    paths, found = OutputPaths(output), References()
    for path, add in (
        (paths.analysis, found.add_analysis),
        (paths.candidates, found.add_crossover),
        (paths.best_model / MANIFEST, found.add_best_model),
    ):
        try:
            if path.exists():
                add(output)
        except StorageError as error:
            found.faults.append(str(error))
    return found


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


def run_of(output: Path) -> RunDescription | None:
    """``run.json``; None where there is none, or it is damaged."""
    try:
        return read_run(output)
    except StorageError:
        return None
