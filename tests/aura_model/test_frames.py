"""The frame on display at a moment: against a plain decoder, over damage, and upright."""

import io
import math
import struct
import threading
import types
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest
from av.filter import Graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aura_model.errors import MediaError
from aura_model.frames import EARLY, Converter, FrameReader, Orientation, ShownFrame, orientation, square_size
from aura_model.media import open_media
from aura_model.settings import load_config

MEDIA = Path(__file__).parents[1] / "media"
LIMITS = load_config(env={}).limits
STEPS = np.arange(0, 2.2, 0.07)

X264 = {"preset": "veryfast"}
IN_ORDER = X264 | {"x264-params": "bframes=0:threads=1"}
OPEN_GOP = X264 | {"x264-params": "keyint=10:min-keyint=10:scenecut=0:open-gop=1:bframes=3:b-adapt=0:threads=1"}
X265 = "keyint=10:min-keyint=10:scenecut=0:bframes=3:b-adapt=0:pools=none:frame-threads=1:log-level=none"
INTERLACED = 1 << 18 | 1 << 29


def read(name):
    return (MEDIA / name).read_bytes()


class Opened:
    """A reader over some bytes."""

    def __init__(self, data, threads=1, **limits):
        limits = LIMITS.model_copy(update=limits)
        with open_media(io.BytesIO(data), limits) as self.media:
            self.reader = FrameReader(self.media, limits, threads)
        self.convert = Converter(threads)

    def at(self, times):
        return [self.reader.at(float(time)).frame for time in times]

    def images(self, times):
        return [self.convert.rgb(self.reader.at(float(time))) for time in times]


def plain(data):
    """Every frame of the first video stream in a plain decoder's order: (seconds from the first, frame)."""
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(video=0))
        base = container.streams.video[0].time_base
    first = min(frame.pts for frame in frames)
    return [(float((frame.pts - first) * base), frame) for frame in frames]


def displayed(frames, time):
    """The last frame with a time up to `time`, else the first one."""
    return max((f for f in frames if f[0] <= time + EARLY), key=lambda f: f[0], default=frames[0])[1]


def same(one, other):
    """Whether two frames are the same moment and the same pixels; the padding of their rows is not."""
    return one.pts == other.pts and np.array_equal(one.to_ndarray(), other.to_ndarray())


# --- the frame on display ---

FILES = {
    name: read(name)
    for name in [
        "long_gop.mp4",
        "vfr.mp4",
        "fragmented.mp4",
        "talking_face.mp4",
        "no_duration.webm",
        "mpeg4.avi",
        "hevc10.mp4",
        "one_frame.mp4",
    ]
}


@pytest.fixture(scope="module")
def decoded():
    return {name: plain(data) for name, data in FILES.items()}


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_at_is_what_a_plain_decoder_shows(decoded, name, data):
    frames = decoded[name]
    end = frames[-1][0]
    moments = st.one_of(st.floats(-1, end + 2), st.sampled_from([time for time, _ in frames]))
    times = sorted(data.draw(st.lists(moments, min_size=1, max_size=6)))
    for time, frame in zip(times, Opened(FILES[name]).at(times), strict=True):
        assert same(frame, displayed(frames, time))


