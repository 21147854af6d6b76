import math
import random

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from aura_model.analysis import probability
from aura_model.settings import load_config
from training.optim.monitor import WATCHED, Monitor
from training.worker.tally import TrainingError
from training.worker.validation import ValidationScore, validation_metrics, video_scores


def prediction(video_id: str, label: int, logit: float, track_id: int | None = 0) -> ValidationScore:
    return ValidationScore(video_id, track_id, label, logit)


def test_a_row_becomes_a_prediction() -> None:
    row = {"video_id": np.str_("a"), "track_id": np.int64(-1), "label": np.int64(1), "variant": np.str_("")}
    assert ValidationScore.of(row, 0.5) == ValidationScore("a", None, 1, 0.5)


def test_each_clip_of_each_pair_is_a_video_of_its_own() -> None:
    """Joined with its genuine clip, a forgery would be judged by the mean of both."""
    variants = [("#0", 0), ("#0 self_blend", 1), ("#1", 0), ("#1 mouth_swap", 1)]
    rows = [
        {"video_id": video_id, "track_id": 0, "label": label, "variant": variant}
        for video_id in "ab"
        for variant, label in variants
    ]
    scored = [ValidationScore.of(row, 3.0 * row["label"] - 1) for row in rows]
    assert len({clip.video_id for clip in scored}) == 8
    metrics = validation_metrics(scored)
    assert (metrics["val"]["n"], metrics["val"]["positives"], metrics["val_auc"]) == (8, 4, 1.0)


def test_every_figure_that_may_be_monitored_is_there() -> None:
    monitor, metrics = load_config(env={}).training.monitor, {"loss": 0.5}
    metrics |= validation_metrics([prediction("a", 0, -1.0), prediction("b", 1, 1.0)])
    for name in WATCHED:
        assert Monitor(monitor.model_copy(update={"metric": name})).value(metrics) is not None


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
    metrics = validation_metrics(predictions)
    shuffled = validation_metrics(random.Random(0).sample(predictions, len(predictions)))
    for over in ("val", "clip"):
        plain, other = (
            {k: v for k, v in one[over].items() if isinstance(v, float | int)} for one in (metrics, shuffled)
        )
        assert len(plain) >= 12
        assert other == pytest.approx(plain, abs=1e-12)
        assert shuffled[over]["confusion"] == metrics[over]["confusion"]


def test_the_figures_are_those_of_scikit_learn_over_videos_and_over_clips() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 2, 41), rng.integers(-9, 9, (41, 3)) / 4  # some videos score alike
    metrics = validation_metrics(
        [
            prediction(f"{n:02d}", int(labels[n]), float(logit), track_id=None)
            for n in rng.permutation(41)
            for logit in logits[n]
        ]
    )
    by_video, by_clip = logits.mean(axis=1), logits.reshape(-1)
    of_clips = labels.repeat(3)
    assert metrics["val_auc"] == metrics["val"]["auc"] == pytest.approx(roc_auc_score(labels, by_video))
    assert metrics["val"]["ap"] == pytest.approx(average_precision_score(labels, by_video))
    assert metrics["val"]["accuracy"] == pytest.approx(accuracy_score(labels, by_video >= 0))
    assert metrics["clip"]["auc"] == pytest.approx(roc_auc_score(of_clips, by_clip))
    assert metrics["clip"]["ap"] == pytest.approx(average_precision_score(of_clips, by_clip))
    assert metrics["clip"]["accuracy"] == pytest.approx(accuracy_score(of_clips, by_clip >= 0))
    assert (metrics["val"]["n"], metrics["val"]["positives"]) == (41, labels.sum())
    assert (metrics["clip"]["n"], metrics["clip"]["positives"]) == (123, 3 * labels.sum())


@pytest.mark.parametrize(
    ("predictions", "reason"),
    [
        ([], "no samples"),
        ([prediction("a", 1, 0.0)], "no real samples"),
        ([prediction("a", 0, 0.0)], "no fake samples"),
    ],
)
def test_an_undefined_auc_is_none_with_the_reason(predictions: list[ValidationScore], reason: str) -> None:
    metrics = validation_metrics(predictions)
    assert metrics["val_auc"] is None
    assert metrics["val"]["undefined"]["auc"] == metrics["clip"]["undefined"]["auc"] == reason


@pytest.mark.parametrize("logit", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_fails(logit: float) -> None:
    with pytest.raises(TrainingError) as caught:
        validation_metrics([prediction("a", 1, logit), prediction("b", 0, 0.0)])
    assert caught.value.code == "diverged"
