from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from aura_model.batch import Batch
from aura_model.config import Config, ModelConfig
from aura_model.model import ModelOutput, MultimodalModel
from training.objective import Objective, modality_loss

B, T, D = 4, 3, 8
LABELS = torch.tensor([0, 1, 1, 0])


class FakeModel(MultimodalModel):
    """Gives a prepared output."""

    def __init__(self, config: ModelConfig, output: ModelOutput) -> None:
        super().__init__(config)
        self.output = output

    def forward_full(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        *,
        video_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
    ) -> ModelOutput:
        return self.output


def cross_entropy(logits: Tensor, rows: list[int]) -> Tensor:
    return torch.nn.functional.cross_entropy(logits[rows], LABELS[rows])


@pytest.fixture
def output() -> ModelOutput:
    draw = torch.Generator().manual_seed(0)
    logits, video, audio = torch.randn(3, B, 2, generator=draw)
    features = torch.randn(B, T, D, generator=draw)
    return ModelOutput(logits=logits, video_logits=video, audio_logits=audio, heatmap=None, video_features=features)


@pytest.fixture
def batch() -> Batch:
    return Batch(
        video=torch.zeros(B, T, 3, 4, 4, dtype=torch.uint8),
        audio=torch.zeros(B, 64, 3),
        video_mask=torch.tensor([True, True, True, False]),
        audio_mask=torch.tensor([True, False, False, True]),
    )


def test_each_modality_is_judged_on_the_clips_that_have_it(output: ModelOutput, batch: Batch) -> None:
    assert output.video_logits is not None
    assert output.audio_logits is not None
    expected = cross_entropy(output.video_logits, [0, 1, 2]) + cross_entropy(output.audio_logits, [0, 3])
    torch.testing.assert_close(modality_loss(output, batch, LABELS), expected)


def test_a_modality_that_no_clip_has_costs_nothing(output: ModelOutput, batch: Batch) -> None:
    bare = ModelOutput(output.logits, None, None, None, None)
    assert modality_loss(bare, batch, LABELS) == 0


@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("consistency", [0.0, 0.5])
def test_the_loss_is_the_weighted_sum_of_its_parts(
    make_config: Callable[..., Config], output: ModelOutput, batch: Batch, weight: float, consistency: float
) -> None:
    config = make_config(
        f"model.fusion.temporal_consistency_loss={{enabled: {str(consistency > 0).lower()}, weight: {consistency}}}"
    )
    model = FakeModel(config.model, output)
    assert output.video_features is not None
    expected = (
        cross_entropy(output.logits, [0, 1, 2, 3])
        + weight * modality_loss(output, batch, LABELS)
        + consistency * model.compute_temporal_consistency_loss(output.video_features, batch.video_mask)
    )
    torch.testing.assert_close(Objective(model, weight)(batch, LABELS), expected)
    if consistency:
        assert expected > cross_entropy(output.logits, [0, 1, 2, 3]) + weight * modality_loss(output, batch, LABELS)


def test_consistency_needs_pictures(make_config: Callable[..., Config], output: ModelOutput, batch: Batch) -> None:
    config = make_config("model.fusion.temporal_consistency_loss={enabled: true, weight: 1}")
    heard = ModelOutput(output.logits, None, output.audio_logits, None, None)
    loss = Objective(FakeModel(config.model, heard), 0.0)(batch, LABELS)
    torch.testing.assert_close(loss, cross_entropy(output.logits, [0, 1, 2, 3]))
