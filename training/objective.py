"""What one training step minimises."""

from torch import Tensor, nn

from aura_model.batch import Batch
from aura_model.losses import detection_loss
from aura_model.model import ModelOutput, MultimodalModel


class Objective(nn.Module):
    """Batch and labels to the loss. A module, because data-parallel wrappers hook `forward` and nothing else."""

    def __init__(self, model: MultimodalModel, modality_weight: float) -> None:
        """Train `model`; `modality_weight` is the weight of each modality's own loss."""
        super().__init__()
        self.model = model
        self._modality_weight = modality_weight

    def forward(self, batch: Batch, labels: Tensor) -> Tensor:
        """The scalar loss of a batch of B clips with `labels` int64 [B], 1 = fake."""
        output = self.model.forward_full(
            batch.video, batch.audio, video_mask=batch.video_mask, audio_mask=batch.audio_mask
        )
        loss = detection_loss(output.logits, labels) + self._modality_weight * modality_loss(output, batch, labels)
        weight = self.model.temporal_consistency_weight
        if weight and output.video_features is not None:
            loss = loss + weight * self.model.compute_temporal_consistency_loss(output.video_features, batch.video_mask)
        return loss


def modality_loss(output: ModelOutput, batch: Batch, labels: Tensor) -> Tensor:
    """The sum of the losses by pictures alone and by sound alone, each over the clips that have it."""
    loss = output.logits.new_zeros(())
    if output.video_logits is not None:
        loss = loss + detection_loss(output.video_logits, labels, batch.video_mask)
    if output.audio_logits is not None:
        loss = loss + detection_loss(output.audio_logits, labels, batch.audio_mask)
    return loss
