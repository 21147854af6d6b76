"""Temporal encoders: from the frames of a clip, [B, T, D], to one vector a clip, [B, D]."""

import math

import torch
from torch import Tensor, nn

from aura_model.config import Temporal

HEADS = 4
"""Attention heads; the hidden size is a multiple of 8."""
LAYERS = 2


def build_temporal(kind: Temporal, dim: int, dropout: float) -> nn.Module:
    """The encoder that `model.video.temporal` names; each takes [B, T, D] of any T and gives [B, D]."""
    match kind:
        case "avg_pool":
            return AveragePool()
        case "temporal_conv":
            return TemporalConv(dim, dropout)
        case "transformer":
            return TemporalTransformer(dim, dropout)


def time_code(times: Tensor, dim: int) -> Tensor:
    """Sines and cosines of `times` [L] as [L, dim] (Vaswani et al., 2017); `dim` is even."""
    rates = torch.exp(torch.arange(0, dim, 2, device=times.device) * (-math.log(10_000.0) / dim))
    angles = times[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class AveragePool(nn.Module):
    """The mean over the frames, whatever their number and order."""

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, D] to [B, D]."""
        return frames.mean(dim=1)


class TemporalConv(nn.Module):
    """Residual convolutions over time, three frames wide, then the mean."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(LAYERS))
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, kernel_size=3, padding=1) for _ in range(LAYERS))
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, D] to [B, D]."""
        for norm, conv in zip(self.norms, self.convs, strict=True):
            mixed = conv(norm(frames).transpose(1, 2)).transpose(1, 2)
            frames = frames + self.dropout(nn.functional.gelu(mixed))
        return frames.mean(dim=1)


class TemporalTransformer(nn.Module):
    """Self-attention between the frames with a code of their order, then the mean."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            dim, HEADS, dim_feedforward=2 * dim, dropout=dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, norm=nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, D] to [B, D]."""
        order = time_code(torch.arange(frames.shape[1], device=frames.device, dtype=torch.float32), frames.shape[2])
        encoded: Tensor = self.layers(frames + order.to(frames.dtype))
        return encoded.mean(dim=1)
