"""Parameters summed over the modules of ``heads``, ``neural_analyzers`` and ``advanced_wrappers``."""

from __future__ import annotations

from collections import Counter

from redheart.model.parameters import ParameterCount


def by_group(count: ParameterCount) -> dict[str, int]:
    groups: Counter[str] = Counter()
    for name, parameters in count.by_module.items():
        groups[name.partition(".")[0]] += parameters
    return dict(groups)
