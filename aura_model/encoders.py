"""Encoders of one modality; each sees only samples that have it.

Letters: n samples present, T frames, D hidden size, h x w the feature map, L tokens of a sample.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from aura_model.backbone import Backbone
from aura_model.config import ModelConfig
from aura_model.temporal import build_temporal

WIDTHS = (32, 64, 128, 256)
"""Channels of the audio convolutions."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """What an encoder makes of its samples."""

    pooled: Tensor
    """[n, D]"""
    tokens: Tensor
    """[n, L, D], in the order of time, evenly over the clip."""
    feature_map: Tensor | None = None
    """[n, T, h, w, D] of the video encoder; None where the backbone has no grid."""


class VideoEncoder(nn.Module):
    """Backbone per frame, linear projection, temporal encoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.fusion.hidden_dim
        self.backbone = Backbone(config.video.backbone, config.video.pretrained)
        self.project = nn.Linear(self.backbone.channels, dim)
        self.temporal = build_temporal(config.video.temporal, dim, config.fusion.dropout)

    def forward(self, video: Tensor) -> Encoded:
        """Crops [n, T, 3, H, W], uint8 or float 0..1."""
        samples, window = video.shape[:2]
        tokens, grid = self.backbone(video.flatten(0, 1))  # [n*T, h*w, C]
        places = self.project(tokens).unflatten(0, (samples, window))  # [n, T, h*w, D]
        frames = places.mean(dim=2)  # [n, T, D]
        return Encoded(
            pooled=self.temporal(frames),
            tokens=frames,
            feature_map=None if grid is None else places.unflatten(2, grid),
        )


class AudioEncoder(nn.Module):
    """A small convolutional network over the log-mel, trained from scratch."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # The last layer keeps the time: at 10 ms a window the tokens lie 80 ms apart.
        strides = ((2, 2), (2, 2), (2, 2), (2, 1))
        layers: list[nn.Module] = []
        channels = 1
        for width, stride in zip(WIDTHS, strides, strict=True):
            layers += [
                nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.convs = nn.Sequential(*layers)
        self.project = nn.Linear(channels, config.fusion.hidden_dim)

    def forward(self, audio: Tensor) -> Encoded:
        """Log-mel [n, n_mels, M]."""
        features = self.convs(audio.unsqueeze(1))  # [n, 256, n_mels/16, M/8]
        tokens = self.project(features.mean(dim=2).transpose(1, 2))  # [n, M/8, D]
        return Encoded(pooled=tokens.mean(dim=1), tokens=tokens)
