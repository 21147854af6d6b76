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


def detection_loss(
    logits: Tensor,
    labels: Tensor,
    mask: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Weighted cross-entropy of real (0) and fake (1) over the samples that have the modality; 0 where none has.

    The sum of weight times loss is divided by the number of samples, not by the sum of their weights: so the losses
    of parts of a batch average to that of the whole.

    Args:
        logits: [B, 2].
        labels: int64 [B].
        mask: bool [B], False for samples that do not count.
        class_weights: float [2] for real and fake; 1 each where None.
        smoothing: share of each label that is spread over both classes (Szegedy et al., 2016), 0..1.
    """
    if mask is not None:
        logits, labels = logits[mask], labels[mask]
    losses = nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    weighted = losses if class_weights is None else losses * class_weights[labels]
    return weighted.sum() / max(1, len(labels))


def place_loss(heatmap: Tensor, places: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy between the log-odds of a heat-map and the share of each of its places that was forged.

    Args:
        heatmap: [B, T, h, w] log-odds.
        places: [B, T, S, S], 0..1; it is averaged down to the heat-map's grid.
        mask: bool [B], False for samples whose places are not known; 0 where none is.
    """
    found, truth = heatmap[mask], nn.functional.adaptive_avg_pool2d(places[mask], (heatmap.shape[2], heatmap.shape[3]))
    loss = nn.functional.binary_cross_entropy_with_logits(found, truth.to(found.dtype), reduction="sum")
    return loss / max(1, found.numel())
