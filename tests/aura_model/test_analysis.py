import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aura_model.analysis import Aggregation, aggregate, aggregate_tracks, analyse, probability
from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.media import MediaInfo
from aura_model.reply import EXAMPLE, Analysis, Heatmap, ModelInfo, Reason
from aura_model.scores import ClipScore
from aura_model.settings import parse_config
from tests.operating_points import make_points

LOW, HIGH = 0.35, 0.65
CONFIG = parse_config({"inference": {"uncertain_band": [LOW, HIGH]}})
TRAINED = ModelInfo(name="m", version="1", trained=True, calibrated=True)
UNCALIBRATED = TRAINED.model_copy(update={"calibrated": False})
UNTRAINED = TRAINED.model_copy(update={"trained": False, "calibrated": False})
METHODS = get_args(Aggregation)
VERDICTS = ["real", "uncertain", "fake"]


def score(fake: float, video: float | None = None, audio: float | None = None) -> ClipScore:
    return ClipScore(fake, video, audio)


def media(duration: float = 60.0) -> MediaInfo:
    return MediaInfo(
        sha256="0" * 64,
        bytes=1,
        container="mp4",
        duration=duration,
        width=640,
        height=360,
        fps=25.0,
        rotation=0,
        video_codec="h264",
        audio_codec="aac",
    )


def clip(start: float = 0.0, *, track: int | None = 0, seconds: float = 1.0, frames: int = 2) -> Clip:
    times = start + np.arange(frames, dtype=np.float64) * seconds / frames
    boxes = np.tile(np.array([[10.04, 20.06, 30.0, 40.0]], dtype=np.float32), (frames, 1))
    return Clip(
        times=times,
        seconds=seconds,
        frames=None,
        boxes=None if track is None else boxes,
        landmarks=None,
        track_id=track,
        wave=None,
    )


def clips(*items: Clip, notes: tuple[str, ...] = (), duration: float = 60.0) -> Clips:
    return Clips(clips=items, media=media(duration), notes=notes, timings={"decode": 0.25})


def run(
    items: list[tuple[Clip, ClipScore]],
    *,
    notes: tuple[str, ...] = (),
    model: ModelInfo = TRAINED,
    duration: float = 60.0,
    config: Config = CONFIG,
) -> Analysis:
    return analyse(
        clips(*[c for c, _ in items], notes=notes, duration=duration), [s for _, s in items], model, config, {}
    )


def logit(p: float) -> float:
    return math.log(p / (1 - p))


# --- probability and aggregation


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0.5), (logit(0.9), 0.9), (-1e308, 0.0), (1e308, 1.0), (math.inf, 1.0), (-math.inf, 0.0)],
)
def test_probability_is_the_logistic_function(value: float, expected: float) -> None:
    assert probability(value) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("method", "expected"), [("mean", 2.0), ("median", 0.5), ("max", 9.0), ("topk", 7.0)])
def test_aggregate_methods(method: Aggregation, expected: float) -> None:
    assert aggregate([5.0, 0.0, 1.0, 9.0, 0.0, 1.0, 0.0, 0.0], method) == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
def test_aggregate_of_one_is_itself(method: Aggregation) -> None:
    assert aggregate([-1.25], method) == -1.25


def test_topk_rounds_up() -> None:
    assert aggregate([1.0, 2.0, 3.0, 4.0, 5.0], "topk") == 4.5


def test_aggregate_is_over_logits_not_probabilities() -> None:
    # One very sure clip outweighs two doubtful ones; a mean of probabilities would not say so.
    assert probability(aggregate([-10.0, 1.0, 1.0])) < 0.1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[1e308, 1e308], [math.inf, -math.inf], [-1e308, -1e308, 1.0]])
def test_aggregate_of_extremes_is_a_number(method: Aggregation, values: list[float]) -> None:
    assert math.isfinite(aggregate(values, method))


