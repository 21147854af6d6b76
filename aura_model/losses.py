"""What training minimises."""

from torch import Tensor, nn


class TemporalConsistencyLoss(nn.Module):
    """How much the embedding of a face changes from one frame to the next: the mean of 1 - cosine.

    The cosine, and not the squared difference, because shrinking all embeddings must not lower the loss.
    """

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frame embeddings [B, T, D] to a scalar in 0..2; 0 for one frame or no sample.

        Args:
            frames: in the order of time.
            mask: bool [B], False for samples without video, which do not count.
        """
        rows = frames if mask is None else frames[mask]
        change = 1 - nn.functional.cosine_similarity(rows[:, 1:], rows[:, :-1], dim=2)
        return change.sum() / max(1, change.numel())


def detection_loss(logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cross-entropy of real (0) and fake (1) over the samples that have the modality; 0 where none has.

    Args:
        logits: [B, 2].
        labels: int64 [B].
        mask: bool [B], False for samples that do not count.
    """
    if mask is not None:
        logits, labels = logits[mask], labels[mask]
    return nn.functional.cross_entropy(logits, labels, reduction="sum") / max(1, len(labels))
