"""The model with its optimiser: training steps, evaluation and all that an exact resume needs, without Ray."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aura_model.batch import Batch
from aura_model.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from aura_model.config import Config
from aura_model.errors import CheckpointError
from aura_model.model import MultimodalModel
from aura_model.model_loading import restore as restore_weights
from aura_model.scoring import log_odds
from training.optim.average import WeightAverage
from training.optim.freezing import Freeze
from training.optim.objective import Objective
from training.optim.schedules import Schedule
from training.targets import Targets


class Learner:
    """Trains a `MultimodalModel` on batches; `model` is the bare network, also under a data-parallel wrapper."""

    def __init__(
        self,
        config: Config,
        device: torch.device,
        wrap: Callable[[nn.Module], nn.Module],
        class_weights: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Build the seeded model on `device`.

        Args:
            config: the whole configuration.
            device: where the model lives.
            wrap: makes the training module data-parallel, with `find_unused_parameters`; identity for one worker.
            class_weights: of real and of fake clips in the loss, see `training.optim.objective.class_weights`.

        Raises:
            ConfigError: the backbone cannot be had, or not be frozen as asked.
        """
        torch.manual_seed(config.seed)
        training = config.training
        self._config, self._device = config, device
        self.model = MultimodalModel(config.model).to(device)
        lay_out(self.model.video.backbone.net, training.channels_last)
        self._average = WeightAverage(self.model, training.ema_decay) if training.ema_decay else None
        if training.compile:
            compile_encoders(self.model)
            compile_encoders(self.evaluated)
        objective = Objective(
            self.model,
            training.modality_loss_weight,
            training.label_smoothing,
            class_weights,
            training.place_loss_weight,
        )
        self._objective = wrap(objective.to(device))
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        self._schedule = Schedule(self.optimizer, training)
        self._freeze = Freeze(self.model.video.backbone, training.freeze)
        self._precision = amp_type(device) if training.use_amp else None
        self._scaler = torch.GradScaler(device.type, enabled=self._precision is torch.float16)
        self.steps = 0
        """Optimiser steps so far."""

    @property
    def evaluated(self) -> MultimodalModel:
        """The model that is validated and saved: the moving average, or `model` itself where there is none."""
        return self.model if self._average is None else self._average.model

    @property
    def learning_rate(self) -> float:
        """The rate of the next optimiser step, warm-up included."""
        return self._schedule.rate(self.steps)

    def begin_epoch(self, epoch: int) -> None:
        """Freeze or let go what `training.freeze` says; the first epoch, 1, starts from `training.start_from`.

        Raises:
            CheckpointError: that file cannot be used.
        """
        if epoch == 1:
            self._start()
        self._freeze.begin_epoch(epoch)

    def step(self, parts: Sequence[tuple[Batch, Targets]], weights: Sequence[float]) -> Tensor:
        """One optimiser step from the gradients of one or more forward passes.

        With weights of `clips of the part * workers / clips of all parts of all workers` the gradient is that of the
        mean over all those clips. Workers exchange gradients once, in the last part's backward pass.

        Args:
            parts: batches with their targets, on any device.
            weights: multiply the loss of each part before its backward pass, not in what is returned.

        Returns:
            The sum over parts of mean loss times clips, detached. It may be not finite: that is for the caller to see.
        """
        self._objective.train(any(weights))  # a blank step, which weighs nothing, must not move running statistics
        self._freeze.hold()
        self.optimizer.zero_grad()
        last = len(parts) - 1
        losses = [
            self._backward(batch, targets, weight, synchronised=index == last)
            for index, ((batch, targets), weight) in enumerate(zip(parts, weights, strict=True))
        ]
        self._scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self._config.training.gradient_clip)
        with self._schedule.warmed(self.steps):
            self._scaler.step(self.optimizer)
        self._scaler.update()
        if self._average is not None:
            self._average.update(self.steps)
        self.steps += 1
        return torch.stack(losses).sum()

    def end_epoch(self, monitored: float | None) -> None:
        """Set the learning rate of the next epoch; `monitored` is what a plateau is seen by, None if undefined."""
        self._schedule.end_epoch(monitored)

    @torch.inference_mode()
    def logits(self, batch: Batch) -> list[float]:
        """The log-odds of fake of each clip, by `evaluated` in evaluation mode."""
        model, batch = self.evaluated.eval(), batch.to(self._device)
        with self._autocast():
            logits = model(batch.video, batch.audio, video_mask=batch.video_mask, audio_mask=batch.audio_mask)
        return log_odds(logits)

    def save(self, path: Path, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Write a checkpoint of `evaluated`, with all that `restore` needs.

        Raises:
            TypeError: `metrics` holds something that is not plain data.
        """
        save_checkpoint(
            path,
            self.evaluated,
            self._config,
            epoch,
            metrics,
            optimizer=self.optimizer,
            scheduler=self._schedule.scheduler,
            training_state={
                "steps": self.steps,
                "weights": None if self._average is None else self.model.state_dict(),
                "scaler": self._scaler.state_dict(),
            },
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where the run that saved `checkpoint` stood: the next steps are the very same.

        The caller seeds dropout and chooses the batches. Settings of the run may differ: a moving average that the
        earlier run did not keep starts at its weights.

        Raises:
            CheckpointError: checkpoint_foreign: of another architecture or scheduler, or without the state of a
                training run; checkpoint_damaged: weights that are not finite, or a state that fits nothing.
        """
        state, optimizer = checkpoint.training_state_dict, checkpoint.optimizer_state_dict
        if state is None or optimizer is None:
            raise CheckpointError("checkpoint_foreign", f"{checkpoint.path}: holds no training to go on with")
        _check_architecture(self.model, checkpoint)
        if not self._schedule.fits(checkpoint.scheduler_state_dict):
            detail = f"{checkpoint.path}: was trained with another training.scheduler.name"
            raise CheckpointError("checkpoint_foreign", detail)
        restore_weights(self.evaluated, checkpoint)
        try:
            self.model.load_state_dict(state["weights"] or dict(checkpoint.model_state_dict))
            self.optimizer.load_state_dict(dict(optimizer))
            self._schedule.restore(checkpoint.scheduler_state_dict)
            self._scaler.load_state_dict(state["scaler"])
            self.steps = state["steps"]
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            detail = f"{checkpoint.path}: its training state cannot be taken up: {error}"
            raise CheckpointError("checkpoint_damaged", detail) from error

    def _start(self) -> None:
        """Not done before the first epoch: a run that goes on has weights of its own, and the file may be gone."""
        path = self._config.training.start_from
        if path is not None:
            checkpoint = read_checkpoint(path)
            for model in dict.fromkeys((self.model, self.evaluated)):
                restore_weights(model, checkpoint)

    def _backward(self, batch: Batch, targets: Targets, weight: float, synchronised: bool) -> Tensor:
        """Add the gradient of one part; its mean loss times its clips."""
        batch, targets = batch.to(self._device), targets.to(self._device)
        with nullcontext() if synchronised else self._alone():
            with self._autocast():
                loss: Tensor = self._objective(batch, targets)
            torch.autograd.backward(self._scaler.scale(loss * weight))
        return loss.detach() * len(targets)

    def _alone(self) -> AbstractContextManager[None]:
        """Within, a data-parallel wrapper keeps its gradients to itself."""
        context: AbstractContextManager[None] = getattr(self._objective, "no_sync", nullcontext)()
        return context

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=self._precision, enabled=self._precision is not None)


def amp_type(device: torch.device) -> torch.dtype | None:
    """The type of mixed precision on `device`: bfloat16 where a GPU has it, float16 on older ones, none on CPU."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def lay_out(net: nn.Module, channels_last: bool) -> None:
    """Keep the weights of a frame backbone, and the pictures it is given, in one memory format.

    The pictures as well, because a convolution follows whichever of the two is channels-last.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net.to(memory_format=layout)  # type: ignore[call-overload]
    net.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(memory_format=layout),))


def compile_encoders(model: MultimodalModel) -> None:
    """Compile the two encoders in place, which leaves the names of the weights as they are.

    Not the rest: how many samples have a modality differs from batch to batch, and is looked up on the host.
    """
    model.video.compile()
    model.audio.compile()


def _check_architecture(model: nn.Module, checkpoint: Checkpoint) -> None:
    ours = {name: value.shape for name, value in model.state_dict().items()}
    theirs = {name: value.shape for name, value in checkpoint.model_state_dict.items()}
    different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if different:
        detail = f"{checkpoint.path}: of another architecture; {len(different)} weights differ, such as {different[0]}"
        raise CheckpointError("checkpoint_foreign", detail)
