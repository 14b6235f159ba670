"""Saving and loading by the interface that Hugging Face's hub knows: ``save_pretrained``, ``from_pretrained``.

What a folder holds is the business of ``exported`` and ``card``; they are imported when something is saved or loaded, and
with them what they need.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from huggingface_hub import PyTorchModelHubMixin

from redheart.errors import MissingRequirement, UsageError
from redheart.paths import OutputPaths

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

    from redheart.facts.evaluation import StoredEvaluation
    from redheart.model.exported import ExportableModel

Self = TypeVar("Self", bound="HubModel")
_TAKEN = (
    "map_location or device_map (a device), dtype or torch_dtype, subfolder, revision, token, cache_dir, force_download, "
    "local_files_only"
)
#: Options of others that ask for what is done anyway, and the values at which they do; ``...``: any value.
_DONE_ANYWAY: Mapping[str, tuple[Any, ...]] = {
    "low_cpu_mem_usage": (...,),
    "proxies": (None,),
    "resume_download": (None, False, True),
    "strict": (True,),
    "trust_remote_code": (...,),
    "use_safetensors": (None, True),
}
#: The same of ``save_pretrained``; ``token`` is for a push, and without one there is nobody to show it to.
_SAVED_ANYWAY: Mapping[str, tuple[Any, ...]] = {
    "config": (None,),
    "max_shard_size": (None,),
    "safe_serialization": (None, True),
    "save_function": (None,),
    "save_peft_format": (...,),
    "state_dict": (None,),
    "token": (...,),
    "variant": (None,),
}
_WHY_NOT = {
    "config": "config.json says what the model is",
    "max_shard_size": "the weights are one file",
    "safe_serialization": "weights are written as safetensors only: a pickle runs whatever is in it when it is opened",
    "save_function": "the files are written whole or not at all, by this project's own functions",
    "state_dict": "the model's own weights are saved: load them into it first",
    "variant": "the file is called model.safetensors",
}
#: How ``device_map`` asks for a device to be chosen; the whole model goes to one.
_CHOOSE = ("auto", "balanced", "balanced_low_0", "sequential")


class HubModel(PyTorchModelHubMixin):
    """What ``UnifiedModel`` adds to ``nn.Module``. The mixin's own way of storing arguments is not used: it knows none of
    statistics, tasks and hashes, and loads weights that do not fit without a word."""

    @classmethod
    def from_pretrained(
        cls: type[Self],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        map_location: str | int | torch.device | None = None,
        device_map: str | int | torch.device | Mapping[str, str | int | torch.device] | None = None,
        dtype: str | torch.dtype | None = None,
        torch_dtype: str | torch.dtype | None = None,
        subfolder: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        **others: Any,
    ) -> Self:
        """The model that ``save_pretrained`` or ``redheart export`` wrote, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder, or a name on the hub.
            map_location, device_map: where the whole model goes; the CPU without one; ``"auto"``: a CUDA device if there is one.
            dtype, torch_dtype: of the weights; as they are stored without one, and for ``"auto"``.
            subfolder: of the folder or repository, where the model is.
            revision, token, cache_dir, force_download, local_files_only: of a download; a folder needs none of them.
            others: options of transformers that ask for what is done anyway, such as ``use_safetensors=True``.

        Raises:
            TypeError: an option is not taken, or has a value of a wrong kind.
            UsageError: there is no such folder or name, or it holds something else; with what to do.
            MissingRequirement: the model is not on this machine and the hub is not to be had.
            StorageError: the model is damaged; naming the file.
        """
        from redheart.model.exported import WEIGHTS, build_exported, read_config

        _refuse_others(**others)
        device = _device(_one("map_location", map_location, "device_map", device_map))
        wanted = _dtype(_one("dtype", dtype, "torch_dtype", torch_dtype))
        folder = _folder_of(pretrained_model_name_or_path)
        inner = _subfolder(subfolder)
        if folder is None:
            folder = _download(
                str(pretrained_model_name_or_path),
                inner,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
            )
        folder = folder / inner
        _check_export(folder)
        model: Self = build_exported(cls, read_config(folder), folder / WEIGHTS, device=device)  # type: ignore[type-var]
        return model if wanted is None else model.to(wanted)  # type: ignore[attr-defined]

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        is_main_process: bool = True,
        **others: Any,
    ) -> str | None:
        """Writes weights (safetensors), ``config.json`` and a model card into a folder.

        Args:
            push_to_hub, repo_id: upload it too, with the options of the mixin's ``push_to_hub``.
            is_main_process: False: another process writes, and this one does nothing.
            others: options of transformers that ask for what is done anyway, such as ``safe_serialization=True``.

        Raises:
            TypeError: an option asks for something else, such as ``safe_serialization=False``; nothing was written.
            UsageError: the name is empty or that of a file.
            StorageError: a file could not be written.
        """
        _refuse_unsaved(push_to_hub, **others)
        if not str(save_directory).strip() or (os.path.lexists(save_directory) and not os.path.isdir(save_directory)):
            what = "an empty name" if not str(save_directory).strip() else "a file"
            raise UsageError(f"save_pretrained: found {what}, {str(save_directory)!r}; wanted a folder")
        if not is_main_process:
            return None
        taken = {name: value for name, value in others.items() if push_to_hub and name in _of_a_push()}
        said = super().save_pretrained(Path(save_directory), push_to_hub=push_to_hub, repo_id=repo_id, **taken)
        return None if said is None else str(said)

    def _save_pretrained(self, save_directory: Path) -> None:
        from redheart.model.exported import write_exported

        write_exported(cast("ExportableModel", self), save_directory)

    def generate_model_card(self, *, evaluations: Sequence[StoredEvaluation] = (), **_: Any) -> ModelCard:
        """The model card, from what the model knows of itself and what ``redheart evaluate`` wrote of it."""
        from huggingface_hub import ModelCard

        from redheart.model.card import write_card

        return ModelCard(write_card(cast("ExportableModel", self), evaluations))


def _refuse_others(**others: Any) -> None:
    for name, value in others.items():
        harmless = _DONE_ANYWAY.get(name, ())
        if ... not in harmless and not any(value is one for one in harmless):
            raise TypeError(f"from_pretrained: found {name}={value!r}, which is not taken; wanted some of {_TAKEN}")


def _of_a_push() -> set[str]:
    taken = set(inspect.signature(PyTorchModelHubMixin.push_to_hub).parameters)
    return taken - {"self", "repo_id", "config"} | {"model_card_kwargs"}


def _refuse_unsaved(push_to_hub: bool, **others: Any) -> None:
    for name, value in others.items():
        harmless, of_a_push = _SAVED_ANYWAY.get(name, ()), name in _of_a_push()
        if (of_a_push and (push_to_hub or value is None)) or ... in harmless or any(value is one for one in harmless):
            continue
        if of_a_push:
            why = "which is of a push; wanted push_to_hub=True with it"
        elif name in _WHY_NOT:
            why = f"which is not done: {_WHY_NOT[name]}; leave it out"
        else:
            why = (
                f"which is not taken; wanted some of push_to_hub, repo_id, is_main_process, {', '.join(_SAVED_ANYWAY)}"
            )
        raise TypeError(f"save_pretrained: found {name}={value!r}, {why}")


def _one(name: str, value: Any, other_name: str, other: Any) -> Any:
    """The value of an option that has two names."""
    if value is not None and other is not None and value != other:
        raise TypeError(f"from_pretrained: found {name}={value!r} and {other_name}={other!r}; wanted one of them")
    return other if value is None else value


def _device(asked: Any) -> torch.device:
    wanted = (
        "wanted the one device that the whole model goes to, such as 'cpu', 'cuda:0', torch.device('cuda') or 'auto'"
    )
    if isinstance(asked, Mapping) and list(asked) == [""]:
        asked = asked[""]
    if asked is None:
        return torch.device("cpu")
    if asked in _CHOOSE:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"from_pretrained: found the device {asked!r}; {wanted}") from error
    if device.type == "meta":
        raise TypeError(f"from_pretrained: found the device 'meta', which holds no weights; {wanted}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"from_pretrained: the device {str(device)!r} is not to be had here: {reason}") from error
    return device


def _dtype(asked: Any) -> torch.dtype | None:
    if asked is None or asked == "auto":
        return None
    found = getattr(torch, asked.removeprefix("torch."), None) if isinstance(asked, str) else asked
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise TypeError(
            f"from_pretrained: found the dtype {asked!r}; wanted torch.float32, torch.bfloat16, torch.float16, "
            "torch.float64, one of their names, or 'auto'"
        )
    return found


def _subfolder(given: Any) -> Path:
    inner = Path(given or "")
    if inner.is_absolute() or ".." in inner.parts:
        raise UsageError(f"from_pretrained: found subfolder={given!r}; wanted a path within the folder or repository")
    return inner


def _folder_of(given: Any) -> Path | None:
    """The folder that is meant; None for a name on the hub."""
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"from_pretrained: found {given!r}; wanted a folder, or a name on the hub")
    if not str(given).strip():
        raise UsageError(f"from_pretrained: found {given!r}, an empty name; wanted a folder, or a name on the hub")
    path = Path(given).expanduser()
    if os.path.isdir(path):
        return path
    if os.path.lexists(path):
        cure = f": `redheart export --checkpoint {path} --to FOLDER` writes one" if path.suffix == ".pth" else ""
        raise UsageError(
            f"{path}: found a file; wanted the folder that `redheart export` or save_pretrained wrote{cure}"
        )
    return None


def _download(name: str, inner: Path, *, revision: str | None, local_files_only: bool, **options: Any) -> Path:
    """The folder of a repository in the hub's cache, fetched if need be."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    from redheart.model.exported import CONFIG, WEIGHTS

    patterns = [(inner / file).as_posix() for file in (CONFIG, WEIGHTS)]
    try:
        return Path(
            snapshot_download(
                name, allow_patterns=patterns, revision=revision, local_files_only=local_files_only, **options
            )
        )
    except HFValidationError as error:
        raise UsageError(f"{name}: no such folder, and not a name on the hub (owner/name)") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise UsageError(
            f"{name}: no such folder here, and the hub has no such model{at}, or shows it to others only (token=…)"
        ) from error
    except Exception as error:  # the hub's client passes on its HTTP library's errors, which differ by version
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingRequirement(
            f"{name}: no such folder here, not in the hub's local cache, and not fetched: {reason}"
        ) from error


def _check_export(folder: Path) -> None:
    """Whether a folder is an export, or at least was one; else what it is, and what to do.

    Raises:
        UsageError: it never was one.
    """
    from redheart.model.exported import CONFIG, WEIGHTS

    if any((folder / name).is_file() for name in (CONFIG, WEIGHTS)):
        return
    wanted = "wanted a folder that `redheart export` or save_pretrained wrote"
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; {wanted}")
    inner = next(
        (name for name in ("", OutputPaths.best_model.name) if (folder / name / "manifest.json").is_file()), None
    )
    if inner is not None:
        checkpoint = folder / inner
        raise UsageError(
            f"{folder}: found {'a checkpoint' if checkpoint == folder else 'the output of a run'}; {wanted}: "
            f"`redheart export --checkpoint {checkpoint} --to FOLDER` writes one from it"
        )
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
    raise UsageError(f"{folder}: found no {CONFIG} (there is: {there}); {wanted}")