@pytest.mark.parametrize("values", [[], [math.nan], [0.0, math.nan]])
def test_aggregate_refuses_nothing_and_nan(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"not a number|no logits"):
        aggregate(values)
    with pytest.raises(ValueError):  # noqa: PT011
        aggregate_tracks([0] * len(values), values)


@pytest.mark.parametrize(
    ("track_ids", "logits", "expected"),
    [
        ([0, 0], [1.0, 3.0], 2.0),
        ([0, 1, 0, 1], [1.0, -4.0, 3.0, -2.0], 2.0),
        ([0, 1], [-5.0, -3.0], -3.0),
        ([None, None], [1.0, 2.0], 1.5),
        ([None, 0], [9.0, -1.0], -1.0),
        ([0, None, None], [-1.0, 9.0, 9.0], -1.0),
    ],
)
def test_aggregate_tracks_takes_the_highest_face(
    track_ids: list[int | None], logits: list[float], expected: float
) -> None:
    assert aggregate_tracks(track_ids, logits) == pytest.approx(expected)


def test_aggregate_tracks_passes_the_method_on() -> None:
    assert aggregate_tracks([0, 0, 1], [1.0, 3.0, 2.5], "max") == 3.0


def test_aggregate_tracks_needs_a_track_for_each_logit() -> None:
    with pytest.raises(ValueError, match="zip"):
        aggregate_tracks([0], [1.0, 2.0])


# --- verdict and reasons


@pytest.mark.parametrize(
    ("model", "p", "verdict", "reasons"),
    [
        (TRAINED, 0.1, "real", ()),
        (TRAINED, 0.5, "uncertain", ("near_threshold",)),
        (TRAINED, 0.9, "fake", ()),
        (UNCALIBRATED, 0.1, "real", ("uncalibrated_model",)),
        (UNCALIBRATED, 0.5, "uncertain", ("uncalibrated_model", "near_threshold")),
        (UNCALIBRATED, 0.9, "fake", ("uncalibrated_model",)),
        (UNTRAINED, 0.1, "uncertain", ("untrained_model",)),
        (UNTRAINED, 0.99, "uncertain", ("untrained_model",)),
    ],
)
def test_verdict(model: ModelInfo, p: float, verdict: str, reasons: tuple[str, ...]) -> None:
    answer = run([(clip(), score(logit(p)))], model=model)
    assert (answer.verdict, answer.reasons) == (verdict, reasons)
    assert answer.fake_probability == pytest.approx(p)


def test_the_edges_of_the_band_are_uncertain() -> None:
    config = parse_config({"inference": {"uncertain_band": [0.5, 0.5]}})
    assert run([(clip(), score(0.0))], config=config).verdict == "uncertain"
    assert run([(clip(), score(1e-9))], config=config).verdict == "fake"
    assert run([(clip(), score(-1e-9))], config=config).verdict == "real"


POINTS = make_points(screening=(0.2, 0.4), balanced=(0.3, 0.6), strict=(0.3, 0.9))
MEASURED = TRAINED.model_copy(update={"operating_points": POINTS})


@pytest.mark.parametrize(
    ("name", "p", "verdict"),
    [
        ("screening", 0.19, "real"),
        ("screening", 0.25, "uncertain"),
        ("screening", 0.41, "fake"),
        ("balanced", 0.25, "real"),
        ("balanced", 0.41, "uncertain"),
        ("balanced", 0.61, "fake"),
        ("strict", 0.29, "real"),
        ("strict", 0.61, "uncertain"),
        ("strict", 0.91, "fake"),
    ],
)
def test_the_operating_point_decides(name: str, p: float, verdict: str) -> None:
    config = parse_config({"inference": {"operating_point": name}})
    answer = run([(clip(), score(logit(p)))], model=MEASURED, config=config)
    assert (answer.verdict, answer.reasons) == (verdict, ("near_threshold",) if verdict == "uncertain" else ())
    assert answer.operating_point == getattr(POINTS, name)
    assert answer.model.operating_points == POINTS
    assert len(answer.segments) == (verdict == "fake")


