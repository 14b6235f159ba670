"""A model as two files that need nothing else: ``model.safetensors``, and ``config.json`` with all that is known of it.

``config.json`` has a checkpoint manifest's keys, so what reads a manifest reads it too.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

import redheart
from redheart.errors import StorageError
from redheart.model.meta_device import meta_device
from redheart.model.presets import ModelDimensions
from redheart.model.statistics import TargetStatistics
from redheart.storage import read_json, replace_file, sha256_of, write_json
from redheart.tasks import TASKS

FORMAT = 1
LIBRARY = "redheart"
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
#: Of a manifest or configuration: what is told of the files, and what the model tells of itself.
_NOT_FACTS = ("files", "format", "dtype", "model", "statistics", "metrics", "export", "tasks")


class ExportableModel(Protocol):
    """What is written and described: a ``UnifiedModel``, which is not imported here because it imports this."""

    config: ModelDimensions
    statistics: TargetStatistics
    facts: Mapping[str, Any]

    def state_dict(self) -> dict[str, Tensor]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


M = TypeVar("M", bound=nn.Module)


def facts_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's manifest or a ``config.json`` tells of a model beside its shape and statistics."""
    return {key: value for key, value in manifest.items() if key not in _NOT_FACTS}


def is_config(content: Any) -> bool:
    """Whether it is a ``config.json`` of ours."""
    return isinstance(content, dict) and content.get("export", {}).get("library") == LIBRARY


def write_exported(model: ExportableModel, folder: Path) -> dict[str, Any]:
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
    config = {
        **model.facts,
        "export": {
            "library": LIBRARY,
            "format": FORMAT,
            "version": redheart.__version__,
            "sha256": sha256_of(folder / WEIGHTS),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        },
        "dtype": "/".join(dtypes),
        "model": model.config.to_json(),
        "statistics": model.statistics.to_json(),
        "tasks": {
            task.name: {"kind": "distribution" if task.is_distribution else "numbers", "dimensions": task.dimensions}
            for task in TASKS
        },
    }
    write_json(folder / CONFIG, config)
    # safetensors makes files that only their owner may read, whatever is usual here.
    (folder / WEIGHTS).chmod(stat.S_IMODE((folder / CONFIG).stat().st_mode))
    return config


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration in ``folder``.

    Raises:
        StorageError: it is missing, damaged, or none that an export wrote.
    """
    content = read_json(folder / CONFIG)
    check_config(content, folder / CONFIG)
    found: dict[str, Any] = content
    return found


def check_config(content: Any, what: Path | str) -> None:
    """Whether it is a configuration of this version, of a model with the tasks of this version.

    Raises:
        StorageError: it is not; naming ``what``.
    """
    if not is_config(content) or content["export"].get("format") != FORMAT:
        raise StorageError(f"{what}: not a configuration that `redheart export` wrote, of format {FORMAT}")
    wanted = {task.name: list(task.dimensions) for task in TASKS}
    found = {name: list(task["dimensions"]) for name, task in content.get("tasks", {}).items()}
    if found != wanted:
        raise StorageError(f"{what}: found the tasks {found}, wanted those of this version: {wanted}")


def build_exported(
    build: Callable[[ModelDimensions, TargetStatistics], M],
    config: Mapping[str, Any],
    weights: Path,
    *,
    device: str = "cpu",
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
        dimensions = ModelDimensions.from_json(config["model"])
        statistics = TargetStatistics.from_json(config["statistics"])
    except (KeyError, ValueError, TypeError) as error:
        raise StorageError(f"{weights.parent / CONFIG}: describes no model of this version: {error}") from error
    if not weights.is_file():
        raise StorageError(f"{weights}: not found")
    if sha256_of(weights) != config["export"]["sha256"]:
        raise StorageError(f"{weights}: its SHA-256 is not the one in {CONFIG}: it is damaged, or of another model")
    with meta_device():
        model = build(dimensions, statistics)
    _compare(weights, _shapes_in(weights), {name: list(t.shape) for name, t in model.state_dict().items()})
    # The tensors themselves become the model's: nothing is filled with random numbers first.
    model.load_state_dict(_tensors_in(weights, device), assign=True)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    model.facts = facts_of(config)  # type: ignore[assignment]
    return model.eval()


def _tensors_in(weights: Path, device: str) -> dict[str, Tensor]:
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
