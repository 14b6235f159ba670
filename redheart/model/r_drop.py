"""R-Drop: a loss for two passes under different dropout that disagree (Liang et al. 2021, arXiv 2106.14448).

Both passes are one forward pass over the batch beside itself, in which every row draws its own dropout. How much the two
predictions of a head differ is added to its loss, by the same mask and divided by the same count, so that it depends no
more on the cut of a batch than the loss does.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from redheart.model.batch import Batch
from redheart.model.losses import HEAD_TERMS, Losses, valid_targets
from redheart.model.unified import Outputs
from redheart.tasks import TASK_BY_NAME


def with_divergence(
    losses: Losses, outputs: Outputs, batch: Batch, counts: Mapping[str, Tensor], weight: float
) -> Losses:
    """``losses`` and, by head, ``weight`` times how far its two predictions lie apart.

    Distributions: the mean of both directions' Kullback–Leibler divergence (eq. 2 of the paper); numbers: the squared
    difference, in standardised units. The paper adds the losses of both passes up where ours are their mean, so its α is
    twice this ``weight``.

    Args:
        losses: the mean loss of both passes.
        outputs: of ``batch.twice()``.
        batch: as it was before that, once.
        counts: valid counts of the *global* batch by target, each situation counted once.
    """
    terms = dict(losses.terms)
    total = losses.total
    for term in HEAD_TERMS:
        apart = _divergences(outputs.predictions[term.task].float(), TASK_BY_NAME[term.task].is_distribution)
        valid = valid_targets(term, batch)
        name = f"r_drop.{term.task}"
        terms[name] = torch.where(valid, apart, 0.0).sum() / counts[term.target].clamp(min=1.0)
        total = total + weight * term.weight * terms[name]
    return Losses(total, terms)


def _divergences(predictions: Tensor, is_distribution: bool) -> Tensor:
    """(2 × batch, dims) -> (batch,) for distributions, (batch, dims) for numbers."""
    one, other = predictions.chunk(2)
    if not is_distribution:
        return (one - other).square()
    one, other = one.log_softmax(dim=-1), other.log_softmax(dim=-1)
    return 0.5 * ((one.exp() - other.exp()) * (one - other)).sum(dim=-1)