def test_without_a_choice_the_point_is_balanced() -> None:
    assert run([(clip(), score(0.0))], model=MEASURED, config=parse_config()).operating_point == POINTS.balanced


@pytest.mark.parametrize(("p", "verdict"), [(0.34, "real"), (0.36, "uncertain"), (0.64, "uncertain"), (0.66, "fake")])
def test_without_points_there_is_a_plain_band(p: float, verdict: str) -> None:
    answer = run([(clip(), score(logit(p)))], config=parse_config({"inference": {"operating_point": "strict"}}))
    assert (answer.verdict, answer.operating_point) == (verdict, None)


def test_a_band_of_the_configuration_overrides_the_operating_point() -> None:
    config = parse_config({"inference": {"uncertain_band": [0.1, 0.2], "operating_point": "strict"}})
    answer = run([(clip(), score(logit(0.25)))], model=MEASURED, config=config)
    assert (answer.verdict, answer.operating_point, len(answer.segments)) == ("fake", None, 1)
    assert answer.model.operating_points == POINTS


def test_each_reason_is_explained() -> None:
    document = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    table = document.partition("### Reasons")[2].partition("\n\nGive")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == get_args(Reason)


@pytest.mark.parametrize(
    ("forged", "verdict", "reasons"),
    [
        (0, "real", ()),
        (1, "real", ()),  # a single clip of a long video may be a false alarm
        (3, "uncertain", ("suspicious_part",)),
        (7, "uncertain", ("near_threshold", "suspicious_part")),
        (12, "fake", ()),
    ],
)
def test_a_video_with_a_forged_part_is_not_real(forged: int, verdict: str, reasons: tuple[str, ...]) -> None:
    answer = run([(clip(float(start)), score(6.0 if start < forged else -5.0)) for start in range(16)])
    assert (answer.verdict, answer.reasons) == (verdict, reasons)


def test_a_forged_part_of_any_face_counts() -> None:
    faces = [(clip(float(start), track=0), score(-2.0)) for start in range(8)]
    other = [(clip(float(start), track=1), score(6.0 if start < 2 else -6.0)) for start in range(8)]
    assert run(faces + other).reasons == ("suspicious_part",)
    assert run(faces).verdict == run(faces + other[2:]).verdict == "real"


@pytest.mark.parametrize(("logits", "verdict"), [(-5.0, "uncertain"), (6.0, "fake")])
def test_what_has_faces_that_nobody_looked_at_is_not_real(logits: float, verdict: str) -> None:
    answer = run([(clip(), score(logits))], notes=("faces_left_out",))
    assert (answer.verdict, answer.reasons) == (verdict, ("faces_left_out",))


@pytest.mark.parametrize("logit", [-5.0, 6.0])
def test_pictures_that_were_restored_are_told_and_change_no_verdict(logit: float) -> None:
    plain = run([(clip(0.0), score(logit)), (clip(1.0), score(logit))])
    answer = run([(clip(0.0), score(logit)), (clip(1.0), replace(score(logit), restored=True))])
    assert (plain.reasons, answer.reasons) == ((), ("faces_restored",))
    assert answer.verdict == plain.verdict


def test_an_untrained_model_says_nothing_of_parts() -> None:
    answer = run([(clip(float(start)), score(6.0 if start < 3 else -6.0)) for start in range(16)], model=UNTRAINED)
    assert (answer.verdict, answer.reasons) == ("uncertain", ("untrained_model",))


def test_an_untrained_model_stays_uncertain_at_every_point() -> None:
    model = UNTRAINED.model_copy(update={"operating_points": POINTS})
    assert run([(clip(), score(9.0))], model=model, config=parse_config()).verdict == "uncertain"


