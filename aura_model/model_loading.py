"""A model ready to answer: drawn from the seed, or rebuilt from a checkpoint and the configuration stored in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aura_model.calibration import Calibration
from aura_model.checkpoint import Checkpoint, read_checkpoint
from aura_model.config import Config, ModelConfig
from aura_model.device import resolve_device
from aura_model.errors import CheckpointError, ConfigError
from aura_model.folding import fold_batch_norms
from aura_model.model import MultimodalModel
from aura_model.reply import ModelInfo
from aura_model.settings import parse_config

NAME = "multimodal_v1"
FOLD_WINDOWS = 64
"""Windows of sound in the example that is run once to see the layers in order."""
REBUILDS = (
    "model",
    "dataset.video.frame_rate",
    "dataset.video.temporal_window",
    "dataset.face.margin",
    "dataset.face.size",
    "dataset.audio",
)
"""The parts of a checkpoint's configuration that go with its weights: serving must do as training did."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to answer, and what goes with it."""

    model: MultimodalModel
    info: ModelInfo
    config: Config
    """The caller's configuration with what the checkpoint was trained on laid over: prepare clips with this one."""
    calibration: Calibration | None = None


def load_for_inference(checkpoint: Path | None, config: Config, device: str) -> LoadedModel:
    """A model in evaluation mode on `device`, without gradients.

    Without a checkpoint the model is untrained and drawn from `config.seed`. With one, the network is rebuilt from
    the configuration stored inside, and no pretrained weights are looked for. Torch's own random state stays as it is.

    Raises:
        CheckpointError: the file is missing, damaged or not Aura's.
        ConfigError: the backbone cannot be had, or the device is not there.
    """
    target = resolve_device(device)
    loaded = _untrained(config) if checkpoint is None else _trained(read_checkpoint(checkpoint), config)
    _speed_up(loaded.model.eval(), loaded.config.dataset.face.size)
    loaded.model.requires_grad_(False).to(target)
    return loaded


def _speed_up(model: MultimodalModel, size: int) -> None:
    """Fold batch normalisations away, which takes about a third off a forward pass on the CPU."""
    model.video.backbone.net = fold_batch_norms(model.video.backbone.net, torch.zeros(1, 3, size, size))
    audio = model.config.audio
    model.audio.convs = fold_batch_norms(model.audio.convs, torch.zeros(1, 1, audio.n_mels, FOLD_WINDOWS))


def _untrained(config: Config) -> LoadedModel:
    info = ModelInfo(name=NAME, version=f"untrained-seed{config.seed}", trained=False, calibrated=False)
    return LoadedModel(_build(config.model, config.seed), info, config)


def _trained(checkpoint: Checkpoint, config: Config) -> LoadedModel:
    effective = _effective(config, _stored_config(checkpoint))
    video = effective.model.video.model_copy(update={"pretrained": False})
    model = _build(effective.model.model_copy(update={"video": video}), config.seed)
    restore(model, checkpoint)
    version = f"{NAME}-{checkpoint.sha256[:12]}"
    calibrated = checkpoint.calibration is not None
    points = checkpoint.operating_points
    info = ModelInfo(name=NAME, version=version, trained=True, calibrated=calibrated, operating_points=points)
    return LoadedModel(model, info, effective, checkpoint.calibration)


def restore(model: MultimodalModel, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into `model`.

    Raises:
        CheckpointError: checkpoint_damaged where names or shapes differ, or a weight is not finite.
    """
    try:
        model.load_state_dict(dict(checkpoint.model_state_dict), strict=True)
    except RuntimeError as error:
        detail = " ".join(line.strip() for line in str(error).splitlines()[1:2])
        text = f"{checkpoint.path}: the weights do not fit the model: {detail:.300}"
        raise CheckpointError("checkpoint_damaged", text) from None
    for name, value in model.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError("checkpoint_damaged", f"{checkpoint.path}: {name} holds values that are not finite")


def _build(config: ModelConfig, seed: int) -> MultimodalModel:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reset the CUDA generators too
        return MultimodalModel(config)


def _stored_config(checkpoint: Checkpoint) -> Config:
    try:
        return parse_config(*(_branch(checkpoint.config, path.split(".")) for path in REBUILDS))
    except ConfigError as error:
        detail = f"{checkpoint.path}: its configuration does not fit this version of Aura: {error.detail}"
        raise CheckpointError("checkpoint_foreign", detail) from None


def _branch(tree: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    """Only the part of `tree` under `path`, nested as there; empty where there is none."""
    key, *rest = path
    if key not in tree:
        return {}
    value = tree[key]
    return {key: _branch(value, rest) if rest and isinstance(value, Mapping) else value}


def _effective(config: Config, stored: Config) -> Config:
    video = config.dataset.video.model_copy(
        update=stored.dataset.video.model_dump(include={"frame_rate", "temporal_window"})
    )
    face = config.dataset.face.model_copy(update=stored.dataset.face.model_dump(include={"margin", "size"}))
    dataset = config.dataset.model_copy(update={"video": video, "face": face, "audio": stored.dataset.audio})
    return config.model_copy(update={"model": stored.model, "dataset": dataset})
