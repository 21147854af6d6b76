"""The model as the detector serves it: loaded, placed on its device and warm. Imports torch."""

import numpy as np
import torch

from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.device import resolve_device
from aura_model.model import load_for_inference
from aura_model.scoring import Scorer
from aura_model.sound import SAMPLE_RATE
from deployments.cpus import available_cpus
from deployments.loading import Loaded


def load(config: Config) -> Loaded:
    """Load the configured model and run it once on a clip with both modalities, so that the first request is no slower.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or foreign.
        ConfigError: the device is not there.
    """
    torch.set_num_threads(config.inference.threads or max(1, available_cpus() // 2))
    device = resolve_device(config.inference.device)
    loaded = load_for_inference(config.inference.checkpoint, config, device)
    scorer = Scorer(loaded, device)
    scorer.score([blank_clip(loaded.config)])
    return Loaded(scorer.score, loaded.info, loaded.config, device)


def blank_clip(config: Config) -> Clip:
    """A clip of the right shapes with black frames and silence."""
    video, side = config.dataset.video, config.dataset.face.size
    count = video.temporal_window
    return Clip(
        times=np.arange(count) / video.frame_rate,
        seconds=video.clip_seconds,
        frames=np.zeros((count, side, side, 3), np.uint8),
        boxes=np.zeros((count, 4), np.float32),
        landmarks=np.zeros((count, 5, 2), np.float32),
        track_id=0,
        wave=np.zeros(round(video.clip_seconds * SAMPLE_RATE), np.float32),
    )
