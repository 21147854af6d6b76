"""Linking faces into tracks, and where a face is between its detections."""

import itertools

import numpy as np
import pytest

from aura_model.faces import Face
from aura_model.tracks import Detection, Track, link


def face(x=100.0, y=100.0, side=50.0, score=0.99):
    """A square face centred on (x, y), the landmarks at its centre."""
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], dtype=np.float32)
    return Face(box, np.full((5, 2), (x, y), dtype=np.float32), score)


def film(*frames):
    """Detections from (time, face, face, …)."""
    return [Detection(time, faces) for time, *faces in frames]


def centres(track, times):
    boxes = track.boxes_at(times)
    return ((boxes[:, :2] + boxes[:, 2:]) / 2).tolist()


def seen(tracks):
    """Per track: id and the times it was seen."""
    return [(track.id, track.times.tolist()) for track in tracks]


# --- linking ---


@pytest.mark.parametrize("frames", [[], [(0.0,)], [(0.0,), (1.0,)]])
def test_no_face_no_track(frames):
    assert link(film(*frames)) == []


def test_one_still_face_is_one_track():
    (track,) = link(film((0.0, face()), (0.5, face()), (1.0, face())))
    assert track.id == 0
    assert track.times.tolist() == [0.0, 0.5, 1.0]
    assert track.boxes.shape == (3, 4)
    assert track.landmarks.shape == (3, 5, 2)
    assert track.scores.tolist() == pytest.approx([0.99] * 3)


@pytest.mark.parametrize(
    ("gap", "moved", "one"),
    [
        (0.5, 20, True),  # boxes overlap
        (0.5, 45, True),  # no overlap to speak of, but within one side in half a second
        (0.5, 60, False),
        (0.1, 45, False),  # too fast
        (10.0, 95, True),  # windows seconds apart: within two sides
        (10.0, 105, False),
        (100.0, 0, True),
    ],
)
def test_a_face_may_move_some_sides_a_second(gap, moved, one):
    tracks = link(film((0.0, face()), (gap, face(x=100 + moved))))
    assert len(tracks) == (1 if one else 2)


@pytest.mark.parametrize(("side", "one"), [(95.0, True), (105.0, False), (26.0, True), (24.0, False)])
def test_a_face_may_double_or_halve(side, one):
    tracks = link(film((0.0, face(side=50)), (0.5, face(side=side))))
    assert len(tracks) == (1 if one else 2)


def test_two_faces_keep_their_tracks_over_distant_windows():
    left, right = face(x=100, side=60), face(x=300, side=40)
    tracks = link(film((0.0, left, right), (0.5, right, left), (9.0, left), (20.0, right, left)))
    assert seen(tracks) == [(0, [0.0, 0.5, 9.0, 20.0]), (1, [0.0, 0.5, 20.0])]
    assert centres(tracks[0], [0.5, 20.0]) == [[100, 100], [100, 100]]
    assert centres(tracks[1], [0.5, 20.0]) == [[300, 100], [300, 100]]


def test_a_new_face_beside_a_known_one_does_not_take_its_track():
    tracks = link(film((0.0, face(x=100)), (0.5, face(x=140, side=48), face(x=102))))
    assert seen(tracks) == [(0, [0.0, 0.5]), (1, [0.5])]
    assert centres(tracks[0], [0.5]) == [[102, 100]]


def test_overlap_goes_before_nearness_of_centres():
    tracks = link(film((0.0, face(x=100)), (0.5, face(x=100, side=95), face(x=125))))
    (track,) = (track for track in tracks if len(track.times) == 2)
    assert centres(track, [0.5]) == [[125, 100]]


def test_recently_seen_goes_before_long_gone():
    comes = [(20 + 0.1 * step, face(x=210 - 20 * step)) for step in range(6)]  # to where another person was at first
    tracks = link(film((0.0, face(x=100)), *comes))
    assert seen(tracks) == [(0, [time for time, _ in comes]), (1, [0.0])]


def test_a_face_goes_to_one_track_only():
    tracks = link(film((0.0, face(x=90), face(x=110)), (0.5, face(x=100))))
    assert sorted(len(track.times) for track in tracks) == [1, 2]