# Every way of coding that phones, cameras, browsers and screen recorders use, with a key frame every ten frames.
CODINGS = {
    "mp4": ("mp4", {}),
    "mp4 in fragments": ("mp4", {"muxer": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}),
    "mp4 with negative offsets": ("mp4", {"muxer": {"movflags": "negative_cts_offsets"}}),
    "mp4 without an edit list": ("mp4", {"muxer": {"use_editlist": "0"}}),
    "matroska": ("matroska", {}),
    "flv": ("flv", {}),
    "transport stream": ("mpegts", {}),
    "open groups": (
        "mp4",
        {"options": OPEN_GOP},
    ),
    "open groups, ts": (
        "mpegts",
        {"options": OPEN_GOP},
    ),
    "interlaced": ("mp4", {"flags": INTERLACED}),
    "interlaced, ts": ("mpegts", {"flags": INTERLACED}),
    "hevc, closed groups": ("mp4", {"codec": "libx265", "options": {"x265-params": X265 + ":open-gop=0"}}),
    "hevc, open groups": ("mp4", {"codec": "libx265", "options": {"x265-params": X265 + ":open-gop=1"}}),
    "hevc, open groups, ts": ("mpegts", {"codec": "libx265", "options": {"x265-params": X265 + ":open-gop=1"}}),
    "vp8": ("webm", {"codec": "libvpx", "options": {"g": "10", "cpu-used": "8", "auto-alt-ref": "1"}}),
    "vp9": ("webm", {"codec": "libvpx-vp9", "options": {"g": "10", "cpu-used": "8", "lag-in-frames": "8"}}),
    "mpeg-2, ts": ("mpegts", {"codec": "mpeg2video", "options": {"g": "10", "bf": "2"}}),
    "mpeg-2, program stream": ("mpeg", {"codec": "mpeg2video", "options": {"g": "10", "bf": "2"}}),
    "mpeg-4, avi": ("avi", {"codec": "mpeg4", "options": {"g": "10"}}),
    "h.264, avi": ("avi", {"options": X264 | {"x264-params": "keyint=10:min-keyint=10:bframes=0"}}),
    "motion jpeg, avi": ("avi", {"codec": "mjpeg", "pixels": "yuvj420p", "options": {}}),
}


@pytest.fixture(scope="module")
def coded(films):
    made = {}

    def make(coding):
        if coding not in made:
            kind, how = CODINGS[coding]
            how = dict(how)
            muxer = how.pop("muxer", {})
            made[coding] = films.film(kind, films.Pictures(**how), **muxer)
        return made[coding]

    return make


@pytest.mark.parametrize("coding", CODINGS)
def test_each_coding_shows_its_frames_in_time(coded, films, coding):
    images = Opened(coded(coding)).images(STEPS)
    assert [films.number(image) for image in images] == [min(49, math.floor(t * 25 + 0.03)) for t in STEPS]


@pytest.mark.parametrize("coding", CODINGS)
def test_skipping_changes_no_byte_and_saves_work(coded, coding):
    times = [0.5, 0.55, 1.7, 1.9]
    skipping, straight = Opened(coded(coding)), Opened(coded(coding))
    straight.reader._keys.clear()
    assert all(same(a, b) for a, b in zip(skipping.at(times), straight.at(times), strict=True))
    assert skipping.reader.frames < straight.reader.frames
    assert not skipping.reader.damaged


@pytest.mark.parametrize("times", [[0.0, 2.6, 3.4], [1.1, 3.7], [1.8, 1.85, 3.9]])
@pytest.mark.parametrize("kind", ["mp4", "mpegts", "matroska"])
def test_a_key_frame_that_decodes_late_is_not_skipped_to(films, kind, times):
    """With intra refresh, decoding from a 'key frame' is clean only some frames later."""
    options = X264 | {"x264-params": "keyint=20:intra-refresh=1:bframes=0:threads=1"}
    shown = Opened(films.film(kind, films.Pictures(range(100), options=options)))
    assert [films.number(image) for image in shown.images(times)] == [math.floor(t * 25 + 0.03) for t in times]
    assert shown.reader.frames < 110  # it was tried once


@pytest.mark.parametrize("coding", ["matroska", "mpeg-4, avi", "mpeg-2, program stream", "vp9"])
def test_a_wrong_index_is_not_skipped_to(coded, films, coding):
    """Every frame is marked as a key frame, as some recorders do."""
    with open_media(io.BytesIO(coded(coding)), LIMITS) as media:
        for packet in media.video.packets:
            packet.is_keyframe = True
        reader = FrameReader(media, LIMITS, 1)
    assert len(reader._keys) > 5
    wrong = [reader.at(time).frame for time in (0.55, 1.35, 1.75)]
    assert all(same(a, b) for a, b in zip(wrong, Opened(coded(coding)).at([0.55, 1.35, 1.75]), strict=True))


