import json
import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from aura_model.analysis import aggregate_tracks, probability
from aura_model.errors import ConfigError
from aura_model.metrics import FIGURES, compute_metrics
from training.evaluation.evaluation import BLANK, MOST_GROUPS, WORST, Evaluation, check_columns, evaluate
from training.evaluation.score_table import ClipLine, VideoLines


def video(video_id: str, label: int, *logits: float, tracks: tuple[int | None, ...] = (), **columns: str) -> VideoLines:
    """A video with one clip a logit; without any it could not be scored."""
    tracks = tracks or (0,) * len(logits)
    clips = tuple(
        ClipLine(clip=number, track_id=track, start=number, end=number + 1, logit=logit)
        for number, (logit, track) in enumerate(zip(logits, tracks, strict=True))
    )
    error = "" if clips else "no_clips"
    return VideoLines(video_id, label, "test", f"/data/{video_id}.mp4", columns, clips, error, error)


def some(count: int, seed: int = 0, shift: float = 1.0, **columns: str) -> list[VideoLines]:
    """Videos of three clips, every other one fake, whose scores tell about the truth."""
    rng = np.random.default_rng(seed)
    return [
        video(f"{seed}-{n}", n % 2, *rng.normal(shift * (2 * (n % 2) - 1), 1.5, 3).tolist(), **columns)
        for n in range(count)
    ]


def test_figures_are_those_of_the_lists_of_videos_and_of_clips() -> None:
    videos = some(60)
    found = evaluate(videos)
    labels = [one.label for one in videos]
    means = [probability(float(np.mean([clip.logit for clip in one.clips]))) for one in videos]
    assert found.videos.figures["auc"] == pytest.approx(roc_auc_score(labels, means))
    expected = compute_metrics(labels, means)
    assert {name: found.videos.figures[name] for name in FIGURES} == pytest.approx(
        {name: expected[name] for name in FIGURES}
    )
    assert found.videos.figures["confusion"] == expected["confusion"]
    clips = [(one.label, clip.logit) for one in videos for clip in one.clips]
    assert found.clips.figures["n"] == 180
    assert found.clips.figures["auc"] == pytest.approx(roc_auc_score(*zip(*clips, strict=True)))


@pytest.mark.parametrize("method", ["mean", "median", "max", "topk"])
def test_a_video_is_joined_from_its_clips_as_everywhere_else(method: Any) -> None:
    logits, tracks = (3.0, -1.0, 0.5, 2.0, -4.0), (0, 0, 0, 1, None)
    videos = [video("a", 1, *logits, tracks=tracks), video("b", 0, -9.0)]
    found = evaluate(videos, method).videos.probabilities.tolist()
    assert found == pytest.approx([probability(aggregate_tracks(tracks, logits, method)), probability(-9.0)])


def test_every_figure_has_an_interval_around_it_or_a_reason() -> None:
    found = evaluate(some(60))
    for level in (found.videos, found.clips):
        assert set(level.intervals) == set(FIGURES)
        auc = level.intervals["auc"]
        assert auc.low is not None
        assert auc.high is not None
        assert auc.low < level.figures["auc"] < auc.high


def test_clips_of_a_video_are_not_independent() -> None:
    videos = [video(f"{n}", n % 2, *[math.sin(n)] * 9) for n in range(40)]
    found = evaluate(videos)
    assert found.clips.clusters == found.videos.clusters == 40
    assert found.clips.intervals["accuracy"].low == pytest.approx(found.videos.intervals["accuracy"].low)


def test_videos_of_an_identity_are_taken_together() -> None:
    videos = some(60)
    shared = [
        VideoLines(one.video_id, one.label, "test", one.path, {"identity": f"p{n // 4}"}, one.clips)
        for n, one in enumerate(videos)
    ]
    found = evaluate(shared)
    assert (found.videos.clusters, found.by_identity) == (15, 60)
    assert found.videos.figures == evaluate(videos).videos.figures
    assert found.videos.intervals != evaluate(videos).videos.intervals


def test_a_video_without_identity_is_its_own() -> None:
    named = [video("x", 0, 1.0, identity="y"), video("y", 1, 1.0), video("z", 1, 1.0)]
    found = evaluate(named)
    assert (found.videos.clusters, found.by_identity) == (3, 1)


def test_the_seed_changes_the_intervals_alone() -> None:
    one, other = evaluate(some(60), seed=1), evaluate(some(60), seed=2)
    assert one.videos.figures == other.videos.figures
    assert one.videos.intervals != other.videos.intervals
    assert evaluate(some(60), seed=1).plain() == one.plain()


def test_videos_without_scores_are_counted_by_code_and_left_out() -> None:
    broken = [
        VideoLines(f"b{n}", label, "test", "p", {}, (), code, "why")
        for n, (code, label) in enumerate([("too_long", 1), ("no_clips", 0), ("no_clips", 0), ("no_clips", 1)])
    ]
    found = evaluate([*some(20), *broken])
    assert found.videos.figures["n"] == 20
    assert [(one.code, one.real, one.fake) for one in found.unusable] == [("no_clips", 2, 1), ("too_long", 0, 1)]
    assert found.unusable_count == 4


def test_the_worst_errors_are_the_surest_ones() -> None:
    videos = [video(f"v{n:02d}", n % 2, (-1 if n % 2 else 1) * (1 + n / 10)) for n in range(40)]
    found = evaluate([*videos, video("right", 1, 99.0), video("wrong", 0, 100.0)])
    assert found.wrong == 41
    assert len(found.worst) == WORST
    assert [one.video.video_id for one in found.worst[:3]] == ["wrong", "v39", "v38"]
    assert found.worst[0].fake_probability == 1.0


