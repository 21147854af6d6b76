"""The model as the detector serves it: loaded, placed on its device and warm. Imports torch."""

from collections.abc import Sequence

import torch

from aura_model.allocator import Footprint
from aura_model.clips import Clip, blank_clip
from aura_model.config import Config
from aura_model.predictor import load_scorer
from aura_model.scores import ClipScore
from deployments.cpus import available_cpus
from deployments.loading import Loaded


def load(config: Config) -> Loaded:
    """Load the configured model and run it once on clips with both modalities: full batches in all passes at once.

    So the first request is no slower than the next, and the process has its largest size from the start and keeps it.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or foreign.
        ConfigError: the device is not there.
    """
    torch.set_num_threads(1)
    scorer = load_scorer(config, config.inference.threads or available_cpus())
    loaded = scorer.loaded
    scorer.score([blank_clip(loaded.config)] * (scorer.passes * loaded.config.inference.batch_clips))
    footprint = Footprint()

    def score(clips: Sequence[Clip]) -> list[ClipScore]:
        scores = scorer.score(clips)
        footprint.keep()
        return scores

    return Loaded(score, loaded.info, loaded.config, scorer.device)
