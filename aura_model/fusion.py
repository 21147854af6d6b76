"""Fusion: from what the encoders say to one embedding a sample, whichever modalities it has.

Letters: B samples, D hidden size, L tokens. The order of modalities is video, audio.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aura_model.config import Fusion
from aura_model.temporal import HEADS, time_code

TIME_STEPS = 64.0
"""The span of a clip in units of the time code."""


@dataclass(frozen=True, eq=False)
class Modality:
    """One modality of a whole batch; rows of samples without it hold zeros."""

    present: Tensor
    """bool [B]"""
    pooled: Tensor
    """[B, D]"""
    tokens: Tensor
    """[B, L, D], in the order of time, evenly over the clip."""
    feature_map: Tensor | None = None
    """[B, T, h, w, D] of the video; None where the backbone has no grid."""
    available: bool = True
    """Whether any sample has it."""

    @classmethod
    def absent(cls, present: Tensor, dim: int) -> "Modality":
        """The modality of a batch in which no sample has it: `present` is all False."""
        zeros = torch.zeros(len(present), 1, dim, device=present.device)
        return cls(present, zeros[:, 0], zeros, available=False)


def build_fusion(strategy: Fusion, dim: int, dropout: float) -> nn.Module:
    """The fusion that `model.fusion.strategy` names: two `Modality` to an embedding [B, D].

    Every sample must have one modality at least.
    """
    match strategy:
        case "concat":
            return ConcatFusion(dim, dropout)
        case "attention":
            return AttentionFusion(dim, dropout)
        case "cross_modal":
            return CrossModalFusion(dim, dropout)


class ConcatFusion(nn.Module):
    """Both embeddings side by side; a learned vector stands for a missing one."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.missing = nn.Parameter(torch.randn(2, dim) * 0.02)
        self.mix = _mix(2 * dim, dim, dropout)

    def forward(self, video: Modality, audio: Modality) -> Tensor:
        """[B, D]."""
        sides = [
            torch.where(side.present[:, None], side.pooled, missing)
            for side, missing in zip((video, audio), self.missing, strict=True)
        ]
        fused: Tensor = self.mix(torch.cat(sides, dim=1))
        return fused


class AttentionFusion(nn.Module):
    """A weighted mean of the embeddings; the weights come from the embeddings, and a missing one weighs nothing."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1, bias=False))
        self.mix = _mix(dim, dim, dropout)

    def forward(self, video: Modality, audio: Modality) -> Tensor:
        """[B, D]."""
        pooled = torch.stack([video.pooled, audio.pooled], dim=1)  # [B, 2, D]
        present = torch.stack([video.present, audio.present], dim=1)  # [B, 2]
        scores = self.score(pooled).squeeze(2).masked_fill(~present, float("-inf"))
        fused: Tensor = self.mix((scores.softmax(dim=1).unsqueeze(2) * pooled).sum(dim=1))
        return fused


class CrossModalFusion(nn.Module):
    """Each embedding attends to the frames and the sounds of the whole clip, which carry a code of their time.

    Frames and sounds of one moment carry the same code, so that lips and voice can be compared.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.kind = nn.Parameter(torch.randn(2, dim) * 0.02)
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, HEADS, dropout=dropout, batch_first=True)
        self.mix = _mix(dim, dim, dropout)

    def forward(self, video: Modality, audio: Modality) -> Tensor:
        """[B, D]."""
        queries = torch.stack([video.pooled, audio.pooled], dim=1) + self.kind  # [B, 2, D]
        keys = torch.cat([_timed(video) + self.kind[0], _timed(audio) + self.kind[1]], dim=1)  # [B, L, D]
        absent = torch.cat([~side.present[:, None].expand(side.tokens.shape[:2]) for side in (video, audio)], dim=1)
        keys = self.norm(keys)
        attended, _ = self.attention(self.norm(queries), keys, keys, key_padding_mask=absent, need_weights=False)
        present = torch.stack([video.present, audio.present], dim=1).unsqueeze(2)  # [B, 2, 1]
        fused: Tensor = self.mix(((queries + attended) * present).sum(dim=1) / present.sum(dim=1))
        return fused


def _timed(side: Modality) -> Tensor:
    length, dim = side.tokens.shape[1:]
    middles = (torch.arange(length, device=side.tokens.device) + 0.5) * (TIME_STEPS / length)
    return side.tokens + time_code(middles, dim).to(side.tokens.dtype)


def _mix(inputs: int, dim: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, dim), nn.GELU(), nn.Dropout(dropout))
