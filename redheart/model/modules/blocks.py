"""Building blocks that every part of the model shares: projections, attention, feed-forward, pooling.

Two rules hold everywhere here. No parameter is dead by mathematics: attention has no biases (softmax cancels a key's,
and the output projection absorbs a value's). And padding is never attended to, so it influences nothing.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redheart.model.depth import Depths
from redheart.model.modules.activation_checkpointing import RecomputableBlock


class Projection(nn.Linear):
    """A linear layer with LeCun initialisation (LeCun et al. 1998, *Efficient BackProp*, §4.6) times ``gain``.

    Args:
        gain: 1 keeps the variance of the input; 0 starts at zero, which is only right where the layer's input does not
            depend on trained parameters.
    """

    def __init__(self, d_in: int, d_out: int, *, bias: bool = True, gain: float = 1.0) -> None:
        self.gain = gain
        super().__init__(d_in, d_out, bias=bias)

    def reset_parameters(self) -> None:
        if self.gain:
            nn.init.normal_(self.weight, std=self.gain * self.in_features**-0.5)
        else:
            nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class FeedForward(nn.Module):
    """Pre-norm residual feed-forward layer of hidden width ``4 * width``."""

    def __init__(self, width: int, dropout: float, *, residual_gain: float = 1.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = Projection(width, 4 * width)
        self.contract = Projection(4 * width, width, gain=residual_gain)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        hidden: Tensor = self.contract(F.gelu(self.expand(self.norm(x))))
        result: Tensor = x + self.dropout(hidden)
        return result

    def place(self, depths: Depths, after: int) -> int:
        return depths.chain((self.norm, self.expand, self.contract), after=after)


class SelfAttention(nn.Module):
    """Pre-norm residual multi-head self-attention over real segments."""

    def __init__(self, width: int, heads: int, dropout: float, *, residual_gain: float = 1.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = Projection(width, 3 * width, bias=False)
        self.out = Projection(width, width, bias=False, gain=residual_gain)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, attend: Tensor) -> Tensor:
        """(batch, segments, width), (batch, 1, 1, segments) bool -> (batch, segments, width)."""
        batch, segments, width = x.shape
        projected = self.query_key_value(self.norm(x)).view(batch, segments, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attend)
        result: Tensor = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, segments, width)))
        return result

    def place(self, depths: Depths, after: int) -> int:
        return depths.chain((self.norm, self.query_key_value, self.out), after=after)


class EncoderBlock(RecomputableBlock):
    """One layer of a pre-norm transformer encoder (Xiong et al. 2020, arXiv 2002.04745)."""

    def __init__(self, width: int, heads: int, dropout: float, *, residual_gain: float = 1.0) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads, dropout, residual_gain=residual_gain)
        self.feed_forward = FeedForward(width, dropout, residual_gain=residual_gain)

    def compute(self, x: Tensor, attend: Tensor) -> Tensor:
        """(batch, segments, width), (batch, 1, 1, segments) bool -> (batch, segments, width)."""
        mixed: Tensor = self.feed_forward(self.attention(x, attend))
        return mixed

    def place(self, depths: Depths, after: int) -> int:
        return depths.chain((self.attention, self.feed_forward), after=after)


class CrossBlock(RecomputableBlock):
    """Queries attend to themselves and to a memory, then pass a feed-forward layer (pre-norm, residual)."""

    def __init__(self, width: int, heads: int, dropout: float, *, residual_gain: float = 1.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = Projection(width, width, bias=False)
        self.key_value = Projection(width, 2 * width, bias=False)
        self.out = Projection(width, width, bias=False, gain=residual_gain)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = FeedForward(width, dropout, residual_gain=residual_gain)

    def compute(self, queries: Tensor, memory: Tensor, attend: Tensor) -> Tensor:
        """(batch, queries, width), normed (batch, segments, width), (batch, 1, 1, queries + segments) -> queries."""
        batch, count, width = queries.shape
        normed = self.norm(queries)
        query = self.query(normed).view(batch, count, self.heads, -1).transpose(1, 2)
        source = torch.cat((normed, memory), dim=1)
        key, value = (
            self.key_value(source).view(batch, source.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attend)
        queries = queries + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, count, width)))
        result: Tensor = self.feed_forward(queries)
        return result

    def place(self, depths: Depths, after: int) -> int:
        return depths.chain((self.norm, self.query, self.key_value, self.out, self.feed_forward), after=after)


class AttentionPool(nn.Module):
    """``pools`` learned queries, each reading one vector off a sequence."""

    def __init__(self, width: int, heads: int, pools: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(torch.empty(heads, pools, width // heads))
        self.key_value = Projection(width, 2 * width, bias=False)
        nn.init.normal_(self.queries, std=0.5)

    def forward(self, x: Tensor, attend: Tensor) -> Tensor:
        """(batch, segments, width), (batch, 1, 1, segments) bool -> (batch, pools, width)."""
        batch, segments, width = x.shape
        key, value = self.key_value(x).view(batch, segments, 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        query = self.queries.to(key.dtype).expand(batch, -1, -1, -1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attend)
        return mixed.transpose(1, 2).reshape(batch, -1, width)

    def place(self, depths: Depths, after: int) -> int:
        return depths.chain((self.queries, self.key_value), after=after)


def sinusoidal_positions(positions: Tensor, width: int) -> Tensor:
    """Sines and cosines of the positions (Vaswani et al. 2017, arXiv 1706.03762, §3.5), scaled to small rows.

    They are computed, not learned: a learned row for a position that no story reaches would be a dead parameter.

    Args:
        positions: (batch, segments) int.

    Returns:
        (batch, segments, width) float32.
    """
    half = width // 2
    rates = torch.exp(torch.arange(half, device=positions.device, dtype=torch.float32) * (-math.log(100.0) / half))
    angles = positions.to(torch.float32).unsqueeze(-1) * rates
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``x`` (batch, segments, width) over where ``mask`` (batch, segments) holds; zero if nowhere."""
    weight = mask.to(x.dtype)
    total = torch.einsum("bsd,bs->bd", x, weight)
    return total / weight.sum(dim=1, keepdim=True).clamp(min=1.0)


def attention_mask(segment_mask: Tensor) -> Tensor:
    """(batch, segments) True = real -> (batch, 1, 1, segments) True = attended to.

    A row without any real segment attends everywhere: its result is meaningless but finite, so that a filler row can
    stand in a batch (its targets are masked) and no softmax over nothing yields NaN.
    """
    return (segment_mask | ~segment_mask.any(dim=1, keepdim=True))[:, None, None, :]