def test_order_and_duplicates_of_detections_do_not_matter():
    frames = film((0.0, face(x=100), face(x=300)), (0.5, face(x=110)), (1.0, face(x=120), face(x=310)))
    expected = seen(link(frames))
    for shuffled in itertools.permutations(frames):
        assert seen(link([*shuffled, frames[0]])) == expected


def test_equal_faces_rank_by_first_sight():
    frames = film((0.0, face(x=300), face(x=100)), (0.5, face(x=100), face(x=300)))
    for _ in range(3):
        assert [track.boxes[0, 0] for track in link(frames)] == [275, 75]


# --- ranking and choice ---


def test_the_largest_come_first():
    faces = [face(x=100 * i, side=20 + i) for i in range(1, 6)]
    tracks = link(film((0.0, *faces), (0.5, *faces)))
    assert [track.id for track in tracks] == [0, 1, 2, 3, 4]
    assert [track.boxes[0, 2] - track.boxes[0, 0] for track in tracks] == [25, 24, 23, 22, 21]


def test_a_large_face_that_passes_ranks_below_a_smaller_one_that_stays():
    stays, passes = face(x=100, side=50), face(x=400, side=60)
    tracks = link(film((0.0, stays, passes), (0.5, stays), (1.0, stays)))
    assert [len(track.times) for track in tracks] == [3, 1]
    assert tracks[0].prominence == pytest.approx(50**2)
    assert tracks[1].prominence == pytest.approx(60**2 / 3)


@pytest.mark.parametrize(("score", "count"), [(0.75, 1), (0.95, 2)])
def test_a_weak_face_seen_once_beside_a_lasting_one_is_a_false_alarm(score, count):
    tracks = link(film((0.0, face()), (0.5, face(), face(x=400, score=score)), (1.0, face())))
    assert len(tracks) == count


def test_a_weak_face_seen_once_alone_is_kept():
    assert len(link(film((0.0,), (0.5, face(score=0.71)), (1.0,)))) == 1


def test_a_still_picture_keeps_all_its_faces():
    assert len(link(film((0.0, face(score=0.75), face(x=300, score=0.99))))) == 2


def test_a_weak_face_seen_twice_is_kept():
    frames = film((0.0, face(), face(x=400, score=0.71)), (0.5, face(), face(x=400, score=0.71)))
    assert len(link(frames)) == 2


# --- between detections ---


def path(*points, searched=None):
    """The one track of a face at (time, x) points."""
    frames = [Detection(time, [face(x=x)]) for time, x in points]
    frames += [Detection(time, []) for time in searched or ()]
    (track,) = link(frames)
    return track


def xs(track, times):
    return [x for x, _ in centres(track, times)]


def test_between_detections_a_face_moves_evenly():
    track = path((0.0, 100), (0.5, 110))
    assert xs(track, [0.0, 0.1, 0.25, 0.5]) == pytest.approx([100, 102, 105, 110], abs=1e-4)


def test_before_the_first_and_after_the_last_detection_it_rests():
    track = path((1.0, 100), (1.5, 110))
    assert xs(track, [-5.0, 0.0, 1.0, 1.5, 2.0, 99.0]) == pytest.approx([100, 100, 100, 110, 110, 110])


def test_one_detection_holds_everywhere():
    assert xs(path((1.0, 100)), [0.0, 1.0, 2.0]) == [100, 100, 100]


def test_no_times_no_boxes():
    track = path((0.0, 100), (0.5, 110))
    assert track.boxes_at([]).shape == (0, 4)
    assert track.landmarks_at([]).shape == (0, 5, 2)


def test_landmarks_follow_like_boxes():
    track = path((0.0, 100), (0.5, 110), (1.0, 106))
    times = np.linspace(-0.2, 1.2, 15)
    landmarks = track.landmarks_at(times)
    assert landmarks.dtype == np.float32
    assert track.boxes_at(times).dtype == np.float32
    np.testing.assert_allclose(landmarks[:, 2], centres(track, times), atol=1e-4)


def test_a_missed_detection_is_bridged():
    track = path((0.0, 100), (0.5, 110), (1.5, 130), (2.0, 140), searched=[1.0])
    assert xs(track, [1.0]) == pytest.approx([120], abs=1e-4)
    assert track.covers(0.5, 1.5)


