from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from aura_model.clips import Clip
from aura_model.config import Config
from training.learner import Learner, amp_type

CPU = torch.device("cpu")


def learner(config: Config) -> Learner:
    return Learner(config, CPU, lambda module: module)


@pytest.fixture
def clips(make_clip: Callable[..., Clip]) -> list[Clip]:
    return [make_clip(0), make_clip(1), make_clip(2, audio=False), make_clip(3, video=False)]


def parameters(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_the_loss_of_a_batch_falls_when_it_is_learned(make_config: Callable[..., Config], clips: list[Clip]) -> None:
    student = learner(make_config("training.learning_rate=0.01"))
    losses = [float(student.step(clips, [0, 1, 1, 0])) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]


def test_learned_clips_are_told_apart_by_their_logits(make_config: Callable[..., Config], clips: list[Clip]) -> None:
    student = learner(make_config("training.learning_rate=0.01"))
    for _ in range(30):
        student.step(clips, [0, 1, 1, 0])
    student.model.video.train()  # what a step leaves; `logits` must not depend on it
    real, fake, _, _ = student.logits(clips)
    assert real < fake


def test_the_seed_makes_the_model(make_config: Callable[..., Config], clips: list[Clip]) -> None:
    first, again, other = (learner(make_config(f"seed={seed}")).logits(clips) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_evaluation_changes_nothing(config: Config, clips: list[Clip]) -> None:
    student = learner(config)
    student.step(clips, [0, 1, 1, 0])
    before = {name: value.clone() for name, value in student.model.state_dict().items()}
    assert student.logits(clips) == student.logits(clips)
    for name, value in student.model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_clip_scores_the_same_in_any_company(config: Config, clips: list[Clip]) -> None:
    student = learner(config)
    together = student.logits(clips)
    assert together == pytest.approx([student.logits([clip])[0] for clip in clips], abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_the_weight_scales_the_gradient_and_not_the_reported_loss(
    make_config: Callable[..., Config], clips: list[Clip], weight: float
) -> None:
    config = make_config("training.gradient_clip=1e9", "training.modality_loss_weight=0.3")
    plain, weighted = learner(config), learner(config)
    assert float(plain.step(clips, [0, 1, 1, 0])) == float(weighted.step(clips, [0, 1, 1, 0], weight))
    for left, right in zip(plain.model.parameters(), weighted.model.parameters(), strict=True):
        assert left.grad is not None
        assert right.grad is not None
        torch.testing.assert_close(right.grad, weight * left.grad)


def test_gradients_are_clipped(make_config: Callable[..., Config], clips: list[Clip]) -> None:
    student = learner(make_config("training.gradient_clip=0.01"))
    student.step(clips, [0, 1, 1, 0])
    norms = [parameter.grad.norm() for parameter in student.model.parameters() if parameter.grad is not None]
    assert float(torch.stack(norms).norm()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("video", "audio"), [(True, False), (False, True)])
def test_a_batch_may_lack_a_modality(config: Config, make_clip: Callable[..., Clip], video: bool, audio: bool) -> None:
    student = learner(config)
    before = parameters(student.model)
    loss = student.step([make_clip(0, video, audio), make_clip(1, video, audio)], [0, 1])
    assert np.isfinite(float(loss))
    assert any(not torch.equal(old, new) for old, new in zip(before, student.model.parameters(), strict=True))


def test_training_goes_through_the_wrapper_and_evaluation_does_not(config: Config, clips: list[Clip]) -> None:
    calls: list[str] = []

    def wrap(module: nn.Module) -> nn.Module:
        module.register_forward_hook(lambda *_: calls.append("wrapped"))
        return module

    student = Learner(config, CPU, wrap)
    student.logits(clips)
    assert calls == []
    student.step(clips, [0, 1, 1, 0])
    assert calls == ["wrapped"]


@pytest.mark.parametrize(
    ("device", "bfloat16", "expected"),
    [("cpu", True, None), ("cuda", True, torch.bfloat16), ("cuda", False, torch.float16)],
)
def test_mixed_precision_is_for_gpus_only(device: str, bfloat16: bool, expected: torch.dtype | None) -> None:
    with patch("torch.cuda.is_bf16_supported", lambda including_emulation: bfloat16):
        assert amp_type(torch.device(device)) is expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("amp", ["true", "false"])
def test_a_gpu_learns_too(make_config: Callable[..., Config], clips: list[Clip], amp: str) -> None:
    config = make_config("training.learning_rate=0.01", f"training.use_amp={amp}")
    student = Learner(config, torch.device("cuda"), lambda module: module)
    losses = [float(student.step(clips, [0, 1, 1, 0])) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]
    assert student.logits(clips) == pytest.approx(
        [student.logits([clip])[0] for clip in clips], abs=0.1 if amp == "true" else 1e-3
    )
