"""The detector: a video encoder, an audio encoder, their fusion and the heads.

Letters: B samples, T frames, D hidden size, M windows of sound, h x w the feature map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aura_model.config import ModelConfig
from aura_model.encoders import AudioEncoder, Encoded, VideoEncoder
from aura_model.fusion import Modality, build_fusion
from aura_model.losses import TemporalConsistencyLoss


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """All that one forward pass can tell. Class 1 is fake."""

    logits: Tensor
    """[B, 2], from all that the sample has."""
    video_logits: Tensor | None
    """[B, 2] by the pictures alone, zeros for samples without them; None where no sample has any."""
    audio_logits: Tensor | None
    """[B, 2] by the sound alone, likewise."""
    heatmap: Tensor | None
    """[B, T, h, w] the log-odds that each place of the crop was forged, by a head of its own; zeros for samples without
    video. It means something where training knew the places, see `training.optim.objective`. None where the backbone
    has no grid."""
    video_features: Tensor | None
    """[B, T, D] embeddings of the frames, zeros for samples without video; None where no sample has any."""


class MultimodalModel(nn.Module):
    """Face and voice to real or fake, with either of the two missing for any sample.

    An encoder runs on just the samples that have its modality, so that batch normalisation never sees the filler.

    For distributed training: a batch without sound leaves the parameters of `audio` and `audio_head` without a
    gradient, one without pictures those of `video` and `video_head`, one without known places those of `map_head`, and
    `forward` alone those of all heads but `head`; with a `place_weight`, `map_head` has one where there are pictures.
    Ranks may differ in this, so set `find_unused_parameters=True`. A wrapper hooks `forward` only: to train on
    `forward_full`, wrap a module whose `forward` calls it.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build the network that `config` describes.

        Raises:
            ConfigError: the backbone cannot be had, see `Backbone`.
        """
        super().__init__()
        self.config = config
        dim = config.fusion.hidden_dim
        self.video = VideoEncoder(config)
        self.audio = AudioEncoder(config)
        self.fusion = build_fusion(config.fusion.strategy, dim, config.fusion.dropout)
        self.head = nn.Linear(dim, config.num_classes)
        self.video_head = nn.Linear(dim, config.num_classes)
        self.audio_head = nn.Linear(dim, config.num_classes)
        self.map_head = nn.Linear(dim, 1)
        self.temporal_consistency = TemporalConsistencyLoss()

    def forward(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        *,
        video_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, 2] of real and fake.

        Args:
            video: [B, T, 3, H, W] RGB crops, uint8 or float 0..1; None where no sample has any.
            audio: [B, n_mels, M] log-mel from `LogMel`; None where no sample has any.
            video_mask: bool [B], False where the sample has no video; all True where None.
            audio_mask: bool [B], likewise for sound.

        Raises:
            ValueError: wrong shapes, or a sample with neither video nor audio.
        """
        return self.forward_full(video, audio, video_mask=video_mask, audio_mask=audio_mask).logits

    def extract_features(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        *,
        video_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
    ) -> Tensor:
        """The fused embedding [B, D] under the head; arguments and errors as in `forward`."""
        pictures, sound = self._encode(video, audio, video_mask, audio_mask)
        embedding: Tensor = self.fusion(pictures, sound)
        return embedding

    def forward_full(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        *,
        video_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
    ) -> ModelOutput:
        """Everything at once; arguments and errors as in `forward`."""
        pictures, sound = self._encode(video, audio, video_mask, audio_mask)
        heatmap = self._heatmap(pictures)
        places = self._worst_place(heatmap)
        seen = _judge(self.video_head, pictures)
        return ModelOutput(
            logits=self.head(self.fusion(pictures, sound)) + places,
            video_logits=None if seen is None else seen + places,
            audio_logits=_judge(self.audio_head, sound),
            heatmap=heatmap,
            video_features=pictures.tokens if pictures.available else None,
        )

    @property
    def temporal_consistency_weight(self) -> float:
        """The weight of `compute_temporal_consistency_loss` in training; 0 where the loss is switched off."""
        loss = self.config.fusion.temporal_consistency_loss
        return loss.weight if loss.enabled else 0.0

    def compute_temporal_consistency_loss(self, video_features: Tensor, video_mask: Tensor | None = None) -> Tensor:
        """The unweighted loss of `ModelOutput.video_features` [B, T, D]; see `TemporalConsistencyLoss`."""
        loss: Tensor = self.temporal_consistency(video_features, video_mask)
        return loss

    def _encode(
        self, video: Tensor | None, audio: Tensor | None, video_mask: Tensor | None, audio_mask: Tensor | None
    ) -> tuple[Modality, Modality]:
        _check_shapes(video, audio, self.config.audio.n_mels)
        video_present, audio_present = _presence((video, video_mask), (audio, audio_mask))
        return (
            self._look(self.video, video, video_present),
            self._look(self.audio, audio, audio_present),
        )

    def _look(self, encoder: nn.Module, inputs: Tensor | None, present: Tensor) -> Modality:
        rows = present.nonzero().flatten()
        if inputs is None or not len(rows):
            return Modality.absent(present, self.config.fusion.hidden_dim)
        encoded: Encoded = encoder(inputs if len(rows) == len(inputs) else inputs[rows])
        return Modality(
            present,
            pooled=_spread(encoded.pooled, rows, len(present)),
            tokens=_spread(encoded.tokens, rows, len(present)),
            feature_map=None if encoded.feature_map is None else _spread(encoded.feature_map, rows, len(present)),
        )

    def _heatmap(self, pictures: Modality) -> Tensor | None:
        if pictures.feature_map is None:
            return None
        return _blank(self.map_head(pictures.feature_map).squeeze(-1), pictures.present)

    def _worst_place(self, heatmap: Tensor | None) -> Tensor | float:
        """What the most suspicious place of a clip adds to its logits, [B, 2]; its log-odds count `place_weight` times.

        A detector that looks at places finds the fakes of unknown generators better than one that looks at the whole
        face (Chai et al., 2020).
        """
        weight = self.config.video.place_weight
        if heatmap is None or not weight:
            return 0.0
        evidence = weight / 2 * heatmap.amax((1, 2, 3))
        return torch.stack([-evidence, evidence], -1)


