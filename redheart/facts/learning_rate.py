"""Facts of a run's learning rate: who chose it, and what the sweep that did was made with otherwise than the run."""

from __future__ import annotations

from typing import Literal

import msgspec

from redheart.storage import Scalar


class SettingDiffers(msgspec.Struct, frozen=True):
    """One of the things that the best learning rate hangs on, as the sweep had it and as the run has it."""

    name: str
    sweep: Scalar
    run: Scalar

    def __str__(self) -> str:
        return f"{self.name} {_shown(self.sweep)} → {_shown(self.run)}"


def _shown(value: Scalar) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


class RateOrigin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a run's learning rate is from.

    Attributes:
        kind: ``given`` by the user, chosen by a ``sweep``, or the ``default``.
        sweep: the name of the sweep whose choice it is, given or not; None: it is none's.
        differs: what the sweep was made with otherwise.
        is_by_design: it differs only in that trials are short, and a sweep for this run would have such trials too.
        is_on_record: the sweep's settings are known; without it more may differ.
    """

    kind: Literal["given", "sweep", "default"]
    sweep: str | None = None
    differs: tuple[SettingDiffers, ...] = ()
    is_by_design: bool = False
    is_on_record: bool = True
