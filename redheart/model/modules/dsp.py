"""``dsp_simulator``: the course of the emotions over a story, treated as a signal.

A few channels are read off each segment, shaped by an envelope (how a feeling sets in and fades), and passed through a
learned filter bank and resonators (how it rings on). Time is the number of the segment. All filters are causal and act
as Toeplitz matrices over the at most 16 segments, so there is no loop over time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redheart.model.depth import Depths
from redheart.model.modules.blocks import Projection, masked_mean
from redheart.model.presets import ModelDimensions
from redheart.tasks import EMOTIONS

#: Taps of the learned finite filters: stories have a handful of segments, and a tap beyond their length is never used.
TAPS = 3


class SignalFilters(nn.Module):
    """A filter bank and a resonator a channel, by their impulse responses.

    The resonator's is that of a two-pole filter, ``h[n] = r^n cos(omega n + phi)`` (Oppenheim & Schafer,
    *Discrete-Time Signal Processing*, §5.1), cut at the length of the sequence, which is exact there.
    """

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.taps = nn.Parameter(torch.empty(channels, TAPS))
        nn.init.normal_(self.taps, std=TAPS**-0.5)
        self.damping = nn.Parameter(torch.linspace(-1.0, 1.0, channels))
        self.frequency = nn.Parameter(torch.linspace(0.2, 2.0, channels))
        # Not zero: at phase zero the cosine's slope, and with it the phase's first gradient, would vanish.
        self.phase = nn.Parameter(torch.full((channels,), 0.3))

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, segments, channels) -> band-filtered and resonating signal, both of that shape."""
        segments = signal.shape[1]
        time = torch.arange(segments, device=signal.device)
        lag = time[:, None] - time[None, :]
        steps = time.to(torch.float32)
        ring = torch.sigmoid(self.damping.float())[:, None] ** steps * torch.cos(
            self.frequency.float()[:, None] * steps + self.phase.float()[:, None]
        )
        band = F.pad(self.taps.float(), (0, self.length - TAPS))[:, :segments]
        kernels = torch.stack((band, ring))[:, :, lag.clamp(min=0)] * (lag >= 0)
        filtered = torch.einsum("kcts,bsc->kbtc", kernels.to(signal.dtype), signal)
        return filtered[0], filtered[1]


class DspSimulator(nn.Module):
    """Emotion signal -> envelope -> filter bank and resonance -> features for the emotion head, own prediction."""

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        channels = dims.signal_channels
        self.source = nn.Sequential(
            Projection(dims.d_model, dims.signal_width), nn.GELU(), Projection(dims.signal_width, channels)
        )
        self.attack = nn.Parameter(torch.linspace(0.0, 2.0, channels))
        self.decay = nn.Parameter(torch.linspace(-4.0, -1.0, channels))
        self.filters = SignalFilters(channels, dims.max_segments)
        self.trajectory = Projection(2 * channels, len(EMOTIONS), gain=0.1)
        # The heads alone read these features.
        self.summarise = Projection(4 * channels, dims.signal_width) if dims.has("heads") else nn.Identity()

    def forward(self, hidden: Tensor, segment_mask: Tensor) -> tuple[Tensor, Tensor]:
        """H (batch, segments, d_model), mask (batch, segments) of the story's course -> features and prediction.

        Returns:
            Features (batch, signal_width), and the mean over the story of the emotion trajectory, as logits over the
            prior (batch, 7).
        """
        # What is masked – the text whole, padding – stands at the end and the filters are causal: it reaches no segment.
        signal = self.source(hidden)
        band, ring = self.filters(signal * self.envelope(signal))
        response = torch.cat((band, F.gelu(ring)), dim=-1)
        mean = masked_mean(response, segment_mask)
        energy = torch.log1p(masked_mean(response.float().square(), segment_mask)).to(mean.dtype)
        # The trajectory is linear in the response, so the mean of the trajectory is the trajectory of the mean.
        return self.summarise(torch.cat((mean, energy), dim=-1)), self.trajectory(mean)

    def place(self, depths: Depths, after: int) -> int:
        depths.chain(self.trajectory, after=0)
        return depths.chain(self.source, (self.attack, self.decay, self.filters), self.summarise, after=after)

    def envelope(self, signal: Tensor) -> Tensor:
        """Attack and exponential decay by channel: (segments, channels), in 0..1."""
        time = torch.arange(signal.shape[1], device=signal.device, dtype=torch.float32).unsqueeze(-1)
        rise = 1.0 - torch.exp(-F.softplus(self.attack.float()) * (time + 1.0))
        return (rise * torch.exp(-F.softplus(self.decay.float()) * time)).to(signal.dtype)
