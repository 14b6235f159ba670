"""Evidence for a choice of the learning rate: the choice itself, the fit around it, the noise and what lies within it."""

from __future__ import annotations

from typing import Literal

import msgspec

NoiseSource = Literal["repeats", "residuals"]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """How sure the choice is.

    Attributes:
        best: the chosen learning rate: the lowest ``val_loss_seed_adjusted``.
        val_loss: the plain mean of its ``runs``, as in the cumulative file.
        val_loss_seed_adjusted: their mean with the seeds' parts taken out, which is what learning rates are compared by.
        fit_minimum: where the fitted parabola is lowest; None where there is no minimum to fit (``fit_problem``).
        interval: of ``fit_minimum`` at ``confidence``.
        coefficients: loss = a·x² + b·x + c with x = log10 LR − log10 best; valid over ``window`` (learning rates).
        noise: standard deviation of one trial's validation loss, its seed's part taken out; None where neither repeats nor residuals tell.
        within_noise: learning rates whose mean loss can't be told from the best's at 95 %, the best included.
    """

    best: float
    val_loss: float
    val_loss_seed_adjusted: float
    runs: int
    fit_minimum: float | None
    interval: tuple[float, float] | None
    confidence: float
    coefficients: tuple[float, float, float] | None
    window: tuple[float, float] | None
    fit_problem: str | None
    noise: float | None
    noise_source: NoiseSource | None
    within_noise: tuple[float, ...]
    at_edge: bool
