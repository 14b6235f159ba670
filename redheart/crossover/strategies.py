"""Recipes of combined models: for each module the epoch, or the epochs, that its files are taken from.

Nothing here holds a whole model. Weights are produced tensor by tensor, from files that are mapped, so that combining sixty
epochs of 730M parameters needs one tensor in double precision beside the model that they are loaded into, or the file that they
are written to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from redheart.checkpoint import (
    START_EPOCH,
    EpochCheckpoint,
    Manifest,
    epochs_folder,
    find_start,
    list_epochs,
    load_modules,
)
from redheart.checkpoint.manifest import FileEntry, file_of
from redheart.checkpoint.tensor_file import TensorForm, form_of
from redheart.errors import NotYetDone, StorageError
from redheart.paths import OutputPaths
from redheart.storage import fingerprint, sha256_of
from redheart.tasks import MODULES

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Recipe:
    """A model that can be put together from epochs.

    Attributes:
        name: ``last``, ``start``, ``best_epoch``, ``average``, ``soup``, ``crossover``, ``random_<n>`` or another candidate's.
        epochs: for each of the 17 modules the epochs (ascending, 1-based; 0 is the start, before training) whose
            weights are averaged uniformly; one epoch: its weights as they are.
        is_control: it is compared and never delivered.
    """

    name: str
    epochs: Mapping[str, tuple[int, ...]]
    is_control: bool = False

    def __post_init__(self) -> None:
        if set(self.epochs) != set(MODULES) or not all(self.epochs.values()):
            raise ValueError(f"recipe {self.name!r}: wanted at least one epoch for each of the {len(MODULES)} modules")


def uniform(name: str, epochs: Sequence[int]) -> Recipe:
    """All modules from the same epochs: one epoch as it was, or the plain average of several."""
    return Recipe(name, dict.fromkeys(MODULES, tuple(sorted(set(epochs)))))


def crossover(name: str, choices: Mapping[str, int]) -> Recipe:
    """Each module from the epoch chosen for it."""
    return Recipe(name, {module: (choices[module],) for module in MODULES})


class EpochFiles:
    """The checkpoints of a run, as the files that recipes choose from.

    Attributes:
        epochs: the epochs with a valid checkpoint of the whole model, ascending; the start is none.
        kept: by module all epochs that its file is there of, ascending: those, and thinned ones.
        thinned: epochs of which files were given up, ascending; of some nothing is left.
        has_start: whether the model before training was kept; recipes name it as epoch 0.
    """

    def __init__(self, output: Path) -> None:
        """Lists the checkpoints under ``output/checkpoints``.

        Raises:
            NotYetDone: there is none.
            StorageError: none of them is valid and whole, or the start is damaged.
        """
        self.folder = epochs_folder(output)
        self._training = OutputPaths(output).training_command
        self._analysis = OutputPaths(output).command("analyze --force")
        self._checkpoints: dict[int, EpochCheckpoint] = {found.epoch: found for found in list_epochs(output)}
        self._verified: set[Path] = set()
        if not self._checkpoints:
            kind = StorageError if any(self.folder.glob("epoch_*")) else NotYetDone
            raise kind(f"{self.folder}: no valid checkpoint of an epoch; `{self._training}` writes them")
        self.kept: dict[str, list[int]] = {
            module: [epoch for epoch, one in self._checkpoints.items() if module in one.manifest.modules]
            for module in MODULES
        }
        self.epochs = [epoch for epoch, one in self._checkpoints.items() if one.is_whole]
        self.thinned = [epoch for epoch, one in self._checkpoints.items() if not one.is_whole]
        if not self.epochs:
            raise StorageError(
                f"{self.folder}: found thinned epochs only, wanted one with the files of all modules; put one back from a copy, or "
                f"have the run go on: `{self._training}`"
            )
        start = find_start(output)
        self.has_start = start is not None
        if start is not None:
            self._checkpoints[START_EPOCH] = start

    @property
    def all_epochs(self) -> list[int]:
        """Whole ones, and those that something is left of."""
        return sorted({epoch for epochs in self.kept.values() for epoch in epochs})

    def manifest(self, epoch: int) -> Manifest:
        """What the checkpoint of ``epoch`` says of itself."""
        return self._checkpoints[epoch].manifest

    def path(self, epoch: int) -> Path:
        """The folder of the checkpoint of ``epoch``."""
        return self._checkpoints[epoch].path

    def identity(self, recipe: Recipe) -> str:
        """Equal for recipes that give the same weights: by the files' hashes, not by the numbers of the epochs."""
        return fingerprint(self.parts(recipe))

    def parts(self, recipe: Recipe) -> dict[str, list[str]]:
        """By module, the hashes of the files that its weights come from: equal for equal weights."""
        parts: dict[str, list[str]] = {}
        for module, epochs in recipe.epochs.items():
            hashes = [self._sha256(epoch, module) for epoch in epochs]
            parts[module] = hashes[:1] if len(set(hashes)) == 1 else sorted(hashes)
        return parts

    def bytes_of(self, recipe: Recipe, modules: Collection[str]) -> int:
        """How much is read to put these modules of a recipe together."""
        return sum(self._entry(epoch, module).bytes for module in modules for epoch in recipe.epochs[module])

    def forms(self, recipe: Recipe) -> dict[str, TensorForm]:
        """Names, types and shapes of the recipe's tensors; no weight is read.

        Raises:
            StorageError: as of ``tensors``.
        """
        return {name: form for module in MODULES for name, form in self._forms(recipe.epochs[module], module).items()}

    def _forms(self, epochs: Sequence[int], module: str) -> dict[str, TensorForm]:
        """Of what the epochs of a module make together: of several types, as of epochs kept in fp32 and in bf16, the widest."""
        forms = {name: form_of(tensor) for name, tensor in self._load(epochs[0], module).items()}
        for epoch in epochs[1:]:
            others = {name: form_of(tensor) for name, tensor in self._load(epoch, module).items()}
            if {name: form.shape for name, form in others.items()} != {
                name: form.shape for name, form in forms.items()
            }:
                raise StorageError(
                    f"{self._path(epoch, module)}: its tensors are not those of epoch {epochs[0]}: the epochs are of "
                    f"different models; train anew into an empty folder"
                )
            forms = {name: max(form, others[name], key=lambda one: one.item_bytes) for name, form in forms.items()}
        return forms

    def tensors(self, recipe: Recipe, modules: Collection[str] = MODULES) -> Iterator[tuple[str, Tensor]]:
        """The weights of a recipe's modules, one tensor after the other, module by module: full name and numbers.

        What one epoch alone gives lies in the mapped file: it is to be copied or written, and computed with nowhere else.

        Raises:
            StorageError: a chosen file is missing or damaged; names the epoch, the module and what to do.
        """
        for module in modules:
            epochs = recipe.epochs[module]
            if len({self._sha256(epoch, module) for epoch in epochs}) == 1:
                yield from self._load(epochs[0], module).items()
            else:
                yield from self._averages(epochs, module)

    def _averages(self, epochs: Sequence[int], module: str) -> Iterator[tuple[str, Tensor]]:
        """Uniform averages, summed in double precision and rounded once, to the type that the files have."""
        import torch

        forms = self._forms(epochs, module)
        loaded = [self._load(epoch, module) for epoch in epochs]
        for name, form in forms.items():
            each = [tensors[name] for tensors in loaded]
            if form.is_floating_point:
                total = each[0].to(torch.float64, copy=True)
                for tensor in each[1:]:
                    total += tensor
                yield name, (total / len(epochs)).to(getattr(torch, form.dtype))
            elif all(torch.equal(each[0], tensor) for tensor in each[1:]):
                yield name, each[0]
            else:
                raise ValueError(f"{name}: whole numbers that differ between epochs have no average")

    def _checkpoint(self, epoch: int, module: str) -> EpochCheckpoint:
        if epoch not in self._checkpoints:
            there = ", ".join(map(str, self.epochs))
            raise StorageError(
                f"{self.folder / f'epoch_{epoch:04d}'}: module {module!r} is wanted from epoch {epoch}, whose "
                f"checkpoint is missing or damaged; valid are epochs {there}. Put it back from a copy, "
                f"or go on without: {self._without(epoch)}"
            )
        found = self._checkpoints[epoch]
        if module in found.manifest.thinned:
            raise StorageError(
                f"{found.path}: module {module!r} is wanted from epoch {epoch}, and its weights were given up for room on the disk; "
                f"they are kept of epochs {', '.join(map(str, self.kept[module])) or 'none'}: `{self._analysis}` chooses among these"
            )
        return found

    def _path(self, epoch: int, module: str) -> Path:
        return self._checkpoint(epoch, module).path / file_of(module)

    def _sha256(self, epoch: int, module: str) -> str:
        return self._entry(epoch, module).sha256

    def _entry(self, epoch: int, module: str) -> FileEntry:
        return self._checkpoint(epoch, module).manifest.files[file_of(module)]

    def _load(self, epoch: int, module: str) -> dict[str, Tensor]:
        path = self._path(epoch, module)
        what_to_do = (
            f"put it back from a copy, or remove the folder {path.parent} and go on without: {self._without(epoch)}"
        )
        try:
            if path not in self._verified and sha256_of(path) != self._sha256(epoch, module):
                raise StorageError(
                    f"{path}: module {module!r} of epoch {epoch} is damaged: its SHA-256 is not the manifest's; "
                    f"{what_to_do}"
                )
        except OSError as error:
            raise StorageError(
                f"{path}: module {module!r} of epoch {epoch} can't be read: {error.strerror or error}; {what_to_do}"
            ) from error
        self._verified.add(path)
        return load_modules(path.parent, [module])

    def _without(self, epoch: int) -> str:
        """What helps, other than a copy, where an epoch's checkpoint is no more."""
        return (
            f"`{self._analysis}` chooses among the other epochs; `{self._training}` trains epoch {epoch} again where "
            "a resume state is earlier, and says so where that takes --force"
        )
