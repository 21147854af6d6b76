"""How long a file lasts, whatever its header claims, and whether its end is missing."""

import io
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from aura_model.durations import beginning, check_duration
from aura_model.errors import MediaError
from aura_model.media import open_media
from aura_model.settings import load_config

MEDIA = Path(__file__).parents[1] / "media"
LIMITS = load_config(env={}).limits


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ([], None),
        ([None, None], None),
        ([3.0], 3.0),
        ([None, 3.0], 3.0),
        ([0.0, 0.1], 0.0),
        ([0.0, 2.0], 0.0),  # the sound comes later
        ([0.2, 0.0], 0.2),  # the run-up of a codec
        ([0.1, -0.02], 0.1),
        ([1.0, 0.0], 0.0),  # the camera was switched on later
        ([1.0, -0.02], -0.02),
        ([7201.0, 7200.0], 7200.0),
        ([0.0, -576.0], 0.0),  # nobody plays what is before the clock's zero
        ([1.0, -576.0], 1.0),
    ],
)
def test_time_begins_with_the_picture_or_with_what_players_begin_with(starts, expected):
    assert beginning(starts) == expected


def opened(data, **limits):
    with open_media(io.BytesIO(data), LIMITS.model_copy(update=limits)) as media:
        return media


def noise(seconds, rate=48000):
    return np.random.default_rng(0).uniform(-0.1, 0.1, round(seconds * rate))


def late(films, start=7200.0, **how):
    """A second of pictures, as a live stream has them that is recorded from its third hour on."""
    return films.Pictures(range(25), times_ms=[round(1000 * start) + 40 * i for i in range(25)], **how)


def mp3(seconds, bit_rate):
    """Frames alone, without a header that says how many there are."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as container:
        stream = container.add_stream("libmp3lame", 48000, layout="mono")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(noise(seconds)[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        resampler = av.AudioResampler("fltp", "mono", 48000, frame_size=1152)
        pieces = [*resampler.resample(frame), *resampler.resample(None)]
        container.mux([packet for piece in [*pieces, None] for packet in stream.encode(piece)])
    return file.getvalue()


# --- a duration that is only guessed ---


def test_an_mp3_is_as_long_as_its_frames_and_not_as_its_first_bit_rate_promises():
    data = mp3(6, 32_000) + mp3(4, 320_000)
    with av.open(io.BytesIO(data), options={"codec_whitelist": "none"}) as container:
        assert container.duration > 40 * av.time_base
    media = opened(data, max_seconds=11)
    assert media.duration == pytest.approx(10.0, abs=0.2)
    assert not media.truncated


def test_a_false_timestamp_at_the_end_makes_no_long_stream(films):
    times = [*(40 * i for i in range(25)), 7_200_000]
    media = opened(films.film("mpegts", films.Pictures(range(26), times_ms=times, options={"bf": "0"})))
    assert media.duration == pytest.approx(1.04, abs=0.05)
    assert not media.truncated


def test_sound_without_any_timestamp_must_keep_to_the_limit_by_the_guess(films):
    data = films.film("adts", films.Sound(noise(3), rate=44100))
    assert opened(data, max_seconds=4).duration == pytest.approx(3, rel=0.1)
    with pytest.raises(MediaError, match="too_long"):
        opened(data, max_seconds=1)


# --- a clock that begins late ---


@pytest.mark.parametrize("start", [3.0, 7200.0])
@pytest.mark.parametrize("kind", ["matroska", "flv", "mpegts"])
def test_a_recording_from_a_late_moment_lasts_as_long_as_it_is(films, kind, start):
    media = opened(films.film(kind, late(films, start)), max_seconds=2)
    assert media.duration == pytest.approx(1.0, abs=0.01)
    assert not media.truncated


@pytest.mark.parametrize("start", [0.0, 3.0, 7200.0])
@pytest.mark.parametrize("kind", ["matroska", "flv"])
def test_a_late_recording_that_is_cut_is_truncated(films, kind, start):
    noisy = np.random.default_rng(0).integers(0, 256, (50, 32, 64, 3), dtype=np.uint8)
    times = [round(1000 * start) + 40 * i for i in range(50)]
    data = films.film(kind, films.Pictures(images=list(noisy), times_ms=times))
    assert not opened(data).truncated
    assert opened(data[: len(data) // 2]).truncated


# --- streams that are not read ---


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_a_second_sound_track_that_is_longer_is_no_truncation(films, kind):
    media = opened(films.film(kind, films.Pictures(range(25)), films.Sound(noise(1)), films.Sound(noise(9))))
    assert media.duration == pytest.approx(1.0, abs=0.05)
    assert not media.truncated


@pytest.mark.parametrize("streams", [1, 2])
def test_where_every_stream_is_read_a_cut_is_seen(films, streams):
    chosen = [films.Pictures(range(50)), films.Sound(noise(2), "pcm_s16le")][-streams:]
    data = films.film("matroska", *chosen)
    assert opened(data[: len(data) * 6 // 10]).truncated


def test_cover_art_claims_no_time(films):
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        packets = films.Sound(noise(3), "flac").packets(container)
        cover = container.add_stream("mjpeg", 1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        art = av.Packet(cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes())
        art.stream, art.pts, art.dts, art.time_base = cover, 0, 0, packets[0].time_base
        container.mux([art, *packets])
    data = file.getvalue()
    assert not opened(data).truncated
    assert opened(data[: len(data) // 2]).truncated


# --- stills ---


@pytest.mark.parametrize("name", ["face.jpg", "face_exif_rotated.jpg"])
def test_a_photo_that_is_cut_off_is_truncated(name):
    data = (MEDIA / name).read_bytes()
    assert not opened(data).truncated
    assert not opened(data + bytes(5000)).truncated
    for share in (0.4, 0.7, 0.99):
        assert opened(data[: round(len(data) * share)]).truncated


# --- the limit ---


@pytest.mark.parametrize(("seconds", "accepted"), [(600.0, True), (600.5, True), (601.0, True), (601.04, False)])
def test_a_second_more_than_the_limit_is_the_rounding_of_containers(seconds, accepted):
    limits = LIMITS.model_copy(update={"max_seconds": 600.0})
    if accepted:
        check_duration(seconds, limits)
        return
    with pytest.raises(MediaError) as error:
        check_duration(seconds, limits)
    assert error.value.detail == "The media lasts 601.0 s; at most 600.0 s are accepted."