def test_a_damaged_frame_of_many_key_frames_leaves_the_one_before_it_on_display(coded, films):
    data = coded("motion jpeg, avi")
    with av.open(io.BytesIO(data)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
    start = data.index(bytes(packet))
    shown = Opened(data[:start] + bytes(packet.size) + data[start + packet.size :])
    assert [films.number(image) for image in shown.images([0.1, 1.21, 1.25])] == [2, 29, 31]


def test_a_damaged_key_frame_is_not_skipped_to(films):
    data = films.film("mp4", films.Pictures())
    with av.open(io.BytesIO(data)) as container:
        key = [packet for packet in container.demux(video=0) if packet.is_keyframe][4]
    broken = data[: key.pos] + bytes(key.size) + data[key.pos + key.size :]
    shown = Opened(broken)
    assert films.number(shown.images([1.5])[0]) == 37  # before the damage
    shown.at([1.7])
    assert shown.reader.damaged
    assert shown.reader.frames < 40  # begun anew where it last began well, and not at the start


def test_keys_of_a_clock_that_was_set_back_are_not_skipped_to(films):
    """Two recordings, one after the other in one file, both from time 0."""
    data = films.film("mpegts", films.Pictures(range(25))) + films.film("mpegts", films.Pictures(range(100, 125)))
    shown = [films.number(image) for image in Opened(data).images([0.0, 0.5, 0.9])]
    assert shown == [0, 12, 22]


@pytest.mark.parametrize(("time", "number"), [(-5.0, 0), (-0.01, 0), (1.95, 48), (1.97, 49), (2.0, 49), (1e9, 49)])
def test_outside_the_span_the_first_or_the_last_frame_is_shown(films, coded, time, number):
    (image,) = Opened(coded("mp4")).images([time])
    assert films.number(image) == number


def test_a_frame_is_shown_a_little_before_its_rounded_time(films, coded):
    images = Opened(coded("mp4")).images([0.04 - 2 * EARLY, 0.04 - EARLY / 2, 0.04])
    assert [films.number(image) for image in images] == [0, 1, 1]


def test_a_moment_may_be_asked_for_twice(coded):
    one, two, three = Opened(coded("mp4")).at([0.5, 0.5, 0.51])
    assert one is two
    assert two is three


def test_frames_are_shown_by_time_and_not_by_index(films):
    times = [0, 20, 40, 500, 520, 1900, 2000]
    data = films.film("matroska", films.Pictures(range(7), times_ms=times))
    moments = [0.0, 0.03, 0.45, 0.51, 1.0, 1.89, 1.95, 2.5]
    assert [films.number(image) for image in Opened(data).images(moments)] == [0, 1, 2, 3, 4, 4, 5, 6]


def test_a_slide_show_keeps_each_slide_on_display(films):
    data = films.film("mp4", films.Pictures(range(4), rate=1, times_ms=[10_000 * i for i in range(4)]))
    moments = [0.0, 9.9, 10.0, 25.0, 39.0]
    assert [films.number(image) for image in Opened(data).images(moments)] == [0, 0, 1, 2, 3]


def test_without_timestamps_frames_follow_at_the_average_rate(films, coded):
    with open_media(io.BytesIO(coded("mp4")), LIMITS) as media:
        for packet in media.video.packets:
            packet.pts = packet.dts = None
        assert media.video.start is None
        reader = FrameReader(media, LIMITS, 1)
    images = [Converter(1).rgb(reader.at(time)) for time in (0.0, 0.1, 0.5, 1.99, 9.0)]
    assert [films.number(image) for image in images] == [0, 2, 12, 49, 49]


@pytest.mark.parametrize("coding", ["transport stream", "mpeg-2, ts", "interlaced, ts"])
@pytest.mark.parametrize(
    "lost",
    [
        lambda index, packet: not packet.is_keyframe,
        lambda index, packet: packet.is_keyframe,
        lambda index, packet: index % 3 == 1,
    ],
)
@pytest.mark.parametrize("decoding_too", [False, True])
def test_where_some_timestamps_are_missing_no_frame_is_far_off(coded, films, coding, lost, decoding_too):
    with open_media(io.BytesIO(coded(coding)), LIMITS) as media:
        for index, packet in enumerate(media.video.packets):
            if lost(index, packet):
                packet.pts = None
                packet.dts = None if decoding_too else packet.dts
        reader = FrameReader(media, LIMITS, 1)
    shown = [films.number(Converter(1).rgb(reader.at(float(time)))) for time in STEPS]
    assert max(abs(number - min(49, math.floor(t * 25 + 0.03))) for number, t in zip(shown, STEPS, strict=True)) <= 2


def test_an_edit_list_hides_frames_but_decodes_from_them(films, coded):
    data = coded("mp4")
    at = data.index(b"elst") + 12
    edited = data[:at] + struct.pack(">Ii", 800, round((0.08 + 0.64) * 12800)) + data[at + 8 :]
    images = Opened(edited).images([0.0, 0.04, 0.4, 0.79, 2.0])
    assert [films.number(image) for image in images] == [16, 17, 26, 35, 35]


def test_time_counts_from_the_first_frame(films):
    late = films.Pictures(range(25), times_ms=[7000 + 40 * i for i in range(25)])
    images = Opened(films.film("matroska", late)).images([0.0, 0.5])
    assert [films.number(image) for image in images] == [0, 12]


def test_a_media_without_video_has_no_frames():
    with open_media(io.BytesIO(read("audio_only.m4a")), LIMITS) as media, pytest.raises(ValueError, match="no video"):
        FrameReader(media, LIMITS, 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(coded, threads):
    expected = Opened(coded("mp4")).at(STEPS)
    assert all(same(a, b) for a, b in zip(Opened(coded("mp4"), threads).at(STEPS), expected, strict=True))


# --- size ---


def joined(films, *sizes):
    """Transport streams of half a second each, one after the other on one clock."""

    def times(part):
        return [500 * part + 40 * i for i in range(12)]

    parts = [
        films.film("mpegts", films.Pictures(range(20 * k, 20 * k + 12), size=size, options=IN_ORDER, times_ms=times(k)))
        for k, size in enumerate(sizes)
    ]
    return b"".join(parts)


def test_the_frame_size_may_change(films):
    shown = Opened(joined(films, (128, 64), (256, 96), (64, 128)))
    images = shown.images([0.2, 0.7, 1.2])
    assert [image.shape for image in images] == [(64, 128, 3), (96, 256, 3), (128, 64, 3)]
    assert [films.number(image) for image in images] == [5, 25, 45]
    assert (shown.reader.width, shown.reader.height) == (128, 64)


def test_a_frame_that_grows_too_large_is_refused(films):
    shown = Opened(joined(films, (128, 64), (256, 96)), max_pixels=128 * 64)
    assert shown.at([0.2])[0].width == 128
    last = shown.at([2.0])[0]  # the decoder refuses the larger ones
    assert last.width == 128
    assert shown.reader.damaged


def test_a_frame_that_becomes_too_small_is_refused(films):
    shown = Opened(joined(films, (128, 64), (64, 32)), min_side=40)
    with pytest.raises(MediaError, match="resolution_too_small"):
        shown.at([0.2, 0.9])


# --- pixels that are no squares ---

# How a stream says it: in the container, or in its own headers alone, which only the decoder reads.
ANAMORPHIC = {
    "mp4": ("mp4", {"options": IN_ORDER | {"aspect": "ASPECT"}}),
    "matroska": ("matroska", {"options": IN_ORDER | {"aspect": "ASPECT"}}),
    "h.264, ts": ("mpegts", {"options": IN_ORDER | {"aspect": "ASPECT"}}),
    "mpeg-4, avi": ("avi", {"codec": "mpeg4", "options": {"aspect": "ASPECT"}}),
}


def anamorphic(films, aspect, coding="mp4", **how):
    kind, made = ANAMORPHIC[coding]
    options = {name: value.replace("ASPECT", aspect) for name, value in made["options"].items()}
    return films.film(kind, films.Pictures(**{"numbers": range(5)} | made | {"options": options} | how))


def squared(shown, time=0.0):
    """A frame in square pixels."""
    return shown.convert.rgb(shown.reader.at(time))


@pytest.mark.parametrize(("aspect", "size"), [("2/1", (256, 64)), ("1/2", (128, 128)), ("1/1", (128, 64))])
@pytest.mark.parametrize("coding", ANAMORPHIC)
def test_pixels_become_squares(films, coding, aspect, size):
    shown = Opened(anamorphic(films, aspect, coding))
    image = squared(shown)
    assert image.shape == (size[1], size[0], 3)
    assert films.number(squared(shown, 0.12)) == 3
    assert (shown.reader.width, shown.reader.height) == size


@pytest.mark.parametrize(("aspect", "size", "square"), [("2/1", (64, 72), (128, 72)), ("1/2", (128, 48), (128, 96))])
@pytest.mark.parametrize("kind", ["mpegts", "mpeg"])
def test_mpeg_2_has_the_shape_of_the_screen(films, kind, aspect, size, square):
    """16:9 and 4:3 here: it knows no other aspect of pixels."""
    pictures = films.Pictures(size=size, codec="mpeg2video", options={"aspect": aspect})
    shown = Opened(films.film(kind, pictures))
    assert squared(shown).shape[1::-1] == square
    assert (shown.reader.width, shown.reader.height) == square


@pytest.mark.parametrize(("aspect", "width"), [("64/45", 182), ("4/3", 171), ("101/100", 128), ("99/100", 128)])
def test_sides_are_rounded_and_what_is_nearly_square_is_left(films, aspect, width):
    assert squared(Opened(anamorphic(films, aspect))).shape == (64, width, 3)


def test_the_container_has_the_last_word(films):
    """As in players: whoever packs a stream may know better than its coder."""
    data = anamorphic(films, "2/1")
    at = data.index(b"pasp") + 4
    shown = Opened(data[:at] + struct.pack(">II", 1, 2) + data[at + 8 :])
    assert squared(shown).shape == (128, 128, 3)


def test_a_frame_of_squares_keeps_every_byte(coded):
    shown = Opened(coded("mp4"))
    one = shown.reader.at(0.5)
    assert np.array_equal(shown.convert.rgb(one), one.frame.to_ndarray(format="rgb24"))


@pytest.mark.parametrize(
    ("width", "height"),
    [(0, 0), (0, 7), (7, 0), (1, 5), (5, 1), (2**31 - 1, 1), (1, 2**31 - 1), (2**32 - 1, 2), (2, 2**32 - 1)],
)
def test_an_absurd_aspect_is_taken_for_none(films, width, height):
    data = anamorphic(films, "2/1")
    at = data.index(b"pasp") + 4
    shown = Opened(data[:at] + struct.pack(">II", width, height) + data[at + 8 :])
    assert squared(shown).shape in {(64, 128, 3), (64, 256, 3)}  # where it is no number, the stream's own counts
    assert (shown.reader.width, shown.reader.height) == squared(shown).shape[1::-1]


@pytest.mark.parametrize("aspect", [0.0, -2.0, 0.2499, 4.001, 1e300, math.inf, -math.inf, math.nan])
def test_no_other_number_is_an_aspect(coded, aspect):
    frame = Opened(coded("mp4")).reader.at(0.0).frame
    assert square_size(frame, aspect) == (128, 64)


def test_a_frame_may_not_be_too_large_in_squares(films):
    data = anamorphic(films, "2/1")
    assert squared(Opened(data, max_pixels=256 * 64)).shape == (64, 256, 3)
    with pytest.raises(MediaError, match="resolution_too_large: Frames are 256x64"):
        Opened(data, max_pixels=256 * 64 - 1).at([0.0])


def parts(films, *aspects, **how):
    """Transport streams of half a second each, on one clock, which differ in the shape of their pixels."""
    made = [
        anamorphic(
            films,
            aspect,
            "h.264, ts",
            numbers=range(20 * k, 20 * k + 12),
            times_ms=[500 * k + 40 * i for i in range(12)],
            **how,
        )
        for k, aspect in enumerate(aspects)
    ]
    return b"".join(made)


def test_the_shape_of_pixels_may_change(films):
    """As between a broadcast's programmes, of one frame size."""
    shown = Opened(parts(films, "2/1", "1/2"))
    assert [squared(shown, time).shape for time in (0.2, 0.8)] == [(64, 256, 3), (128, 128, 3)]
    assert (shown.reader.width, shown.reader.height) == (256, 64)


def test_a_later_shape_may_not_be_too_large_either(films):
    shown = Opened(parts(films, "1/1", "2/1"), max_pixels=128 * 64)
    assert squared(shown, 0.2).shape == (64, 128, 3)
    with pytest.raises(MediaError, match="resolution_too_large"):
        shown.at([0.9])


def test_pixels_are_shaped_before_the_picture_is_turned(films):
    shown = Opened(with_matrix(anamorphic(films, "2/1"), 0, 1, -1, 0))
    assert squared(shown).shape == (256, 64, 3)
    assert (shown.reader.width, shown.reader.height) == (256, 64)


@pytest.mark.parametrize("density", [(2, 1), (1, 2), (300, 72)])
def test_a_still_has_square_pixels(density):
    """Its density is that of print."""
    data = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    at = data.index(b"JFIF\0") + 8
    assert data[at - 1] in (0, 1)
    shown = Opened(data[: at - 1] + b"\0" + struct.pack(">HH", *density) + data[at + 4 :])
    assert squared(shown).shape == (48, 64, 3)


# --- what the decoder does not take ---


@pytest.mark.parametrize("kind", ["mov", "avi"])
def test_png_frames_of_a_film_are_not_accepted(films, kind):
    """But for those that a data set's frames were packed into; see `training.data.frame_folder`."""
    with pytest.raises(MediaError, match="unsupported_codec"):
        Opened(films.film(kind, films.Pictures(range(5), codec="png", pixels="rgb24", options={})))


def test_a_header_that_understates_the_size_gains_nothing(films):
    """What the container says is not what the decoder finds."""
    data = films.film("avi", films.Pictures(range(5), codec="mjpeg", pixels="yuvj420p", options={}, size=(256, 128)))
    small = data.replace(struct.pack("<ii", 256, 128), struct.pack("<ii", 64, 32))
    assert small != data
    with pytest.raises(MediaError, match="corrupt_video"):
        Opened(small, max_pixels=64 * 64).at([0.0])


# --- damage ---


def garbled(data, share, seed=0):
    """Fill the given share of the video packets with noise."""
    rng = np.random.default_rng(seed)
    found = bytearray(data)
    with av.open(io.BytesIO(data)) as container:
        for packet in container.demux(video=0):
            if packet.size > 16 and rng.random() < share:
                found[packet.pos + 8 : packet.pos + packet.size] = rng.bytes(packet.size - 8)
    return bytes(found)


@pytest.mark.parametrize("name", ["talking_face.mp4", "mpeg4.avi", "vp9.webm", "hevc10.mp4"])
def test_where_every_packet_is_noise_nothing_is_shown_as_video(name):
    shown = Opened(garbled(read(name), 1.0))
    try:
        shown.at(STEPS)
    except MediaError as error:
        assert error.code == "corrupt_video"  # noqa: PT017 - either this, or frames that are marked
    else:
        assert shown.reader.garbled or shown.reader.marred > 0.8 * shown.reader.frames


@pytest.mark.parametrize("name", ["talking_face.mp4", "mpeg4.avi"])
def test_some_noise_is_damage_but_not_the_end(name):
    shown = Opened(garbled(read(name), 0.1))
    shown.at(STEPS)
    assert shown.reader.damaged
    assert not shown.reader.garbled
    assert shown.reader.refused + shown.reader.marred > 0


@pytest.mark.parametrize("name", FILES)
def test_an_intact_file_has_no_damage(name):
    shown = Opened(FILES[name])
    shown.at(STEPS)
    assert not shown.reader.damaged
    assert not shown.reader.garbled


@pytest.mark.parametrize(
    ("refused", "frames", "marred", "is_garbled"),
    [(0, 0, 0, False), (0, 10, 0, False), (4, 1, 0, False), (5, 1, 0, True), (0, 10, 10, False), (5, 1, 1, True)],
)
def test_garbled_means_that_nearly_every_packet_is_refused(coded, refused, frames, marred, is_garbled):
    reader = Opened(coded("mp4")).reader
    reader.refused, reader.frames, reader.marred = refused, frames, marred
    assert reader.garbled == is_garbled


def test_memory_that_runs_out_is_no_damage(coded):
    class Exhausted:
        def decode(self, packet):
            raise av.error.MemoryError(12, "Cannot allocate memory")

    reader = Opened(coded("mp4")).reader
    reader._context = Exhausted()
    with pytest.raises(MemoryError):
        reader.at(0.0)


# --- upright ---

QUARTER = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
# The filters that FFmpeg itself inserts for a display matrix (fftools/ffmpeg_filter.c).
MATRICES = {
    (1, 0, 0, 1): [],
    (0, 1, -1, 0): [("transpose", "clock")],
    (-1, 0, 0, -1): [("hflip", None), ("vflip", None)],
    (0, -1, 1, 0): [("transpose", "cclock")],
    (-1, 0, 0, 1): [("hflip", None)],
    (1, 0, 0, -1): [("vflip", None)],
    (0, 1, 1, 0): [("transpose", "cclock_flip")],
    (0, -1, -1, 0): [("transpose", "clock_flip")],
}


def with_matrix(data, a, b, c, d):
    """An MP4 whose track has this display matrix (fixed point 16.16)."""
    at = data.index(b"tkhd") + 4 + 40
    fixed = [round(value * 65536) for value in (a, b, c, d)]
    return data[:at] + struct.pack(">9i", fixed[0], fixed[1], 0, fixed[2], fixed[3], 0, 0, 0, 1 << 30) + data[at + 36 :]


def filtered(frame, filters):
    graph = Graph()
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))]
    nodes += [graph.add(name, argument) if argument else graph.add(name) for name, argument in filters]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull().to_ndarray(format="rgb24")


