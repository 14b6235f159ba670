"""The signal path: filters against a plain convolution, causal, blind to padding."""

from __future__ import annotations

import numpy as np
import torch

from redheart.model import dimensions
from redheart.model.modules.dsp import TAPS, DspSimulator, SignalFilters


def test_the_filters_are_convolutions_with_their_impulse_responses() -> None:
    torch.manual_seed(0)
    filters = SignalFilters(channels=4, length=16)
    signal = torch.randn(2, 11, 4)
    band, ring = (filtered.detach().numpy() for filtered in filters(signal))
    steps = np.arange(11)
    for channel in range(4):
        taps = filters.taps[channel].detach().numpy()
        radius = torch.sigmoid(filters.damping[channel]).item()
        response = radius**steps * np.cos(filters.frequency[channel].item() * steps + filters.phase[channel].item())
        for item in range(2):
            source = signal[item, :, channel].numpy()
            np.testing.assert_allclose(band[item, :, channel], np.convolve(source, taps)[:11], atol=1e-5)
            np.testing.assert_allclose(ring[item, :, channel], np.convolve(source, response)[:11], atol=1e-5)


def test_the_filters_never_look_ahead() -> None:
    torch.manual_seed(0)
    filters = SignalFilters(channels=4, length=16)
    signal = torch.randn(1, 8, 4)
    changed = signal.clone()
    changed[:, 5:] += 1.0
    for before, after in zip(filters(signal), filters(changed), strict=True):
        torch.testing.assert_close(before[:, :5], after[:, :5])
        assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_shapes_hold_from_one_segment_to_sixteen() -> None:
    dims = dimensions("tiny")
    module = DspSimulator(dims)
    for segments in (1, TAPS, 16):
        features, prediction = module(torch.randn(2, segments, dims.d_model), torch.ones(2, segments, dtype=torch.bool))
        assert features.shape == (2, dims.signal_width) and prediction.shape == (2, 7)


def test_what_stands_in_padding_is_not_heard() -> None:
    torch.manual_seed(0)
    dims = dimensions("tiny")
    module = DspSimulator(dims)
    hidden = torch.randn(2, 9, dims.d_model)
    mask = torch.arange(9)[None, :] < torch.tensor([9, 4])[:, None]
    loud = hidden.masked_fill(~mask.unsqueeze(-1), 1e3)
    for quiet, heard in zip(module(hidden, mask), module(loud, mask), strict=True):
        torch.testing.assert_close(quiet, heard)
