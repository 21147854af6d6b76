"""What one training step minimises."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from aura_model.batch import Batch
from aura_model.losses import detection_loss, place_loss
from aura_model.model import ModelOutput, MultimodalModel
from training.targets import Targets


class Objective(nn.Module):
    """Batch and targets to the loss. A module, because data-parallel wrappers hook `forward` and nothing else.

    The loss is a mean over clips of what each clip costs by itself: the loss of all that it has, those of its pictures
    and of its sound alone, that of the heat-map, and the change between its frames. So the mean over parts of a batch,
    each weighted with its clips, is that of the whole batch, whichever clips lack a modality or known places.
    """

    class_weights: Tensor

    def __init__(
        self,
        model: MultimodalModel,
        modality_weight: float,
        smoothing: float = 0.0,
        class_weights: tuple[float, float] = (1.0, 1.0),
        place_weight: float = 0.0,
    ) -> None:
        """Train `model`.

        Args:
            model: the bare network.
            modality_weight: of each modality's own loss.
            smoothing: see `detection_loss`.
            class_weights: of real and of fake clips.
            place_weight: of the heat-map's loss over the clips whose forged places are known.
        """
        super().__init__()
        self.model = model
        self._modality_weight = modality_weight
        self._smoothing = smoothing
        self._place_weight = place_weight
        self.register_buffer("class_weights", torch.tensor(class_weights), persistent=False)

    def forward(self, batch: Batch, targets: Targets) -> Tensor:
        """The scalar loss of a batch."""
        labels = targets.labels
        output = self.model.forward_full(
            batch.video, batch.audio, video_mask=batch.video_mask, audio_mask=batch.audio_mask
        )
        loss = self._detection(output.logits, labels)
        if self._modality_weight:
            loss = loss + self._modality_weight * self._modalities(output, batch, labels)
        weight = self.model.temporal_consistency_weight
        if weight and output.video_features is not None:
            change = self.model.compute_temporal_consistency_loss(output.video_features, batch.video_mask)
            loss = loss + weight * change * _share(batch.video_mask)
        if self._place_weight and output.heatmap is not None:
            loss = loss + self._place_weight * _places(output.heatmap, targets)
        return loss

    def _modalities(self, output: ModelOutput, batch: Batch, labels: Tensor) -> Tensor:
        """The losses by pictures alone and by sound alone, summed over the clips that have them, over all clips."""
        loss = output.logits.new_zeros(())
        if output.video_logits is not None:
            loss = loss + self._detection(output.video_logits, labels, batch.video_mask)
        if output.audio_logits is not None:
            loss = loss + self._detection(output.audio_logits, labels, batch.audio_mask)
        return loss

    def _detection(self, logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
        loss = detection_loss(logits, labels, mask, class_weights=self.class_weights, smoothing=self._smoothing)
        return loss if mask is None else loss * _share(mask)


def _places(heatmap: Tensor, targets: Targets) -> Tensor:
    """The loss of the heat-map, summed over the clips whose places are known, over all clips."""
    if targets.places is None or targets.known is None:
        return heatmap.new_zeros(())
    return place_loss(heatmap, targets.places, targets.known) * _share(targets.known)


def _share(mask: Tensor) -> Tensor:
    """The share of samples that have something: turns a mean over them into one over all samples."""
    return mask.float().mean()


def class_weights(labels: Iterable[int]) -> tuple[float, float]:
    """Weights of real (0) and fake (1) samples that make both classes count alike; their mean over samples is 1.

    Raises:
        ValueError: a class without a sample.
    """
    listed = list(labels)
    fakes = sum(listed)
    reals = len(listed) - fakes
    if not reals or not fakes:
        raise ValueError(f"class weights need both classes, got {reals} real and {fakes} fake samples")
    return len(listed) / (2 * reals), len(listed) / (2 * fakes)
