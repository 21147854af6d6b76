"""Faces in windows of time: found, followed, cut out, and forgotten in time."""

import io
import weakref
from pathlib import Path

import numpy as np
import pytest

from aura_model import picture
from aura_model.cropping import crop_face
from aura_model.errors import MediaError
from aura_model.faces import Face
from aura_model.frames import Converter, FrameReader
from aura_model.media import open_media
from aura_model.picture import PictureReader
from aura_model.settings import load_config
from aura_model.stopwatch import Stopwatch

MEDIA = Path(__file__).parents[1] / "media"
CONFIG = load_config(env={})
LIMITS = CONFIG.limits
FACE = CONFIG.dataset.face.model_copy(update={"size": 64, "every": 4, "max_faces": 4})


def face(x, y=32.0, side=20.0, score=0.99):
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], dtype=np.float32)
    landmarks = np.array([[x - 4, y - 4], [x + 4, y - 4], [x, y], [x - 3, y + 5], [x + 3, y + 5]], dtype=np.float32)
    return Face(box, landmarks, score)


class Script:
    """A detector that finds what a function of the frame's number says, and remembers what it was asked."""

    def __init__(self, films, found):
        self._number = films.number
        self._found = found
        self.asked = []

    def detect(self, image):
        self.asked.append(self._number(image))
        return self._found(self.asked[-1])


def windows(*starts, count=8, rate=8.0):
    return [start + np.arange(count) / rate for start in starts]


@pytest.fixture(scope="module")
def film(films):
    """Two seconds at 25 frames a second, each of which shows its number."""
    return films.film("mp4", films.Pictures())


def follow(data, detector, *starts, config=FACE, count=8, **limits):
    limits = LIMITS.model_copy(update=limits)
    reader = PictureReader(detector, config, limits, threads=1)
    with open_media(io.BytesIO(data), limits) as media:
        return reader.read(media, windows(*starts, count=count), Stopwatch())


def frames_at(data, times):
    with open_media(io.BytesIO(data), LIMITS) as media:
        reader, convert = FrameReader(media, LIMITS, 1), Converter(1)
        return [convert.rgb(reader.at(float(time))) for time in times]


# --- one face ---


def test_a_face_is_cut_from_every_frame_of_each_window(films, film):
    found = follow(film, Script(films, lambda number: [face(60)]), 0.0, 1.0)
    assert [(crops.window, crops.track_id) for crops in found.crops] == [(0, 0), (1, 0)]
    for crops, times in zip(found.crops, windows(0.0, 1.0), strict=True):
        assert crops.frames.shape == (8, 64, 64, 3)
        assert crops.frames.dtype == np.uint8
        assert crops.boxes.shape == (8, 4)
        assert crops.landmarks.shape == (8, 5, 2)
        expected = [
            crop_face(image, face(60).box, face(60).landmarks, FACE.margin, FACE.size)
            for image in frames_at(film, times)
        ]
        assert np.array_equal(crops.frames, np.stack([image for image, _ in expected]))
        assert np.allclose(crops.landmarks, np.stack([points for _, points in expected]), atol=1e-4)


def test_the_box_follows_the_face_between_detections(films, film):
    found = follow(film, Script(films, lambda number: [face(40 + number)]), 0.0)
    centres = (found.crops[0].boxes[:, 0] + found.crops[0].boxes[:, 2]) / 2
    assert np.all(np.diff(centres) > 0)
    assert centres[0] == pytest.approx(40)
    assert centres[-1] == pytest.approx(40 + 21)  # the frame on display at 0.875 s


def test_size_and_rotation_are_as_displayed(films):
    found = follow((MEDIA / "rotated.mp4").read_bytes(), Script(films, lambda number: [face(100)]), 0.0)
    assert (found.width, found.height, found.rotation) == (400, 300, 90)


@pytest.mark.parametrize(
    ("every", "asked"),
    [(1, [0, 3, 6, 9, 12, 15, 18, 21]), (4, [0, 12, 21]), (7, [0, 21]), (8, [0, 21]), (100, [0, 21])],
)
def test_every_kth_frame_and_the_last_one_are_searched(films, film, every, asked):
    detector = Script(films, lambda number: [face(60)])
    follow(film, detector, 0.0, config=FACE.model_copy(update={"every": every}))
    assert detector.asked == asked


def test_a_frame_that_stays_on_display_is_searched_once(films):
    slides = films.film("mp4", films.Pictures(range(3), rate=1, times_ms=[0, 1000, 2000]))
    detector = Script(films, lambda number: [face(60)])
    found = follow(slides, detector, 0.0, 1.0, config=FACE.model_copy(update={"every": 1}))
    assert detector.asked == [0, 1]
    assert [crops.frames.shape[0] for crops in found.crops] == [8, 8]
    assert np.array_equal(found.crops[0].frames[0], found.crops[0].frames[7])