@pytest.mark.parametrize(
    ("notes", "reasons"),
    [
        (("no_face", "no_speech"), ("no_face", "no_speech")),
        (("no_speech", "no_video"), ("no_video", "no_speech")),
        (("truncated", "no_audio", "no_face"), ("no_face", "no_audio", "truncated")),
    ],
)
@pytest.mark.parametrize("model", [TRAINED, UNTRAINED])
def test_nothing_to_judge_is_not_applicable(notes: tuple[str, ...], reasons: tuple[str, ...], model: ModelInfo) -> None:
    answer = run([], notes=notes, model=model)
    assert (answer.verdict, answer.fake_probability, answer.reasons) == ("not_applicable", None, reasons)
    assert (answer.faces, answer.timeline, answer.segments) == ((), (), ())
    assert (answer.modalities.video, answer.modalities.audio) == (None, None)


@pytest.mark.parametrize("note", ["no_video", "no_face"])
def test_speech_only_is_judged_by_the_sound(note: str) -> None:
    answer = run([(clip(track=None), score(3.0, audio=3.0))], notes=(note,))
    assert (answer.verdict, answer.reasons, answer.faces) == ("fake", (note,), ())
    assert answer.modalities.video is None
    assert answer.modalities.audio == pytest.approx(probability(3.0))
    assert answer.timeline[0].track_id is None


def test_sound_without_a_face_does_not_overrule_a_face() -> None:
    answer = run([(clip(0.0), score(-3.0, video=-3.0)), (clip(5.0, track=None), score(6.0, audio=6.0))])
    assert answer.verdict == "real"
    assert [entry.track_id for entry in answer.timeline] == [0, None]
    assert answer.modalities.audio == pytest.approx(probability(6.0))


def test_the_highest_face_decides() -> None:
    answer = run([(clip(track=0), score(-3.0)), (clip(track=1), score(3.0)), (clip(2.0, track=1), score(1.0))])
    assert answer.fake_probability == pytest.approx(probability(2.0))
    assert [face.fake_probability for face in answer.faces] == pytest.approx([probability(-3.0), probability(2.0)])


def test_an_unknown_note_is_an_error() -> None:
    with pytest.raises(ValueError, match="odd_note"):
        run([], notes=("odd_note",))


@pytest.mark.parametrize("value", [score(math.nan), score(0.0, video=math.nan), score(0.0, audio=math.nan)])
def test_a_score_that_is_not_a_number_is_an_error(value: ClipScore) -> None:
    with pytest.raises(ValueError, match="not a number"):
        run([(clip(), value)])


