"""What the driver must know of the model that will score, without keeping it."""

from dataclasses import dataclass
from pathlib import Path

from aura_model.config import Config
from aura_model.reply import ModelInfo


@dataclass(frozen=True)
class ModelFacts:
    """Which model scores, and with which configuration."""

    info: ModelInfo
    config: Config
    """The configuration asked for, with those parts of the checkpoint's own that its weights were trained with: clips
    must be cut like this. A checkpoint's path is absolute, since actors work in another folder."""


def read_model_facts(config: Config) -> ModelFacts:
    """Load the model that `config.inference` names, on the CPU, and tell of it.

    Raises:
        ConfigError: the backbone cannot be had.
        CheckpointError: the checkpoint is missing, damaged or foreign.
    """
    from aura_model.model_loading import load_for_inference  # torch takes seconds

    named = config.inference.checkpoint
    chosen = named.resolve() if isinstance(named, Path) else named  # each node has the package's own in its own place
    inference = config.inference.model_copy(update={"checkpoint": chosen})
    loaded = load_for_inference(inference.checkpoint_file, config, "cpu")
    return ModelFacts(loaded.info, loaded.config.model_copy(update={"inference": inference}))