def test_a_still_fills_its_window(films):
    data = (MEDIA / "face.png").read_bytes()
    found = follow(data, Script(films, lambda number: [face(128, 128, 100)]), 0.0)
    assert found.crops[0].frames.shape == (8, 64, 64, 3)
    assert np.ptp(found.crops[0].frames.astype(int), axis=0).max() == 0


# --- frames of several sizes and shapes ---


def changing(films, *sizes, **how):
    """Transport streams of half a second each, on one clock, of these frame sizes; frames have 0.., 20.., 40.."""
    made = [
        films.film(
            "mpegts",
            films.Pictures(
                range(20 * k, 20 * k + 12),
                size=size,
                options={"preset": "veryfast", "x264-params": "bframes=0:threads=1"} | how,
                times_ms=[500 * k + 40 * i for i in range(12)],
            ),
        )
        for k, size in enumerate(sizes)
    ]
    return b"".join(made)


def scaled(one, x, y):
    scale = np.array([x, y], np.float32)
    return Face(one.box * np.tile(scale, 2), one.landmarks * scale, one.score)


def test_a_face_is_followed_where_the_frame_size_changes(films):
    """As in calls over a poor network: boxes are in the first frame's pixels, crops in each frame's own."""
    data = changing(films, (128, 64), (256, 128), (64, 32))
    scales = {0: 1, 1: 2, 2: 0.5}
    detector = Script(films, lambda number: [scaled(face(60), scales[number // 20], scales[number // 20])])
    (crops,) = follow(data, detector, 0.0, config=FACE.model_copy(update={"every": 1}), count=11).crops
    assert np.abs(crops.boxes - face(60).box).max() < 0.01
    assert np.abs(crops.landmarks - crops.landmarks[0]).max() < 0.01
    for time, frame in zip(windows(0.0, count=11)[0], crops.frames, strict=True):
        (image,), k = frames_at(data, [time]), min(2, int((time + 0.001) / 0.5))
        own = scaled(face(60), scales[k], scales[k])
        assert np.array_equal(frame, crop_face(image, own.box, own.landmarks, FACE.margin, FACE.size)[0])


def test_sides_may_change_apart(films):
    data = changing(films, (128, 64), (128, 128))
    detector = Script(films, lambda number: [scaled(face(60), 1, 1 + number // 20)])
    (crops,) = follow(data, detector, 0.0, config=FACE.model_copy(update={"every": 1})).crops
    assert np.abs(crops.boxes - face(60).box).max() < 0.01


def test_without_a_detector_too_boxes_are_in_the_first_frames_pixels(films):
    (crops,) = follow(changing(films, (128, 64), (256, 128)), None, 0.0).crops
    assert np.all(crops.boxes == np.array([32, 0, 96, 64], dtype=np.float32))
    assert crops.boxes.dtype == np.float32


def test_faces_are_searched_and_cut_in_square_pixels(films):
    wide = changing(films, (128, 64), aspect="2/1")
    found = follow(wide, Script(films, lambda number: [face(120, side=30)]), 0.0, count=4)
    assert (found.width, found.height) == (256, 64)
    (crops,) = found.crops
    assert np.abs(crops.boxes - face(120, side=30).box).max() < 0.01
    with open_media(io.BytesIO(wide), LIMITS) as media:
        image = Converter(1).rgb(FrameReader(media, LIMITS, 1).at(0.0))
    expected = crop_face(image, face(120, side=30).box, face(120, side=30).landmarks, FACE.margin, FACE.size)[0]
    assert np.array_equal(crops.frames[0], expected)
    centre = follow(wide, None, 0.0, count=4).crops[0]
    assert np.all(centre.boxes == np.array([96, 0, 160, 64], dtype=np.float32))


# --- several faces ---


def test_the_most_prominent_face_comes_first_then_time(films, film):
    found = follow(film, Script(films, lambda number: [face(100, side=16), face(40, side=30)]), 0.0, 1.0)
    assert [(crops.track_id, crops.window) for crops in found.crops] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(crops.boxes[0, 0] < 64 for crops in found.crops[:2])


def test_a_track_keeps_its_number_where_others_come_and_go(films, film):
    def found(number):
        return [face(40, side=30)] if number < 25 else [face(100, side=40), face(40, side=30)]

    crops = follow(film, Script(films, found), 0.0, 1.0).crops
    assert sorted((c.track_id, c.window) for c in crops) == [(0, 0), (0, 1), (1, 1)]
    assert all(c.boxes[0, 0] < 64 for c in crops if c.track_id == 0)


def test_no_more_faces_than_allowed_are_kept(films, film):
    detector = Script(films, lambda number: [face(10 + 25 * k, side=12 + k) for k in range(5)])
    found = follow(film, detector, 0.0, 1.0, config=FACE.model_copy(update={"max_faces": 2}))
    assert [crops.track_id for crops in found.crops] == [0, 0, 1, 1]


def test_faces_beyond_the_number_allowed_are_told_of(films, film):
    for faces, left_out in ((2, False), (3, True), (5, True)):
        detector = Script(films, lambda number, count=faces: [face(10 + 25 * k, side=12 + k) for k in range(count)])
        found = follow(film, detector, 0.0, 1.0, config=FACE.model_copy(update={"max_faces": 2}))
        assert found.faces_left_out is left_out
        assert len(found.crops) == 4


def test_the_number_allowed_is_that_of_each_window(films, film):
    """Two cameras: each shows others, or the same people elsewhere, who are other tracks then."""

    def found(number):
        return [face(20, side=30), face(60, side=12)] if number < 25 else [face(100, side=30), face(60, y=12, side=12)]

    found = follow(film, Script(films, found), 0.0, 1.0, config=FACE.model_copy(update={"max_faces": 2}))
    assert sorted((crops.window, crops.track_id) for crops in found.crops) == [(0, 0), (0, 2), (1, 1), (1, 3)]
    assert not found.faces_left_out


def test_where_a_face_goes_within_a_window_its_last_sight_stands_for_the_rest(films, film):
    """Without a face there is nothing of it to score; what is at its place then is somebody else's, or a wall."""
    detector = Script(films, lambda number: [face(60)] if number <= 12 else [])
    (crops,) = follow(film, detector, 0.0).crops
    times = windows(0.0)[0]
    assert sorted(detector.asked) == [0, 3, 6, 9, 12, 15, 18, 21]
    (last,) = frames_at(film, times[[4]])
    expected, landmarks = crop_face(last, face(60).box, face(60).landmarks, FACE.margin, FACE.size)
    for k in range(4, 8):
        assert np.array_equal(crops.frames[k], expected)
        assert np.allclose(crops.landmarks[k], landmarks, atol=1e-4)
    assert not np.array_equal(crops.frames[3], expected)


def test_where_a_face_comes_within_a_window_its_first_sight_stands_for_the_time_before(films, film):
    (crops,) = follow(film, Script(films, lambda number: [face(60)] if number >= 9 else []), 0.0).crops
    assert all(np.array_equal(crops.frames[k], crops.frames[3]) for k in range(3))
    assert not np.array_equal(crops.frames[4], crops.frames[3])


def test_a_cut_to_somebody_else_within_a_window_parts_the_two(films, film):
    detector = Script(films, lambda number: [face(30) if number <= 9 else face(100)])
    left, right = sorted(follow(film, detector, 0.0).crops, key=lambda crops: crops.boxes[0, 0])
    assert all(np.array_equal(left.frames[k], left.frames[3]) for k in range(4, 8))
    assert all(np.array_equal(right.frames[k], right.frames[4]) for k in range(4))


def test_the_leading_face_has_its_clips_where_others_are_larger(films, film):
    """In the second window another face is the largest; over the whole video it is not."""

    def found(number):
        return [face(30, side=30)] + ([face(95, side=40)] if number >= 25 else [])

    config = FACE.model_copy(update={"max_faces": 1})
    crops = follow(film, Script(films, found), 0.0, 1.0, config=config).crops
    assert [(c.track_id, c.window) for c in crops] == [(0, 0), (0, 1)]
    assert all(c.boxes[0, 0] < 64 for c in crops)


def test_a_window_in_which_a_face_is_hardly_seen_has_no_clip_of_it(films, film):
    """It is there throughout the first window, and in one of the three frames searched in the second."""
    found = follow(film, Script(films, lambda number: [face(60)] if number < 26 else []), 0.0, 1.0)
    assert [crops.window for crops in found.crops] == [0]


def test_no_face_no_crop(films, film):
    found = follow(film, Script(films, lambda number: []), 0.0, 1.0)
    assert found.crops == []
    assert (found.width, found.height) == (128, 64)


# --- windows ---


def test_windows_may_overlap(films, film):
    crops = follow(film, Script(films, lambda number: [face(60)]), 0.0, 0.3, 0.31, 1.0).crops
    assert [c.window for c in crops] == [0, 1, 2, 3]
    for c, times in zip(crops, windows(0.0, 0.3, 0.31, 1.0), strict=True):
        alone = follow(film, Script(films, lambda number: [face(60)]), float(times[0])).crops[0]
        assert np.array_equal(c.frames, alone.frames)


def test_two_windows_may_be_the_same(films, film):
    one, two = follow(film, Script(films, lambda number: [face(60)]), 0.5, 0.5).crops
    assert np.array_equal(one.frames, two.frames)
    assert (one.track_id, two.track_id) == (0, 0)


def test_a_window_may_be_one_frame(films, film):
    (crops,) = follow(film, Script(films, lambda number: [face(60)]), 0.5, count=1).crops
    assert crops.frames.shape == (1, 64, 64, 3)


def test_a_window_past_the_end_shows_the_last_frame(films, film):
    detector = Script(films, lambda number: [face(60)])
    follow(film, detector, 1.5, config=FACE.model_copy(update={"every": 1}))
    assert detector.asked == [37, 40, 43, 46, 49]


def test_time_is_booked_by_stage(films, film):
    watch = Stopwatch()
    with open_media(io.BytesIO(film), LIMITS) as media:
        PictureReader(Script(films, lambda number: []), FACE, LIMITS, 1).read(media, windows(0.0, 1.0), watch)
    assert set(watch.seconds) == {"decode", "faces"}


# --- without a detector ---


def test_without_a_detector_the_centre_is_cut(film):
    found = follow(film, None, 0.0, 1.0)
    assert [(crops.window, crops.track_id) for crops in found.crops] == [(0, 0), (1, 0)]
    assert np.all(found.crops[0].boxes == np.array([32, 0, 96, 64], dtype=np.float32))
    images = frames_at(film, windows(0.0)[0])
    assert np.array_equal(found.crops[0].frames, np.stack([image[:, 32:96] for image in images]))


# --- damage and memory ---


def noisy(data, share):
    rng = np.random.default_rng(0)
    found = bytearray(data)
    with open_media(io.BytesIO(data), LIMITS) as media:
        for packet in media.video.packets:
            if rng.random() < share:
                found[packet.pos + 8 : packet.pos + packet.size] = rng.bytes(packet.size - 8)
    return bytes(found)


def test_where_no_packet_can_be_decoded_the_video_is_corrupt(films):
    data = noisy((MEDIA / "talking_face.mp4").read_bytes(), 1.0)
    with pytest.raises(MediaError) as error:
        follow(data, Script(films, lambda number: [face(60)]), 0.0, 1.0)
    assert error.value.code == "corrupt_video"


def test_some_noise_is_damage(films):
    data = noisy((MEDIA / "mpeg4.avi").read_bytes(), 0.1)
    assert follow(data, Script(films, lambda number: []), 0.0, 1.0).damaged
    assert not follow((MEDIA / "mpeg4.avi").read_bytes(), Script(films, lambda number: []), 0.0, 1.0).damaged


@pytest.fixture
def converted(monkeypatch):
    """For each conversion, how many images were in memory then."""
    made, alive = [], []

    class Counting(Converter):
        def rgb(self, shown):
            image = super().rgb(shown)
            made.append(weakref.ref(image))
            alive.append(sum(reference() is not None for reference in made))
            return image

    monkeypatch.setattr(picture, "Converter", Counting)
    return alive


@pytest.mark.parametrize("found", [[face(60), face(100)], []])
def test_few_images_are_in_memory_at_once(films, film, converted, found):
    """A window of 4K images is a good part of what a child may use: the searched ones and one more are kept."""
    follow(film, Script(films, lambda number: found), 0.0, 1.0)
    assert len(converted) == (16 if found else 6)  # each frame is converted once, and only where it is looked at
    assert max(converted) <= 4


def test_a_frame_that_stays_on_display_is_converted_once(films, converted):
    slides = films.film("mp4", films.Pictures(range(3), rate=1, times_ms=[0, 400, 2000]))
    follow(slides, Script(films, lambda number: [face(60)]), 0.0, config=FACE.model_copy(update={"every": 8}))
    assert len(converted) == 2


def test_the_frames_of_a_window_are_let_go_before_the_next(films, film, monkeypatch):
    held = []

    def watched(reader, windows, by_window=picture._by_window):
        for frames in by_window(reader, windows):
            held.append(frames)
            assert [len(earlier) for earlier in held[:-1]] == [0] * (len(held) - 1)
            yield frames

    monkeypatch.setattr(picture, "_by_window", watched)
    follow(film, Script(films, lambda number: []), 0.0, 0.5, 1.0)
    assert len(held) == 3


def test_a_flipped_byte_early_in_a_long_group_of_pictures_leaves_the_video_usable(films):
    data = bytearray((MEDIA / "video_only.mp4").read_bytes())
    with open_media(io.BytesIO(bytes(data)), LIMITS) as media:
        packet = media.video.packets[1]
    for offset in range(60, packet.size, 7):
        data[packet.pos + offset] ^= 0x55
    assert follow(bytes(data), Script(films, lambda number: [face(60)]), 0.0, 1.0).damaged
