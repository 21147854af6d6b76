import math
import random

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from aura_model.analysis import probability
from training.tally import TrainingError
from training.validation import ScoredClip, auc_of, validation_metrics, video_scores


def prediction(video_id: str, label: int, logit: float, track_id: int | None = 0) -> ScoredClip:
    return ScoredClip(video_id, track_id, label, logit)


def test_a_row_becomes_a_prediction() -> None:
    row = {"video_id": np.str_("a"), "track_id": np.int64(-1), "label": np.int64(1)}
    assert ScoredClip.of(row, 0.5) == ScoredClip("a", None, 1, 0.5)


def test_a_video_is_its_most_suspicious_track_by_the_mean_of_its_clips() -> None:
    labels, scores = video_scores(
        [
            prediction("b", 1, 2.0, track_id=0),
            prediction("b", 1, 4.0, track_id=0),
            prediction("b", 1, -1.0, track_id=1),
            prediction("a", 0, -3.0, track_id=None),
        ]
    )
    assert labels == [0, 1]
    assert scores == pytest.approx([probability(-3.0), probability(3.0)])


def test_the_result_does_not_depend_on_which_worker_came_first() -> None:
    predictions = [prediction(str(n % 7), n % 7 % 2, math.sin(n), track_id=n % 3) for n in range(50)]
    shuffled = random.Random(0).sample(predictions, len(predictions))
    assert validation_metrics(shuffled) == validation_metrics(predictions)


def test_the_auc_is_that_of_the_list_of_videos() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 2, 40), rng.normal(size=40)
    metrics = validation_metrics(
        [
            prediction(str(n), int(label), float(logit))
            for n, (label, logit) in enumerate(zip(labels, logits, strict=True))
        ]
    )
    assert metrics["val_auc"] == pytest.approx(roc_auc_score(labels, logits))
    assert metrics["val_clips"] == metrics["val"]["n"] == 40


@pytest.mark.parametrize(
    ("predictions", "reason"),
    [
        ([], "no samples"),
        ([prediction("a", 1, 0.0)], "no real samples"),
        ([prediction("a", 0, 0.0)], "no fake samples"),
    ],
)
def test_an_undefined_auc_is_none_with_the_reason(predictions: list[ScoredClip], reason: str) -> None:
    metrics = validation_metrics(predictions)
    assert metrics["val_auc"] is None
    assert metrics["val"]["undefined"]["auc"] == reason


@pytest.mark.parametrize("logit", [math.nan, math.inf])
def test_a_score_that_is_no_number_fails(logit: float) -> None:
    with pytest.raises(TrainingError) as caught:
        validation_metrics([prediction("a", 1, logit), prediction("b", 0, 0.0)])
    assert caught.value.code == "diverged"


def test_an_unknown_auc_is_not_a_number() -> None:
    assert auc_of({"val_auc": 0.75}) == 0.75
    assert math.isnan(auc_of({"val_auc": None}))