@pytest.fixture(scope="module")
def lopsided(films):
    """Three frames without any symmetry."""
    return films.film("mp4", films.Pictures(range(0b00010111, 0b00010111 + 3)))


@pytest.fixture(scope="module")
def lopsided_frame(lopsided):
    frame = plain(lopsided)[0][1]
    image = frame.to_ndarray(format="rgb24")
    image[:10, :40] = (255, 0, 0)
    frame = av.VideoFrame.from_ndarray(image)
    frame.pts = 0
    return frame


@pytest.mark.parametrize("matrix", MATRICES)
def test_each_display_matrix_is_applied_as_ffmpeg_does(lopsided, lopsided_frame, matrix):
    (frame,) = Opened(with_matrix(lopsided, *matrix)).at([0.0])
    turned = orientation(frame).apply(lopsided_frame.to_ndarray())
    assert np.array_equal(turned, filtered(lopsided_frame, MATRICES[matrix]))


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_converter_turns_and_the_reader_says_how(lopsided, matrix):
    shown = Opened(with_matrix(lopsided, *matrix))
    (image,) = shown.images([0.0])
    sideways = matrix[0] == 0
    assert image.shape == ((128, 64, 3) if sideways else (64, 128, 3))
    assert image.flags.c_contiguous
    assert (shown.reader.width, shown.reader.height) == (128, 64)
    assert shown.reader.orientation.turns % 2 == sideways
    assert shown.reader.orientation.flip == (matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0)


