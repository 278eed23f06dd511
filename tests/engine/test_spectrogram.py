"""The STFT and its inverse are a pair at every length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectacles_engine.spectrogram import Stft


@pytest.mark.parametrize(("n_fft", "stft_hop"), [(4096, 1024), (6144, 1024), (7680, 1024), (16384, 1024), (512, 256)])
@pytest.mark.parametrize("samples", [0, 1, 100, 2048, 2049, 8192, 8193, 44_101])
def test_the_inverse_gives_the_waveform_back(n_fft: int, stft_hop: int, samples: int) -> None:
    stft = Stft(n_fft, stft_hop)
    waveform = torch.randn(3, 2, samples, generator=torch.Generator().manual_seed(0))
    spectrogram = stft.forward(waveform)
    assert spectrogram.shape[:3] == (3, 2, stft.bins)
    torch.testing.assert_close(stft.inverse(spectrogram, samples), waveform, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("n_fft", "stft_hop"), [(4096, 1024), (7680, 1024)])
def test_the_inverse_is_that_of_torch_also_of_what_is_no_stft(n_fft: int, stft_hop: int) -> None:
    stft = Stft(n_fft, stft_hop)
    kept = torch.randn(2, 300, 40, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.pad(kept, (0, 0, 0, stft.bins - 300))
    expected = torch.istft(whole, n_fft, stft_hop, window=torch.hann_window(n_fft), length=39 * stft_hop)
    torch.testing.assert_close(stft.inverse(kept, 39 * stft_hop), expected, rtol=0, atol=1e-6)


def test_a_single_waveform_needs_no_leading_axis() -> None:
    stft = Stft(1024, 256)
    waveform = torch.randn(5000)
    spectrogram = stft.forward(waveform)
    assert spectrogram.shape == (513, 5000 // 256 + 1)
    torch.testing.assert_close(stft.inverse(spectrogram, 5000), waveform, rtol=0, atol=1e-5)


def test_frames_are_centred_and_the_window_is_a_periodic_hann() -> None:
    """An impulse at the centre of frame 4 has a flat spectrum of height w(n_fft / 2) = 1 there, and real phase."""
    stft = Stft(1024, 256)
    waveform = torch.zeros(4096)
    waveform[4 * 256] = 1
    frame = stft.forward(waveform)[:, 4]
    np.testing.assert_allclose(frame.abs().numpy(), 1, atol=1e-5)


def test_gradients_flow_through_the_pair() -> None:
    stft = Stft(512, 128)
    waveform = torch.randn(2, 3000, requires_grad=True)
    energy = stft.inverse(stft.forward(waveform), 3000).square().sum()
    (gradient,) = torch.autograd.grad(energy, waveform)
    torch.testing.assert_close(gradient, 2 * waveform.detach(), rtol=1e-3, atol=1e-3)
