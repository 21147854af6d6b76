"""What the driver must know of the model that will score, without keeping it."""

from dataclasses import dataclass

from aura_model.analysis import ModelInfo
from aura_model.config import Config


@dataclass(frozen=True)
class ModelFacts:
    """Which model scores, and with which configuration."""

    info: ModelInfo
    config: Config
    """The configuration asked for, with those parts of the checkpoint's own that its weights were trained with: clips
    must be cut like this. The checkpoint's path is absolute, since actors work in another folder."""


def read_model_facts(config: Config) -> ModelFacts:
    """Load the model that `config.inference` names, on the CPU, and tell of it.

    Raises:
        ConfigError: the backbone cannot be had.
        CheckpointError: the checkpoint is missing, damaged or foreign.
    """
    from aura_model.model import load_for_inference  # torch takes seconds

    checkpoint = config.inference.checkpoint and config.inference.checkpoint.resolve()
    inference = config.inference.model_copy(update={"checkpoint": checkpoint})
    loaded = load_for_inference(checkpoint, config, "cpu")
    return ModelFacts(loaded.info, loaded.config.model_copy(update={"inference": inference}))