def test_misses_within_a_second_are_bridged_however_dense_the_search():
    track = path((0.0, 100), (0.9, 118), searched=[step / 10 for step in range(1, 9)])
    assert xs(track, [0.2, 0.6]) == pytest.approx([104, 112], abs=1e-3)


def test_over_a_long_gap_the_nearest_detection_holds():
    track = path((0.0, 100), (0.5, 100), (9.0, 160), (9.5, 160))
    assert xs(track, [0.6, 4.0, 5.5, 8.9]) == pytest.approx([100, 100, 160, 160])


def test_sparse_detection_is_interpolated_at_its_own_pace():
    track = path((0.0, 100), (4.0, 120), (8.0, 140), (12.0, 160))
    assert xs(track, [2.0, 6.0, 10.0]) == pytest.approx([110, 130, 150], abs=1e-4)


# --- smoothing ---


@pytest.mark.parametrize("times", [[0.0, 0.5, 1.0, 1.5], [0.0, 0.1, 0.7, 0.9, 1.6]])
@pytest.mark.parametrize("speed", [0.0, 40.0, -25.0])
def test_rest_and_steady_motion_stay_as_they_are(times, speed):
    track = path(*((time, 100 + speed * time) for time in times))
    at = np.linspace(times[0], times[-1], 23)
    assert xs(track, at) == pytest.approx((100 + speed * at).tolist(), abs=1e-3)


def test_jitter_is_halved():
    track = path((0.0, 100), (0.5, 102), (1.0, 98), (1.5, 102), (2.0, 100))
    assert xs(track, [0.5, 1.0, 1.5]) == pytest.approx([100.5, 100, 100.5])


def test_a_jump_is_not_overshot():
    track = path((0.0, 100), (0.5, 100), (1.0, 140), (1.5, 140))
    positions = xs(track, np.linspace(0, 1.5, 61))
    assert min(positions) >= 100 - 1e-3
    assert max(positions) <= 140 + 1e-3
    assert positions == sorted(positions)


def test_distant_windows_do_not_pull_at_each_other():
    track = path((0.0, 100), (0.5, 100), (9.0, 180), (9.5, 180))
    assert xs(track, [0.0, 0.5, 9.0, 9.5]) == pytest.approx([100, 100, 180, 180])


def test_the_raw_detections_stay_in_the_track():
    track = path((0.0, 100), (0.5, 104), (1.0, 100))
    track.boxes_at([0.5])
    assert track.boxes[:, 0].tolist() == [75, 79, 75]


# --- presence ---


@pytest.mark.parametrize(
    ("start", "end", "there"),
    [
        (0.0, 0.5, True),
        (0.0, 1.0, True),  # two of three
        (0.5, 1.0, True),  # one of two
        (1.0, 1.5, False),  # none of two
        (0.5, 1.5, False),  # one of three
        (0.2, 0.4, False),  # never looked
        (1.9, 2.1, True),
        (5.0, 9.0, False),
    ],
)
def test_a_face_is_there_when_half_the_searched_frames_show_it(start, end, there):
    track = path((0.0, 100), (0.5, 100), (2.0, 100), searched=[1.0, 1.5])
    assert track.covers(start, end) is there


def test_tracks_share_the_searched_frames():
    tracks = link(film((0.0, face()), (0.5,), (1.0, face(), face(x=300))))
    assert all(isinstance(track, Track) and track.searched.tolist() == [0.0, 0.5, 1.0] for track in tracks)


def test_many_faces_in_many_frames_are_linked_right():
    rng = np.random.default_rng(0)
    homes = [(120.0 * column, 120.0 * row) for column in range(1, 9) for row in range(1, 6)]
    frames = []
    for number in range(40):
        faces = [face(x=x + rng.normal(0, 3), y=y + rng.normal(0, 3)) for x, y in homes if rng.random() > 0.1]
        frames.append(Detection(number / 4, [faces[i] for i in rng.permutation(len(faces))]))
    tracks = link(frames)
    assert len(tracks) == len(homes)
    assert all(np.ptp(track.boxes[:, :2], axis=0).max() < 40 for track in tracks)
