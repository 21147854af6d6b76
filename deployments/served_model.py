"""The model as the detector serves it: loaded, placed on its device and warm. Imports torch."""

import torch

from aura_model.clips import blank_clip
from aura_model.config import Config
from aura_model.predictor import load_scorer
from deployments.cpus import available_cpus
from deployments.loading import Loaded


def load(config: Config) -> Loaded:
    """Load the configured model and run it once on clips with both modalities: full batches in all passes at once.

    So the first request is no slower than the next, and the process has its largest size from the start.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or foreign.
        ConfigError: the device is not there.
    """
    torch.set_num_threads(1)
    scorer = load_scorer(config, config.inference.threads or available_cpus())
    loaded = scorer.loaded
    scorer.score([blank_clip(loaded.config)] * (scorer.passes * scorer.pass_clips))
    return Loaded(scorer.score, loaded.info, loaded.config, scorer.device)