@pytest.mark.parametrize("count", [0, 2])
def test_one_score_for_each_clip(count: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        analyse(clips(clip()), [score(0.0)] * count, TRAINED, CONFIG, {})


# --- faces, timeline, segments


def test_faces_are_described_in_order_of_track() -> None:
    answer = run([(clip(4.0, track=1), score(0.0)), (clip(0.0, track=0), score(0.0)), (clip(1.0, track=1), score(0.0))])
    assert [(face.track_id, face.start, face.end) for face in answer.faces] == [(0, 0.0, 1.0), (1, 1.0, 5.0)]
    assert [box.time for box in answer.faces[1].boxes] == [1.0, 1.5, 4.0, 4.5]


def test_boxes_are_source_pixels_to_a_tenth() -> None:
    box = run([(clip(), score(0.0))]).faces[0].boxes[0]
    assert (box.x1, box.y1, box.x2, box.y2) == (10.0, 20.1, 30.0, 40.0)


def test_a_moment_seen_by_two_clips_has_one_box() -> None:
    face = run([(clip(0.0), score(0.0)), (clip(0.25), score(0.0)), (clip(0.5), score(0.0))]).faces[0]
    assert [box.time for box in face.boxes] == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_box_that_is_not_a_place_is_an_error(value: float) -> None:
    broken = clip()
    assert broken.boxes is not None
    broken.boxes[0, 2] = value
    with pytest.raises(ValidationError, match="x2"):
        run([(broken, score(0.0))])


def test_the_timeline_has_one_entry_per_clip_in_order_of_time() -> None:
    answer = run(
        [
            (clip(2.0, track=None), score(0.0, audio=1.0)),
            (clip(2.0, track=1), score(0.5, video=2.0, audio=-1.0)),
            (clip(0.0, track=1), score(0.0)),
            (clip(2.0, track=0), score(0.0)),
        ]
    )
    assert [(e.start, e.track_id) for e in answer.timeline] == [(0.0, 1), (2.0, 0), (2.0, 1), (2.0, None)]
    entry = answer.timeline[2]
    assert entry.end == 3.0
    assert (entry.fake_probability, entry.video, entry.audio) == pytest.approx(
        (probability(0.5), probability(2.0), probability(-1.0))
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([(0.0, -3.0)], []),
        ([(0.0, 3.0)], [(0.0, 1.0)]),
        ([(0.0, 3.0), (1.0, 3.0)], [(0.0, 2.0)]),
        ([(0.0, 3.0), (0.5, 3.0)], [(0.0, 1.5)]),
        ([(0.0, 3.0), (1.1, 3.0)], [(0.0, 1.0), (1.1, 2.1)]),
        ([(0.0, 3.0), (1.0, -3.0), (2.0, 3.0)], [(0.0, 1.0), (2.0, 3.0)]),
        ([(0.0, 3.0), (1.0, logit(HIGH)), (2.0, 3.0)], [(0.0, 1.0), (2.0, 3.0)]),
        ([(2.0, 3.0), (0.0, 3.0), (1.0, 3.0)], [(0.0, 3.0)]),
    ],
)
def test_segments_join_what_touches(entries: list[tuple[float, float]], expected: list[tuple[float, float]]) -> None:
    answer = run([(clip(start), score(value)) for start, value in entries])
    assert [(segment.start, segment.end) for segment in answer.segments] == expected


def test_segments_keep_faces_apart() -> None:
    answer = run([(clip(0.0, track=1), score(3.0)), (clip(0.5, track=0), score(2.0)), (clip(1.0, track=1), score(1.0))])
    assert [(s.track_id, s.start, s.end) for s in answer.segments] == [(1, 0.0, 2.0), (0, 0.5, 1.5)]
    assert answer.segments[0].fake_probability == pytest.approx(probability(2.0))


def test_segments_point_at_the_forged_part_of_a_film() -> None:
    """Sixteen clips in a row, those from 5 s to 8 s forged: one segment there, though the mean is low."""
    answer = run([(clip(float(start)), score(6.0 if 5 <= start < 8 else -6.0)) for start in range(16)])
    assert [(segment.start, segment.end, segment.track_id) for segment in answer.segments] == [(5.0, 8.0, 0)]
    assert answer.segments[0].fake_probability == pytest.approx(probability(6.0))
    assert [entry.start for entry in answer.timeline if entry.fake_probability > HIGH] == [5.0, 6.0, 7.0]
    assert answer.faces[0].fake_probability < LOW


def test_a_clip_that_runs_over_the_end_is_cut_at_the_duration() -> None:
    answer = run([(clip(59.7), score(3.0))], duration=60.2)
    assert (answer.timeline[0].end, answer.segments[0].end, answer.faces[0].end) == (60.2, 60.2, 60.2)


def test_a_still_has_everything_at_zero() -> None:
    answer = run([(clip(0.0, frames=1), score(3.0))], duration=0.0)
    assert (answer.timeline[0].start, answer.timeline[0].end) == (0.0, 0.0)
    assert len(answer.segments) == 1


# --- the reply as data


def test_timings_are_milliseconds_and_the_callers_win() -> None:
    answer = analyse(clips(), [], TRAINED, CONFIG, {"total": 1.5, "decode": 0.5, "score": 0.0012345})
    assert answer.timings == {"decode": 500.0, "total": 1500.0, "score": 1.234}


