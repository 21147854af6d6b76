"""Detectors that know nothing of forgeries, or next to nothing: what Aura must beat on the same crops."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from aura_model.analysis import aggregate_tracks
from aura_model.augment.video import Frames
from aura_model.backbone import PACKAGED, Backbone
from aura_model.clips import Clip
from aura_model.media import MediaInfo
from scrutiny.studio import Studio
from training.data.manifest import Sample

Floats = npt.NDArray[np.float64]
SHRINKAGE = 0.01
"""`C` of the logistic regressions on features: many features, few samples."""


class FeatureSource(Protocol):
    """What a `LinearProbe` needs of `Features`."""

    def __call__(self, frames: Frames) -> Floats:
        """A clip's features [C]."""
        ...


class Features:
    """ImageNet features of the packaged backbone: the mean over places and frames."""

    def __init__(self) -> None:
        self._net = Backbone(PACKAGED, pretrained=True).eval()

    @torch.inference_mode()
    def __call__(self, frames: Frames) -> Floats:
        """Features [C] of a clip [T, S, S, 3]."""
        tokens, _ = self._net(torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2))
        return np.asarray(tokens.mean((0, 1)).numpy(), np.float64)


class LinearProbe:
    """A logistic regression on features, fitted on genuine clips and their pseudo-fakes."""

    def __init__(self, features: FeatureSource) -> None:
        self._features = features
        self._model: Pipeline = make_pipeline(
            StandardScaler(), LogisticRegression(C=SHRINKAGE, class_weight="balanced", max_iter=2000)
        )

    def fit(self, studio: Studio, people: Sequence[Sample], families: dict[str, float], count: int) -> int:
        """Fit on one pair of each of `count` people that show a face, families by weight; returns how many there were.

        Raises:
            ValueError: no pair could be made.
        """
        rng, names = np.random.default_rng(0), sorted(families)
        weights = np.array([families[name] for name in names])
        drawn = (str(rng.choice(names, p=weights / weights.sum())) for _ in people)
        made = (studio.pair(studio.open(one), one, family, 0) for one, family in zip(people, drawn, strict=True))
        pairs = list(islice((pair for pair in made if pair and pair.fake.video), count))
        if not pairs:
            raise ValueError("the linear probe needs pairs, and none could be made")
        clips = [sample.frames for pair in pairs for sample in (pair.real, pair.fake)]
        self._model.fit(np.stack([self._features(one) for one in clips]), [0, 1] * len(pairs))
        return len(pairs)

    def score(self, clips: Sequence[Clip]) -> list[float]:
        """Log-odds of fake of each clip; 0 for one without pictures."""
        return [0.0 if clip.frames is None else self._odds(clip.frames) for clip in clips]

    def _odds(self, frames: Frames) -> float:
        return float(self._model.decision_function(self._features(frames)[None])[0])


def video_probability(clips: Sequence[Clip], log_odds: Sequence[float]) -> float:
    """One probability a video, by Aura's own aggregation; a half where there is nothing to judge."""
    if not clips:
        return 0.5
    odds = aggregate_tracks([clip.track_id for clip in clips], log_odds)
    return float(0.5 * (1 + np.tanh(0.5 * odds)))


def metadata_probabilities(media: Sequence[MediaInfo | None], labels: Sequence[int], groups: Sequence[str]) -> Floats:
    """What a logistic regression on width, height, frame rate, duration, sound and codec says of each video.

    It is fitted on all other groups of the very set that it is tested on, which favours it.
    """
    table, truth = _metadata(media), np.asarray(labels)
    said = np.full(len(truth), 0.5)
    for fitted, asked in LeaveOneGroupOut().split(table, truth, np.asarray(groups)):
        if len(np.unique(truth[fitted])) < 2:
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
        said[asked] = model.fit(table[fitted], truth[fitted]).predict_proba(table[asked])[:, 1]
    return said


def _metadata(media: Sequence[MediaInfo | None]) -> Floats:
    codecs = sorted({one.video_codec or "" for one in media if one})
    rows: list[list[Any]] = []
    for one in media:
        numbers = (one.width, one.height, one.fps, one.duration) if one else (0, 0, 0, 0)
        sound, codec = (bool(one.audio_codec), one.video_codec) if one else (False, None)
        rows.append([*(np.log1p(number or 0) for number in numbers), sound, *(codec == name for name in codecs)])
    return np.asarray(rows, np.float64)