@pytest.mark.parametrize("degrees", [0.3, 45, 89.6, 90.4, 135, 200, 359.8])
def test_only_quarter_turns_count(lopsided, degrees):
    angle = math.radians(degrees)
    matrix = math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle)
    (frame,) = Opened(with_matrix(lopsided, *matrix)).at([0.0])
    nearest = round(degrees / 90) % 4
    expected = nearest if abs(degrees - 90 * round(degrees / 90)) < 0.5 else 0
    assert orientation(frame) == Orientation(expected, flip=False)


def test_scale_in_the_matrix_does_not_matter(lopsided):
    (frame,) = Opened(with_matrix(lopsided, 0, 3.5, -0.5, 0)).at([0.0])
    assert orientation(frame) == Orientation(1, flip=False)


def test_a_matrix_of_zeros_is_none(lopsided):
    (frame,) = Opened(with_matrix(lopsided, 0, 0, 0, 0)).at([0.0])
    assert orientation(frame) == Orientation(0, flip=False)


@pytest.mark.parametrize("entries", [[], [types.SimpleNamespace(type=types.SimpleNamespace(name="A53_CC"))]])
def test_a_frame_without_a_matrix_is_upright(entries):
    assert orientation(types.SimpleNamespace(side_data=entries)) == Orientation(0, flip=False)


