from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from aura_model.config import Fusion
from aura_model.fusion import Modality, build_fusion

STRATEGIES = get_args(Fusion)
DIM = 16


def modality(present: list[bool], length: int, seed: int) -> Modality:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.tensor(present)
    tokens = torch.randn(len(present), length, DIM, generator=generator) * mask[:, None, None]
    return Modality(mask, pooled=tokens.mean(dim=1), tokens=tokens)


def with_filler(side: Modality, value: float) -> Modality:
    def fill(values: Tensor) -> Tensor:
        filled = values.clone()
        filled[~side.present] = value
        return filled

    return replace(side, pooled=fill(side.pooled), tokens=fill(side.tokens))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_missing_does_not_matter(strategy: Fusion) -> None:
    fusion = build_fusion(strategy, DIM, 0.2).eval()
    video, audio = modality([True, True, False], 4, 0), modality([True, False, True], 7, 1)
    expected = fusion(video, audio)
    assert expected.shape == (3, DIM)
    assert torch.isfinite(expected).all()
    assert torch.allclose(fusion(with_filler(video, 30.0), with_filler(audio, -30.0)), expected, atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_there_matters(strategy: Fusion) -> None:
    fusion = build_fusion(strategy, DIM, 0.2).eval()
    video, audio = modality([True, True, False], 4, 0), modality([True, False, True], 7, 1)
    expected = fusion(video, audio)
    other_video = (fusion(modality([True, True, False], 4, 2), audio) - expected).abs().amax(dim=1) > 1e-4
    other_audio = (fusion(video, modality([True, False, True], 7, 3)) - expected).abs().amax(dim=1) > 1e-4
    assert other_video.tolist() == [True, True, False]
    assert other_audio.tolist() == [True, False, True]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("absent_side", ["video", "audio"])
def test_absent_for_the_batch_is_absent_for_each_sample(strategy: Fusion, absent_side: str) -> None:
    fusion = build_fusion(strategy, DIM, 0.2).eval()
    there = modality([True, True], 4, 0)
    nowhere = Modality.absent(torch.tensor([False, False]), DIM)
    masked = with_filler(modality([False, False], 5, 1), 9.0)
    if absent_side == "video":
        assert torch.allclose(fusion(nowhere, there), fusion(masked, there), atol=1e-5)
    else:
        assert torch.allclose(fusion(there, nowhere), fusion(there, masked), atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gradients_stay_finite_where_one_is_missing(strategy: Fusion) -> None:
    fusion = build_fusion(strategy, DIM, 0.0)
    video, audio = modality([True, True, False], 4, 0), modality([True, False, True], 7, 1)
    video.tokens.requires_grad_()
    fusion(replace(video, pooled=video.tokens.mean(dim=1)), audio).square().sum().backward()
    assert video.tokens.grad is not None
    assert torch.isfinite(video.tokens.grad).all()
    assert (video.tokens.grad.abs().sum(dim=(1, 2)) > 0).tolist() == [True, True, False]


def test_concatenation_learns_a_vector_for_what_is_missing() -> None:
    fusion = build_fusion("concat", DIM, 0.0)
    fusion(modality([True, True], 4, 0), modality([True, False], 7, 1)).square().sum().backward()
    gradient = fusion.get_parameter("missing").grad
    assert gradient is not None
    assert gradient[0].abs().sum() == 0
    assert gradient[1].abs().sum() > 0


def test_attention_to_a_single_modality_is_that_modality() -> None:
    fusion = build_fusion("attention", DIM, 0.0).eval()
    video = modality([True, True], 4, 0)
    expected = fusion.get_submodule("mix")(video.pooled)
    assert torch.allclose(fusion(video, Modality.absent(torch.tensor([False, False]), DIM)), expected, atol=1e-6)


def test_cross_attention_sees_when_a_sound_is_heard() -> None:
    torch.manual_seed(0)
    fusion = build_fusion("cross_modal", DIM, 0.0).eval()
    video, audio = modality([True], 4, 0), modality([True], 7, 1)
    backwards = replace(audio, tokens=audio.tokens.flip(1))
    assert not torch.allclose(fusion(video, audio), fusion(video, backwards), atol=1e-5)