def _check_shapes(video: Tensor | None, audio: Tensor | None, n_mels: int) -> None:
    if video is not None and (video.ndim != 5 or video.shape[2] != 3):
        raise ValueError(f"video must be [B, T, 3, H, W], got {list(video.shape)}")
    if audio is not None and (audio.ndim != 3 or audio.shape[1] != n_mels):
        raise ValueError(f"audio must be [B, {n_mels}, M], got {list(audio.shape)}")
    if video is not None and audio is not None and len(video) != len(audio):
        raise ValueError(f"video has {len(video)} samples and audio {len(audio)}")


def _presence(*sides: tuple[Tensor | None, Tensor | None]) -> tuple[Tensor, Tensor]:
    """Which samples have video and which have audio, bool [B] each."""
    given = next((values for values, _ in sides if values is not None), None)
    if given is None:
        raise ValueError("both modalities are None: a batch needs video or audio")
    video, audio = (_mask(values, mask, given) for values, mask in sides)
    neither = (~(video | audio)).nonzero().flatten().tolist()
    if neither:
        raise ValueError(f"samples {neither} have neither video nor audio")
    return video, audio


def _mask(values: Tensor | None, mask: Tensor | None, given: Tensor) -> Tensor:
    if values is None:
        return torch.zeros(len(given), dtype=torch.bool, device=given.device)
    if mask is None:
        return torch.ones(len(given), dtype=torch.bool, device=given.device)
    if mask.shape != given.shape[:1] or mask.dtype != torch.bool:
        raise ValueError(f"a mask must be bool [{len(given)}], got {mask.dtype} {list(mask.shape)}")
    return mask


def _spread(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """[n, ...] of the samples `rows` to [count, ...] with zeros for the others."""
    if len(values) == count:
        return values
    return values.new_zeros((count, *values.shape[1:])).index_put((rows,), values)


def _blank(values: Tensor, present: Tensor) -> Tensor:
    """The same values with zeros for samples that lack the modality."""
    return torch.where(present.view(-1, *[1] * (values.ndim - 1)), values, torch.zeros_like(values))


def _judge(head: nn.Module, side: Modality) -> Tensor | None:
    return _blank(head(side.pooled), side.present) if side.available else None
