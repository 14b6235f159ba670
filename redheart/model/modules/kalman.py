"""``kalman_filter``: a seven-dimensional emotional state that is smoothed over a story's segments.

The state follows ``x[t+1] = A x[t] + w``, each segment observes it as ``y[t] = x[t] + v``, and what counts is its
distribution given the whole story. A Rauch–Tung–Striebel smoother finds it by a pass forward and one back; the same
numbers solve one block-tridiagonal linear system in information form (Bell 1994, *The iterated Kalman smoother as a
Gauss–Newton method*, SIAM J. Optim. 4). At no more than 16 × 7 unknowns that system is a single batched Cholesky
factorisation: no loop over time, symmetric and positive definite by construction.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redheart.model.depth import Depths
from redheart.model.modules.blocks import Projection, masked_mean
from redheart.model.presets import ModelDimensions
from redheart.tasks import EMOTIONS

#: Smallest variance of any noise: it bounds the precisions, and with them the system's condition in fp32.
VARIANCE_FLOOR = 0.01
STATE = len(EMOTIONS)


def smooth(
    observations: Tensor,
    variances: Tensor,
    transition: Tensor,
    process_variance: Tensor,
    initial_mean: Tensor,
    initial_variance: Tensor,
    mask: Tensor,
) -> tuple[Tensor, Tensor]:
    """Means and variances of the state given all observations, in fp32.

    Args:
        observations: (batch, steps, state).
        variances: (batch, steps, state), of the observations' independent noises, positive.
        transition: (state, state).
        process_variance: (state,), positive.
        initial_mean: (state,), of the first step's state.
        initial_variance: (state,), positive.
        mask: (batch, steps) bool, True = observed; an unobserved step only carries the state on.

    Returns:
        Smoothed means (batch, steps, state) and variances (batch, steps, state).
    """
    batch, steps, state = observations.shape
    size = steps * state
    # innovations = difference @ states - (initial mean, 0, …): the whole trajectory's prior is Gaussian in them.
    shift = torch.diag(observations.new_ones(steps - 1), -1)
    difference = torch.eye(size, device=observations.device) - torch.kron(shift, transition)
    first = 1.0 / initial_variance
    weights = torch.cat((first, (1.0 / process_variance).repeat(steps - 1)))
    prior_precision = difference.T @ (weights.unsqueeze(-1) * difference)
    precisions = (mask.unsqueeze(-1) / variances).reshape(batch, size)
    information = precisions * observations.reshape(batch, size) + F.pad(first * initial_mean, (0, size - state))
    # cholesky_ex without checks: a check would make the host wait for the device at every step.
    factor, failed = torch.linalg.cholesky_ex(prior_precision + torch.diag_embed(precisions))
    # What can't be factored – weights that have diverged – is NaN, which the loop drops, and no error or wrong number.
    factor = factor.masked_fill(failed.ne(0)[:, None, None], torch.nan)
    means = torch.cholesky_solve(information.unsqueeze(-1), factor).squeeze(-1)
    marginals = torch.diagonal(torch.cholesky_inverse(factor), dim1=-2, dim2=-1)
    return means.view(batch, steps, state), marginals.view(batch, steps, state)


class KalmanFilter(nn.Module):
    """Observations with a learned, input-dependent noise -> smoothed state -> features and own prediction."""

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.observe = nn.Sequential(
            Projection(dims.d_model, dims.state_width), nn.GELU(), Projection(dims.state_width, 2 * STATE)
        )
        self.transition = nn.Parameter(torch.empty(STATE, STATE))
        nn.init.normal_(self.transition, std=0.02)
        with torch.no_grad():
            self.transition.diagonal().add_(0.9)
        self.process_noise = nn.Parameter(torch.zeros(STATE))
        self.initial_mean = nn.Parameter(torch.zeros(STATE))
        self.initial_noise = nn.Parameter(torch.zeros(STATE))
        # The heads alone read these features.
        self.summarise = Projection(3 * STATE, dims.state_width) if dims.has("heads") else nn.Identity()
        self.predict = Projection(3 * STATE, len(EMOTIONS), gain=0.1)

    def forward(self, hidden: Tensor, segment_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, width) and prediction (batch, 7).

        Args:
            hidden: H (batch, segments, d_model).
            segment_mask: (batch, segments) bool, True = a segment of the story's course; all of them stand first.
        """
        observed = self.observe(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            observations, noise = observed.float().chunk(2, dim=-1)
            means, variances = smooth(
                observations,
                F.softplus(noise) + VARIANCE_FLOOR,
                self.transition.float(),
                F.softplus(self.process_noise.float()) + VARIANCE_FLOOR,
                self.initial_mean.float(),
                F.softplus(self.initial_noise.float()) + VARIANCE_FLOOR,
                segment_mask,
            )
            last = (segment_mask.sum(dim=1) - 1).clamp(min=0)
            final = means.gather(1, last[:, None, None].expand(-1, 1, STATE)).squeeze(1)
            summary = torch.cat(
                (masked_mean(means, segment_mask), final, masked_mean(variances.log(), segment_mask)), dim=-1
            )
        summary = summary.to(observed.dtype)
        return self.summarise(summary), self.predict(summary)

    def place(self, depths: Depths, after: int) -> int:
        depths.chain(self.predict, after=0)
        dynamics = (self.transition, self.process_noise, self.initial_mean, self.initial_noise)
        return depths.chain(self.observe, dynamics, self.summarise, after=after)
