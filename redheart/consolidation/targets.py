"""Targets of a conversion: a folder with a file a module, or one file, safetensors or PyTorch's; told by the name's ending."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from redheart.checkpoint import Manifest
from redheart.checkpoint.manifest import FORMAT, FileEntry, file_of, write_manifest
from redheart.checkpoint.manifest import NAME as MANIFEST
from redheart.checkpoint.module_files import INDEX, module_of
from redheart.consolidation.forms.recognition import FACTS
from redheart.consolidation.reading import Reader
from redheart.consolidation.source import Source, StoredTensor
from redheart.consolidation.writers.safetensors_file import layout_of, write_safetensors
from redheart.consolidation.writers.torch_archive import pickle_of, size_of, write_archive
from redheart.consolidation.writers.written_file import WrittenFile
from redheart.errors import AnotherModel, UsageError
from redheart.storage import replace_folder, sha256_of, write_json
from redheart.storage.atomic import sync_folder, to_json
from redheart.tasks import MODULES

_METADATA = {"format": "pt"}
#: Endings of files that PyTorch reads.
_ARCHIVES = (".pth", ".pt", ".bin")


@dataclass(frozen=True)
class PlannedFile:
    """A file that is to be written: its name, its size (at most), and how.

    Attributes:
        head: what is written beside the numbers.
    """

    name: str
    size: int
    head: bytes
    tensors: Mapping[str, StoredTensor]
    write: Callable[[WrittenFile, Reader], None]


class Written(msgspec.Struct, frozen=True):
    """A file that is whole: as it stands in the journal of a conversion."""

    name: str
    sha256: str
    bytes: int


class Target(ABC):
    """What is made of a source.

    Attributes:
        path: where it is to be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def check(self) -> None:
        """Whether it may be written.

        Raises:
            UsageError: something is there that is left alone.
        """

    @abstractmethod
    def plan(self, source: Source) -> list[PlannedFile]:
        """Its files.

        Raises:
            AnotherModel: the source's tensors are not such as it can hold.
        """

    @abstractmethod
    def publish(self, folder: Path, source: Source, planned: list[PlannedFile], written: Mapping[str, Written]) -> None:
        """Puts the files, which are whole in ``folder``, in its place, in one step.

        Raises:
            OSError, StorageError: what was there before is intact.
        """


def _safetensors(name: str, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> PlannedFile:
    def write(file: WrittenFile, reader: Reader) -> None:
        write_safetensors(file, reader, tensors, metadata)

    layout = layout_of(tensors, metadata)
    return PlannedFile(name, layout.bytes, layout.head, tensors, write)


class OneFile(Target):
    """A file with every tensor in it. None that is there is replaced."""

    def check(self) -> None:
        if os.path.lexists(self.path):
            raise UsageError(
                f"{self.path}: is there already and is left alone; name a new file with --to, or remove it"
            )

    def plan(self, source: Source) -> list[PlannedFile]:
        if self.path.suffix == ".safetensors":
            metadata = dict(_METADATA)
            if source.facts is not None:
                metadata[FACTS] = to_json(msgspec.structs.replace(source.facts.without_files(), dtype=""))
            return [_safetensors(self.path.name, source.tensors, metadata)]

        def write(file: WrittenFile, reader: Reader) -> None:
            write_archive(file, reader, source.tensors)

        head = pickle_of(source.tensors)
        return [PlannedFile(self.path.name, size_of(source.tensors), head, source.tensors, write)]

    def publish(self, folder: Path, source: Source, planned: list[PlannedFile], written: Mapping[str, Written]) -> None:
        self.check()  # it took a while
        os.replace(folder / self.path.name, self.path)
        sync_folder(self.path.parent)


class ModuleFolder(Target):
    """A checkpoint in this project's own form: a safetensors file a module, the Hugging Face index, the manifest last."""

    def check(self) -> None:
        target = self.path
        if os.path.lexists(target) and not target.is_dir():
            raise UsageError(f"{target}: is a file, wanted a folder to write")
        names = sorted(path.name for path in target.iterdir()) if target.is_dir() else []
        if names and MANIFEST not in names:
            raise UsageError(
                f"{target}: holds no model that was consolidated earlier (found {', '.join(names[:3])}) and is left alone; name a "
                "new folder with --to"
            )

    def plan(self, source: Source) -> list[PlannedFile]:
        by_module: dict[str, dict[str, StoredTensor]] = {module: {} for module in MODULES}
        instead = "name a file that ends in .safetensors or .pth to have it as one"
        for name, tensor in source.tensors.items():
            try:
                by_module[module_of(name)][name] = tensor
            except ValueError as error:
                raise AnotherModel(
                    f"{source.path}: is of another model: {error}, which a folder has a file of each; {instead}"
                ) from error
            if tensor.count == 0:
                raise AnotherModel(
                    f"{source.path}: {name}: found an empty tensor, shape {list(tensor.shape)}; {instead}"
                )
        if missing := [module for module, tensors in by_module.items() if not tensors]:
            raise AnotherModel(
                f"{source.path}: is of another model: found no tensors of {', '.join(missing)}, wanted some of each of the "
                f"{len(MODULES)} modules; {instead}"
            )
        return [_safetensors(file_of(module), tensors, _METADATA) for module, tensors in by_module.items()]

    def publish(self, folder: Path, source: Source, planned: list[PlannedFile], written: Mapping[str, Written]) -> None:
        weight_map = {name: one.name for one in planned for name in one.tensors}
        total = sum(tensor.size for tensor in source.tensors.values())
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})
        files = {
            one.name: FileEntry(
                written[one.name].sha256,
                written[one.name].bytes,
                {name: list(tensor.shape) for name, tensor in one.tensors.items()},
            )
            for one in planned
        }
        files[INDEX] = FileEntry(sha256_of(folder / INDEX), (folder / INDEX).stat().st_size, {})
        dtypes = sorted({one.dtype.torch_name for one in source.tensors.values() if one.dtype.is_floating})
        facts = source.facts or Manifest()
        write_manifest(folder, msgspec.structs.replace(facts, format=FORMAT, dtype="/".join(dtypes), files=files))
        sync_folder(folder)
        replace_folder(folder, self.path)


def target_of(path: Path) -> Target:
    """The target that ``path`` names: one file, if it ends as one does; else a folder."""
    return OneFile(path) if path.suffix in (".safetensors", *_ARCHIVES) else ModuleFolder(path)


def refuse_overlap(source: Source, target: Path) -> None:
    """A target that is the source or holds it would end it; one beside its files would be read as one of them.

    Raises:
        UsageError: it does.
    """
    one, other = source.path.resolve(), target.resolve()
    beside = {file.resolve().parent for file in source.files} if source.path.is_dir() else set()
    if one == other or other in one.parents or beside & set(other.parents):
        relation = "is" if one == other else "holds" if other in one.parents else "lies among the files of"
        raise UsageError(f"{target}: {relation} what is to be converted, {source.path}; name another place with --to")
