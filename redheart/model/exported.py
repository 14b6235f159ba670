"""The exported model: ``model.safetensors``, and ``config.json`` with all that is known of it; they need nothing else.

``config.json`` has a checkpoint manifest's keys, so what reads a manifest reads it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import torch
from torch import Tensor, nn

import redheart
from redheart.errors import AnotherModel, StorageError
from redheart.facts.model import ModelDescription, ModelFacts
from redheart.model.meta_device import meta_device
from redheart.model.presets import ModelDimensions
from redheart.model.statistics import TargetStatistics
from redheart.storage import as_struct, read_json, replace_file, sha256_of, write_json
from redheart.tasks import TASKS

FORMAT = 1
LIBRARY = "redheart"
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


class ExportFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote an export, and the hash of its weights."""

    library: str
    format: int
    version: str
    sha256: str
    parameters: int


class TaskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the model: ``distribution`` or ``numbers``, and the names of its dimensions."""

    kind: str
    dimensions: list[str]


class ExportConfig(ModelDescription, frozen=True, kw_only=True, omit_defaults=True):
    """``config.json``: facts as a checkpoint's manifest has them, and what the export is."""

    export: ExportFacts
    dtype: str = ""
    tasks: dict[str, TaskFacts] = msgspec.field(default_factory=dict)


class ExportableModel(Protocol):
    """What is written and described: a ``UnifiedModel``, which is not imported here because it imports this."""

    config: ModelDimensions
    statistics: TargetStatistics
    facts: ModelFacts

    def state_dict(self) -> dict[str, Tensor]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


M = TypeVar("M", bound=nn.Module)


def is_export(folder: Path) -> bool:
    """Whether ``folder`` holds a ``config.json`` of ours, of whatever format.

    Raises:
        StorageError: it holds a ``config.json`` that is no JSON.
    """
    if not (folder / CONFIG).is_file():
        return False
    content = read_json(folder / CONFIG)
    export = content.get("export") if isinstance(content, dict) else None
    return isinstance(export, dict) and export.get("library") == LIBRARY


def write_exported(model: ExportableModel, folder: Path) -> ExportConfig:
    """Writes both files into ``folder``, the configuration last. Returns it.

    Raises:
        StorageError: one could not be written, or does not hold what was to be written.
    """
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}

    def write(temporary: Path) -> None:
        _translated(folder / WEIGHTS, lambda: save_file(state, str(temporary), metadata={"format": "pt"}))

    replace_file(folder / WEIGHTS, write)
    _compare(folder / WEIGHTS, _shapes_in(folder / WEIGHTS), {name: list(t.shape) for name, t in state.items()})
    dtypes = sorted({str(t.dtype).removeprefix("torch.") for t in state.values() if t.is_floating_point()})
    config = ExportConfig(
        **msgspec.structs.asdict(model.facts),
        export=ExportFacts(
            library=LIBRARY,
            format=FORMAT,
            version=redheart.__version__,
            sha256=sha256_of(folder / WEIGHTS),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
        ),
        dtype="/".join(dtypes),
        model=model.config.to_json(),
        statistics=model.statistics.to_json(),
        tasks={
            task.name: TaskFacts(
                kind="distribution" if task.is_distribution else "numbers", dimensions=list(task.dimensions)
            )
            for task in TASKS
        },
    )
    write_json(folder / CONFIG, config)
    return config


def read_config(folder: Path) -> ExportConfig:
    """The configuration in ``folder``.

    Raises:
        StorageError: it is missing, damaged, none that an export wrote, or of a model with other tasks than this version's.
    """
    path = folder / CONFIG
    refused = f"{path}: not a configuration that `redheart export` wrote, of format {FORMAT}"
    config = as_struct(read_json(path), ExportConfig, refused)
    if (config.export.library, config.export.format) != (LIBRARY, FORMAT):
        raise StorageError(refused)
    wanted = {task.name: list(task.dimensions) for task in TASKS}
    found = {name: task.dimensions for name, task in config.tasks.items()}
    if found != wanted:
        raise AnotherModel(f"{path}: found the tasks {found}, wanted those of this version: {wanted}")
    return config


def build_exported(
    build: Callable[[ModelDimensions, TargetStatistics], M],
    config: ExportConfig,
    weights: Path,
    *,
    device: str | torch.device = "cpu",
) -> M:
    """The model of a configuration with the weights of a file, in evaluation mode.

    Its weights are those of the model that was exported, to the bit, and so are its predictions for the same batch on the
    same processor with the same libraries and number of threads; elsewhere these differ by what rounding makes.

    Args:
        build: makes a model of these dimensions: ``UnifiedModel``.

    Raises:
        StorageError: the file is damaged, or a tensor is missing, superfluous or of another shape; naming it.
    """
    try:
        dimensions = ModelDimensions.from_json(config.model)
        statistics = TargetStatistics.from_json(config.statistics, config.training_split)
    except (ValueError, TypeError) as error:
        raise AnotherModel(f"{weights.parent / CONFIG}: describes no model of this version: {error}") from error
    if not weights.is_file():
        raise StorageError(f"{weights}: not found")
    if sha256_of(weights) != config.export.sha256:
        raise StorageError(f"{weights}: its SHA-256 is not the one in {CONFIG}: it is damaged, or of another model")
    with meta_device():
        model = build(dimensions, statistics)
    _compare(weights, _shapes_in(weights), {name: list(t.shape) for name, t in model.state_dict().items()})
    # The tensors themselves become the model's: nothing is filled with random numbers first.
    model.load_state_dict(_tensors_in(weights, device), assign=True)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    model.facts = config.facts()  # type: ignore[assignment]
    return model.eval()


def _tensors_in(weights: Path, device: str | torch.device) -> dict[str, Tensor]:
    """The file's tensors, each in memory of its own.

    What safetensors gives lies in the mapped file, wherever the header's length has put it, and a matrix product's last
    bits depend on where its operands begin: MKL promises the same ones only for what is aligned to 64 bytes, as all that
    torch allocates is. One tensor after the other is copied, so that the weights are in memory once, and the file's pages
    are the system's to drop.
    """
    from safetensors import safe_open

    def read() -> dict[str, Tensor]:
        with safe_open(str(weights), framework="pt") as content:
            return {name: content.get_tensor(name).to(device, copy=True) for name in content.keys()}  # noqa: SIM118

    found: dict[str, Tensor] = _translated(weights, read)
    return found


def _shapes_in(weights: Path) -> dict[str, list[int]]:
    from safetensors import safe_open

    def read() -> dict[str, list[int]]:
        with safe_open(str(weights), framework="pt") as content:
            return {name: list(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118

    found: dict[str, list[int]] = _translated(weights, read)
    return found


def _compare(weights: Path, found: Mapping[str, list[int]], wanted: Mapping[str, list[int]]) -> None:
    if found == wanted:
        return
    missing, foreign = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    differ = [
        f"{name} {found[name]}, wanted {wanted[name]}"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    parts = (("no tensor", missing), ("unknown", foreign), ("other shapes:", differ))
    raise StorageError(f"{weights}: " + "; ".join(f"{what} {', '.join(names[:3])}" for what, names in parts if names))


def _translated(path: Path, do: Any) -> Any:
    from safetensors import SafetensorError

    try:
        return do()
    except SafetensorError as error:  # a full disk and a torn file alike, without an errno
        raise StorageError(f"{path}: {error}") from error
