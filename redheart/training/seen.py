"""What the batches of some steps held, and which parameters they could not have trained.

A tensor is not dead because no story in the data has a title, or because nobody annotated regret. Such tensors and rows are
told apart from dead ones: by the paths from parameters to loss terms, which the model's own graph shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from redheart.checkpoint.epoch import module_of
from redheart.model.batch import KINDS
from redheart.model.losses import TARGETS, TERMS, terms_of
from redheart.model.presets import ModelDimensions
from redheart.model.statistics import TargetStatistics
from redheart.model.unified import UnifiedModel
from redheart.tasks import MODULE_TASK, TASK_BY_NAME
from redheart.training.order import Indices
from redheart.training.table import SituationTable

#: What a segment's kind means, in the order of the model's embedding of kinds, and that embedding's name.
KIND_NAMES = ("title", "action", "text window", "whole text")
KIND_EMBEDDING = "backbone.kind.weight"
_WIDTHS = (
    *("d_embed", "d_model", "head_width", "analyzer_width", "wrapper_width", "phase_width"),
    *("signal_channels", "signal_width", "state_width"),
)


def _nothing() -> dict[str, NDArray[np.bool_]]:
    return {target: np.zeros(len(TASK_BY_NAME[task].dimensions), bool) for target, task in TARGETS.items()}


@dataclass
class Seen:
    """What at least one situation had.

    Attributes:
        targets: (dims,) by target: whether it was annotated; a distribution is so as a whole or not at all.
        kinds: (4,) whether there was a segment of this kind.
        longest: segments of the longest story.
    """

    targets: dict[str, NDArray[np.bool_]] = field(default_factory=_nothing)
    kinds: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(KINDS, bool))
    longest: int = 0

    def add(self, table: SituationTable, batch: Indices) -> None:
        """Adds the situations of a batch."""
        for target, mask in table.target_masks(batch).items():
            known = mask.numpy()
            whole = TASK_BY_NAME[TARGETS[target]].is_distribution
            self.targets[target] |= (known.all(axis=1, keepdims=True) & known if whole else known).any(axis=0)
        kinds, longest = table.dataset.kinds_in(batch)
        self.kinds |= kinds
        self.longest = max(self.longest, longest)

    def to_json(self) -> dict[str, Any]:
        targets = {target: known.tolist() for target, known in self.targets.items()}
        return {"targets": targets, "kinds": self.kinds.tolist(), "longest": self.longest}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Seen:
        targets = {target: np.array(known, bool) for target, known in data["targets"].items()}
        return Seen(targets, np.array(data["kinds"], bool), int(data["longest"]))

    def lacking(self) -> list[str]:
        """In words: kinds of segments and targets that no situation had."""
        missing = [f"{name} segments" for name, there in zip(KIND_NAMES, self.kinds, strict=True) if not there]
        for target, known in self.targets.items():
            dimensions = TASK_BY_NAME[TARGETS[target]].dimensions
            if not known.any():
                missing.append(f"target {target}")
            else:
                missing += [
                    f"target {target}.{name}" for name, there in zip(dimensions, known, strict=True) if not there
                ]
        return missing

    def unfed(self, dims: ModelDimensions) -> frozenset[str]:
        """Names of the parameters that feed no term of the loss but those without any target."""
        silent = {term.name for term in TERMS if not self.targets[term.target].any()}
        if not silent:
            return frozenset()
        feeds = terms_fed(dims)
        return frozenset(name for name, terms in feeds.items() if terms and terms <= silent)

    def unseen_rows(self, name: str, rows: int) -> list[int]:
        """Which of a tensor's rows belong to a kind or a dimension of a target that no situation had."""
        if name == KIND_EMBEDDING:
            return np.flatnonzero(~self.kinds).tolist()
        task = MODULE_TASK.get(module_of(name))
        if task is None or TASK_BY_NAME[task].is_distribution or rows != len(TASK_BY_NAME[task].dimensions):
            return []
        return np.flatnonzero(~self.targets[task]).tolist()


def terms_fed(dims: ModelDimensions) -> dict[str, set[str]]:
    """By parameter: the terms of the loss that its value has a way to, in the model's graph.

    The graph is that of a model with the same layers and names but the least widths, so it costs next to nothing.
    """
    least: dict[str, Any] = dict.fromkeys(_WIDTHS, 4)
    narrow = replace(dims, attention_heads=1, **least)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        model = UnifiedModel(narrow, TargetStatistics.neutral())
        length = min(4, narrow.max_segments)
        kinds = torch.tensor([[0, 1, 2, 3][:length]])
        positions = torch.zeros_like(kinds)
        outputs = model(torch.randn(1, length, 4), torch.ones(1, length, dtype=torch.bool), kinds, positions)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    feeds: dict[str, set[str]] = {name: set() for name in names.values()}
    for term in terms_of(outputs):
        _, _, task = term.name.partition("heads.")
        prediction = outputs.predictions[task] if task else outputs.auxiliary[term.name]
        for parameter in _leaves(prediction):
            feeds[names[id(parameter)]].add(term.name)
    return feeds


def _leaves(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The leaves of the autograd graph behind a tensor."""
    found: list[torch.Tensor] = []
    waiting, known = [tensor.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [parent for parent, _ in node.next_functions]
    return found