@pytest.mark.parametrize(("label", "logit", "wrong"), [(1, 0.0, 0), (0, 0.0, 1), (0, -0.1, 0), (1, -0.1, 1)])
def test_a_score_at_the_threshold_is_fake(label: int, logit: float, wrong: int) -> None:
    assert evaluate([video("a", label, logit)]).wrong == wrong


def group_table(found: Evaluation, column: str) -> list[tuple[str, str, int, int, Any]]:
    return [(one.value, one.reals, one.own_real, one.own_fake, one.level.figures["n"]) for one in found.groups[column]]


def test_groups_come_worst_first_each_with_its_own_reals() -> None:
    videos = some(40, 1, 3.0, set="easy") + some(40, 2, 0.1, set="hard") + some(40, 3, 1.0, set="middling")
    found = evaluate(videos, group_by=["set"])
    assert group_table(found, "set") == [
        ("hard", "own", 20, 20, 40),
        ("middling", "own", 20, 20, 40),
        ("easy", "own", 20, 20, 40),
    ]
    aucs = [one.level.figures["auc"] for one in found.groups["set"]]
    assert aucs == sorted(aucs)
    alone = evaluate([one for one in videos if one.columns["set"] == "hard"])
    assert found.groups["set"][0].level.figures == alone.videos.figures


def test_a_method_of_forgery_is_judged_against_all_reals() -> None:
    reals = [video(f"r{n}", 0, -2.0 + n / 10, method="original" if n % 2 else "") for n in range(20)]
    reals = [
        VideoLines(one.video_id, 0, "test", "p", {k: v for k, v in one.columns.items() if v}, one.clips)
        for one in reals
    ]
    fakes = [
        video(f"{name}{n}", 1, shift + n / 10, method=name)
        for name, shift in (("a", 2.0), ("b", -2.0))
        for n in range(20)
    ]
    found = evaluate([*reals, *fakes], group_by=["method"])
    assert group_table(found, "method") == [
        ("b", "all", 0, 20, 40),
        ("a", "all", 0, 20, 40),
        (BLANK, "own", 10, 0, 10),
        ("original", "own", 10, 0, 10),
    ]
    bad, good, blank, _ = found.groups["method"]
    assert (bad.level.figures["auc"], good.level.figures["auc"]) == (pytest.approx(0.5), 1.0)
    assert blank.level.figures["auc"] is None
    assert blank.level.intervals["auc"].reason == "no fake samples"
    assert blank.level.figures["accuracy"] is not None


def test_a_group_of_one_class_without_any_real_has_reasons() -> None:
    found = evaluate([video("a", 1, 1.0, method="x"), video("b", 1, -1.0, method="x")], group_by=["method"])
    (only,) = found.groups["method"]
    assert (only.reals, only.level.figures["auc"], only.level.intervals["auc"].reason) == (
        "none",
        None,
        "no real samples",
    )


def test_columns_can_be_several() -> None:
    videos = [video("a", 0, -1.0, x="1", y="2"), video("b", 1, 1.0, x="1", y="3")]
    assert list(evaluate(videos, group_by=["y", "x"]).groups) == ["y", "x"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ([{"method": "x"}, {"set": "y"}], "--group-by family: there is no such column; there are: method, set"),
        ([{}], "--group-by family: there is no such column; there are: none"),
        ([], "there are: none"),
        ([{"family": str(n)} for n in range(MOST_GROUPS + 1)], "has 101 values; at most 100"),
    ],
)
def test_a_breakdown_that_makes_no_sense_is_refused(columns: list[dict[str, str]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_columns(columns, ["family"])


def test_one_hundred_groups_are_allowed() -> None:
    check_columns([{"family": str(n)} for n in range(MOST_GROUPS)], ["family"])


@pytest.mark.parametrize(
    ("videos", "reason"),
    [
        ([], "no samples"),
        ([video("a", 1)], "no samples"),
        ([video("a", 1, 0.0)], "no real samples"),
        ([video("a", 0, 0.0), video("b", 1)], "no fake samples"),
    ],
)
def test_what_is_undefined_says_why(videos: list[VideoLines], reason: str) -> None:
    found = evaluate(videos)
    assert found.videos.figures["auc"] is None
    assert found.videos.intervals["auc"].reason == found.clips.intervals["auc"].reason == reason


def test_what_abstaining_would_buy_is_told_per_video_and_per_clip() -> None:
    videos = [*(video(f"{n}", 1, 3.0, 4.0) for n in range(9)), video("unsure", 1, -0.5, 0.1)]
    plain = evaluate(videos).plain()
    assert plain["videos"]["selective"]["risk_at"] == {"1.0": 0.1, "0.9": 0.0, "0.8": 0.0, "0.5": 0.0}
    assert plain["clips"]["selective"]["risk_at"]["1.0"] == 0.05
    assert plain["videos"]["selective"]["area"] == pytest.approx(0.01)
    assert evaluate([video("broken", 0)]).plain()["videos"]["selective"] is None


def test_the_results_are_plain() -> None:
    found = evaluate([*some(30, method="x"), video("broken", 0)], group_by=["method"]).plain()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    assert again["videos"]["intervals"]["auc"].keys() == {"low", "high", "left_out", "reason"}
    assert again["groups"]["method"][0]["value"] == "x"
    assert again["unusable"] == [{"code": "no_clips", "real": 1, "fake": 0}]
    assert again["worst"][0].keys() == {"video_id", "label", "fake_probability"}
