"""State dicts in a PyTorch archive: a plain one, one within a training script's checkpoint, and a crossover of ours."""

from __future__ import annotations

from pathlib import Path

from redheart.checkpoint import Manifest
from redheart.consolidation.forms.deepspeed_files import is_mapping
from redheart.consolidation.forms.stand_ins import View
from redheart.consolidation.forms.torch_archive import in_words, read_archive
from redheart.consolidation.source import Source, without_wrappers
from redheart.errors import UsageError
from redheart.storage import as_struct

#: Under which names scripts put a state dict into what they save besides, the likeliest first.
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
#: Of these, one in another: a pickle may hold a mapping that holds itself.
_DEEPEST = 4
#: What the crossover's file has beside its state dict.
_OF_CROSSOVER = ("format", "what", "choices", "manifest")


def read_state_dict(path: Path) -> Source:
    """The weights in a file that ``torch.save`` wrote.

    Raises:
        UsageError: it is a pickle, or holds something else than tensors by name.
        StorageError: it is damaged.
    """
    archive = read_archive(path)
    content = archive.content
    facts = None
    if is_mapping(content) and all(name in content for name in _OF_CROSSOVER):
        facts = as_struct(content["manifest"], Manifest, f"{path}: manifest")
    names, state = _unwrapped(content)
    where = "".join(f"{name}." for name in names)
    if not is_mapping(state):
        raise UsageError(f"{path}: {where}found {in_words(state)}, wanted a state dict: tensors by name")
    if not _holds_tensors(state):
        found = ", ".join(list(state)[:5]) or "nothing"
        raise UsageError(
            f"{path}: {where}found {found}, and no tensors among them; wanted a state dict, by itself or under one of the names "
            f"{', '.join(WRAPPERS)}"
        )
    if other := next((name for name, value in state.items() if not isinstance(value, View)), None):
        raise UsageError(
            f"{path}: {where}{other}: found {in_words(state[other])}, wanted a tensor, as the state dict has under its other names"
        )
    tensors = {name: archive.tensor(f"{where}{name}", value) for name, value in state.items()}
    what = "crossover" if facts is not None else "state dict"
    return Source(path, what, without_wrappers(path, tensors), facts)


def _holds_tensors(value: object) -> bool:
    return is_mapping(value) and any(isinstance(one, View) for one in value.values())


def _unwrapped(content: object) -> tuple[list[str], object]:
    """What lies within the names that scripts put around a state dict, and those names."""
    names: list[str] = []
    while is_mapping(content) and not _holds_tensors(content) and len(names) < _DEEPEST:
        inner = next((name for name in WRAPPERS if isinstance(content.get(name), dict)), None)
        if inner is None:
            break
        names.append(inner)
        content = content[inner]
    return names, content
