"""The model with its optimiser: one training step and one evaluation step, without Ray."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from aura_model.batch import to_batch
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.model import MultimodalModel
from aura_model.scoring import log_odds
from training.objective import Objective


class Learner:
    """Trains a `MultimodalModel` on clips; `model` is the bare network, also under a data-parallel wrapper."""

    def __init__(self, config: Config, device: torch.device, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Build the seeded model on `device`; `wrap` makes its training module data-parallel."""
        torch.manual_seed(config.seed)
        self._config = config
        self._device = device
        self.model = MultimodalModel(config.model).to(device)
        self._objective = wrap(Objective(self.model, config.training.modality_loss_weight))
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.training.learning_rate, weight_decay=config.training.weight_decay
        )
        self._precision = amp_type(device) if config.training.use_amp else None
        self._scaler = torch.GradScaler(device.type, enabled=self._precision is torch.float16)

    def step(self, clips: Sequence[Clip], labels: Sequence[int], weight: float = 1.0) -> Tensor:
        """One optimiser step; returns the detached mean loss of these clips.

        Args:
            clips: at least one.
            labels: 1 = fake, one for each clip.
            weight: multiplies the loss before the backward pass, not in what is returned.
        """
        self._objective.train()
        self.optimizer.zero_grad()
        batch, target = to_batch(clips, self._config).to(self._device), torch.tensor(labels, device=self._device)
        with self._autocast():
            loss: Tensor = self._objective(batch, target)
        torch.autograd.backward(self._scaler.scale(loss * weight))
        self._scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self._config.training.gradient_clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return loss.detach()

    @torch.inference_mode()
    def logits(self, clips: Sequence[Clip]) -> list[float]:
        """The log-odds of fake of each clip, by the bare model in evaluation mode."""
        self.model.eval()
        batch = to_batch(clips, self._config).to(self._device)
        with self._autocast():
            logits = self.model(batch.video, batch.audio, video_mask=batch.video_mask, audio_mask=batch.audio_mask)
        return log_odds(logits)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=self._precision, enabled=self._precision is not None)


def amp_type(device: torch.device) -> torch.dtype | None:
    """The type of mixed precision on `device`: bfloat16 where a GPU has it, float16 on older ones, none on CPU."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
