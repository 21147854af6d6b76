from typing import get_args

import pytest
import torch

from aura_model.config import Temporal
from aura_model.temporal import build_temporal, time_code

KINDS = get_args(Temporal)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [1, 2, 8, 64])
def test_any_number_of_frames_gives_one_vector(kind: Temporal, window: int) -> None:
    assert build_temporal(kind, 16, 0.1)(torch.randn(3, window, 16)).shape == (3, 16)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_do_not_mix(kind: Temporal) -> None:
    encoder = build_temporal(kind, 16, 0.1).eval()
    frames = torch.randn(3, 5, 16)
    expected = encoder(frames)[0]
    frames[1:] = 100
    assert torch.allclose(encoder(frames)[0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_counts(kind: Temporal) -> None:
    encoder = build_temporal(kind, 16, 0.0)
    frames = torch.randn(1, 5, 16, requires_grad=True)
    encoder(frames).square().sum().backward()
    assert frames.grad is not None
    assert bool((frames.grad.abs().sum(dim=2) > 0).all())


@pytest.mark.parametrize(("kind", "ordered"), [("avg_pool", False), ("temporal_conv", True), ("transformer", True)])
def test_who_sees_the_order(kind: Temporal, ordered: bool) -> None:
    torch.manual_seed(0)
    encoder = build_temporal(kind, 16, 0.0).eval()
    frames = torch.randn(2, 6, 16)
    assert torch.allclose(encoder(frames), encoder(frames.flip(1)), atol=1e-4) is not ordered


def test_the_average_is_the_mean() -> None:
    frames = torch.randn(2, 6, 16)
    assert torch.equal(build_temporal("avg_pool", 16, 0.5)(frames), frames.mean(dim=1))


@pytest.mark.parametrize("dim", [8, 16, 200])
def test_times_have_codes_of_their_own(dim: int) -> None:
    codes = time_code(torch.arange(64.0), dim)
    assert codes.shape == (64, dim)
    assert codes.abs().max() <= 1
    assert torch.cdist(codes, codes).add(10 * torch.eye(64)).min() > 0.1


def test_close_times_have_close_codes() -> None:
    codes = time_code(torch.tensor([10.0, 10.1, 20.0]), 16)
    assert torch.dist(codes[0], codes[1]) < torch.dist(codes[0], codes[2])