@pytest.mark.parametrize(("turns", "degrees"), [(0, 0), (1, 90), (2, 180), (3, 270)])
def test_degrees(turns, degrees):
    assert Orientation(turns, flip=True).degrees == degrees


def test_the_rotated_clip_comes_out_upright():
    (image,) = Opened(read("rotated.mp4")).images([0.0])
    (upright,) = Opened(read("talking_face.mp4")).images([0.0])
    assert image.shape == upright.shape == (300, 400, 3)
    assert np.abs(image.astype(int) - upright).mean() < 3


def with_exif(data, value):
    """A JPEG, PNG or WebP with an EXIF orientation."""
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, value, 0)
    if data.startswith(b"\xff\xd8"):
        body = b"Exif\0\0" + tiff
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    chunk = b"eXIf" + tiff
    return data[:33] + struct.pack(">I", len(tiff)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_every_exif_orientation_is_applied_as_opencv_does(lopsided_frame, extension, value):
    image = lopsided_frame.to_ndarray()
    data = with_exif(cv2.imencode(extension, image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes(), value)
    (shown,) = Opened(data).images([0.0])
    wanted = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert shown.shape == wanted.shape
    assert np.abs(shown.astype(int) - wanted).mean() < 2


def test_an_exif_orientation_that_does_not_exist_is_ignored(lopsided_frame):
    data = with_exif(cv2.imencode(".png", lopsided_frame.to_ndarray())[1].tobytes(), 99)
    assert Opened(data).images([0.0])[0].shape == (64, 128, 3)


# --- colour ---


def flat(color, matrix, full, pixels):
    """An MP4 of one colour, with the matrix (1: BT.709, 6: BT.601, 9: BT.2020) and the range named in it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", 25, options={"crf": "1"})
        stream.width = stream.height = 64
        stream.pix_fmt = pixels
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), color, np.uint8))
        name = {1: "ITU709", 6: "ITU601", 9: "BT2020"}[matrix]
        frame = image.reformat(format=pixels, dst_colorspace=name, dst_color_range=2 if full else 1)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


@pytest.mark.parametrize("color", [(200, 60, 40), (40, 180, 90), (255, 255, 255), (0, 0, 0)])
@pytest.mark.parametrize(
    ("matrix", "full", "pixels"),
    [
        (1, False, "yuv420p"),
        (1, True, "yuv420p"),
        (1, False, "yuv420p10le"),
        (6, False, "yuv420p"),
        (6, True, "yuv444p"),
        (9, False, "yuv420p10le"),
    ],
)
def test_colours_are_those_that_were_filmed(color, matrix, full, pixels):
    (image,) = Opened(flat(color, matrix, full, pixels)).images([0.0])
    assert np.abs(image[32, 32].astype(int) - color).max() <= 4


@pytest.mark.parametrize("matrix", range(19))
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuvj420p", "gbrp", "gray"])
def test_no_colour_description_stops_the_conversion(pixels, matrix):
    """Some are reserved, and some only displays know."""
    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 128, np.uint8)).reformat(format=pixels)
    frame.colorspace = matrix
    frame.color_trc = frame.color_primaries = 3  # reserved
    assert np.abs(Converter(1).rgb(ShownFrame(0.0, frame, 1.0)).astype(int) - 128).max() <= 3


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (np.full((8, 8), 70, np.uint8), (70, 70, 70)),  # grey
        (np.full((8, 8), 70 * 257, np.uint16), (70, 70, 70)),
        (np.full((8, 8, 3), (10, 20, 200), np.uint8), (200, 20, 10)),  # OpenCV's order is blue, green, red
        (np.full((8, 8, 3), (10 * 257, 20 * 257, 200 * 257), np.uint16), (200, 20, 10)),
        (np.full((8, 8, 4), (10, 20, 200, 0), np.uint8), (200, 20, 10)),  # wholly transparent
    ],
)
def test_stills_of_any_depth_become_eight_bit_rgb(stored, shown):
    (image,) = Opened(cv2.imencode(".png", stored)[1].tobytes()).images([0.0])
    assert image.dtype == np.uint8
    assert image.shape == (8, 8, 3)
    assert np.abs(image[4, 4].astype(int) - shown).max() <= 1


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (17, 31), (2, 2), (1000, 2)])
def test_odd_sizes_have_no_padding(size):
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    (shown,) = Opened(cv2.imencode(".png", image[..., ::-1])[1].tobytes()).images([0.0])
    assert np.array_equal(shown, image)


@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_threads_run_than_are_allowed(threads):
    before = psutil.Process().num_threads() - threading.active_count()
    shown = Opened(read("talking_face.mp4"), threads)
    shown.images([0.0, 1.0, 2.0])
    assert psutil.Process().num_threads() - threading.active_count() - before <= 2 * (threads - 1)