def test_the_request_id_is_passed_on() -> None:
    assert run([]).request_id is None
    assert analyse(clips(), [], TRAINED, CONFIG, {}, request_id="abc").request_id == "abc"


# --- heat-maps

HEATMAP = Heatmap.model_validate(EXAMPLE["faces"][0]["heatmap"])


def explained(model: ModelInfo, heatmaps: Mapping[int, Heatmap] | None) -> dict[int, Heatmap | None]:
    items = clips(clip(track=0), clip(track=1), clip(track=None))
    answer = analyse(items, [score(1.0)] * 3, model, CONFIG, {}, heatmaps=heatmaps)
    return {face.track_id: face.heatmap for face in answer.faces}


def test_each_face_gets_its_own_heat_map() -> None:
    assert explained(TRAINED, {1: HEATMAP}) == {0: None, 1: HEATMAP}


@pytest.mark.parametrize("heatmaps", [None, {}])
def test_without_being_asked_for_there_is_none(heatmaps: dict[int, Heatmap] | None) -> None:
    assert explained(TRAINED, heatmaps) == {0: None, 1: None}


def test_the_map_of_an_untrained_model_is_not_told() -> None:
    assert explained(UNTRAINED, {0: HEATMAP, 1: HEATMAP}) == {0: None, 1: None}


# --- properties

numbers = st.floats(allow_nan=False, width=32)
scored = st.lists(
    st.tuples(
        st.builds(
            lambda start, track, seconds: clip(start, track=track, seconds=seconds),
            st.floats(0, 100),
            st.sampled_from([None, 0, 1, 2]),
            st.floats(0.01, 10),
        ),
        st.builds(score, numbers, st.none() | numbers, st.none() | numbers),
    ),
    max_size=12,
)


@given(scored, st.floats(0, 30), st.sampled_from([TRAINED, UNCALIBRATED, UNTRAINED]))
def test_any_scores_give_a_sound_reply(items: list[tuple[Clip, ClipScore]], duration: float, model: ModelInfo) -> None:
    answer = run(items, duration=duration, model=model)
    assert (answer.fake_probability is None) == (not items)
    assert len(answer.timeline) == len(items)
    for track in {segment.track_id for segment in answer.segments}:
        own = [segment for segment in answer.segments if segment.track_id == track]
        assert all(0 <= segment.start <= segment.end <= duration for segment in own)
        assert all(before.end < after.start for before, after in itertools.pairwise(own))
    assert Analysis.model_validate_json(answer.model_dump_json()) == answer
    json.loads(json.dumps(answer.model_dump(mode="json"), allow_nan=False))


@given(scored.filter(bool), st.floats(0, 1e6), st.data())
def test_more_suspicion_never_lowers_the_answer(
    items: list[tuple[Clip, ClipScore]], more: float, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(items) - 1))
    item, low = items[index]
    raised = [*items[:index], (item, score(low.fake + more)), *items[index + 1 :]]
    before, after = run(items), run(raised)
    assert before.fake_probability is not None
    assert after.fake_probability is not None
    assert after.fake_probability >= before.fake_probability - 1e-12
    assert VERDICTS.index(after.verdict) >= VERDICTS.index(before.verdict)


@given(scored)
def test_the_order_of_the_clips_does_not_matter(items: list[tuple[Clip, ClipScore]]) -> None:
    before, after = run(items), run(items[::-1])
    assert (before.verdict, before.fake_probability) == (after.verdict, after.fake_probability)


@given(st.lists(numbers, min_size=1, max_size=20), st.sampled_from(METHODS))
def test_aggregate_stays_within_the_scores(values: list[float], method: Aggregation) -> None:
    bounded = np.clip(values, -1e6, 1e6)
    joined = aggregate(values, method)
    assert bounded.min() - 1e-6 <= joined <= bounded.max() + 1e-6
