"""The one path from bytes to clips: which moments, which shapes, which notes."""

import io
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura_model.clips import ClipLoader, Clips, blank_clip, load_clips, sample_starts
from aura_model.config import SAMPLE_RATE
from aura_model.cropping import center_crop
from aura_model.errors import MEDIA_ERRORS, MediaError
from aura_model.frames import Converter, FrameReader
from aura_model.media import open_media
from aura_model.settings import load_config
from aura_model.sound import SoundReader

MEDIA = Path(__file__).parents[1] / "media"
CONFIG = load_config(env={})


def config(*overrides):
    return load_config(env={}, overrides=overrides)


def read(name):
    return (MEDIA / name).read_bytes()


@pytest.fixture(scope="module")
def loader():
    return ClipLoader(CONFIG)


@pytest.fixture(scope="module")
def centre():
    """Without the networks: a centre crop, and no sound."""
    return ClipLoader(config("dataset.face.detector=center_crop", "dataset.audio.enabled=false"))


def load(loader, data, seed=None):
    return loader.load(data, None if seed is None else np.random.default_rng(seed))


def arrays(clip):
    return clip.times, clip.frames, clip.boxes, clip.landmarks, clip.wave


def same(one, other):
    """Bit by bit, but for the timings."""
    pairs = [
        pair for a, b in zip(one.clips, other.clips, strict=True) for pair in zip(arrays(a), arrays(b), strict=True)
    ]
    return (
        one.media == other.media
        and one.notes == other.notes
        and [(c.seconds, c.track_id) for c in one.clips] == [(c.seconds, c.track_id) for c in other.clips]
        and all((a is b is None) or (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in pairs)
    )


def starts_of(clips):
    return [round(float(clip.times[0]), 3) for clip in clips.clips]


# --- which moments ---


def video_config(**settings):
    counts = {"train": settings.pop("train", 2), "eval": settings.pop("evaluate", 4)}
    base = {
        "frame_rate": 8.0,
        "temporal_window": 8,
        "clip_sampling_strategy": "random",
        "start_at": 0.0,
        "max_clips": 16,
    }
    return load_config(
        env={}, settings={"dataset": {"video": base | {"clips_per_video": counts} | settings}}
    ).dataset.video


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (0.0, [0.0]),
        (0.04, [0.0]),
        (1.0, [0.0]),
        (1.9, [0.45]),
        (2.0, [0.0, 1.0]),
        (2.5, [0.125, 1.375]),
        (3.0, [0.0, 1.0, 2.0]),
        (4.0, [0.0, 1.0, 2.0, 3.0]),
        (8.0, [0.5, 2.5, 4.5, 6.5]),
        (600.0, [74.5, 224.5, 374.5, 524.5]),
    ],
)
def test_evaluation_spreads_clips_evenly(duration, expected):
    assert sample_starts(duration, video_config(), None) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("duration", "start_at", "expected"),
    [(10, 0, 0), (10, 3.5, 3.5), (10, 9.5, 9.0), (10, 99, 9.0), (0.5, 3, 0), (0, 0, 0)],
)
@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
def test_start_at_gives_one_clip_in_training_and_evaluation(duration, start_at, expected, rng):
    settings = video_config(clip_sampling_strategy="start_at", start_at=start_at)
    assert sample_starts(duration, settings, rng) == [expected]


@pytest.mark.parametrize("whole", [1, 2, 3, 7])
def test_a_duration_that_a_container_rounded_loses_no_clip(whole):
    exact = sample_starts(float(whole), video_config(), None)
    assert len(exact) == min(whole, 4)
    for short in (1e-15, 0.001, 0.004):
        assert sample_starts(whole - short, video_config(), None) == pytest.approx(exact, abs=0.01)


def test_uniform_training_spreads_its_own_number_of_clips():
    settings = video_config(clip_sampling_strategy="uniform", train=3)
    assert sample_starts(9.0, settings, np.random.default_rng(0)) == pytest.approx([1.0, 4.0, 7.0])
    assert len(sample_starts(9.0, settings, None)) == 4


def test_random_training_draws_from_the_whole_video():
    rng = np.random.default_rng(0)
    drawn = np.array([sample_starts(11.0, video_config(train=3), rng) for _ in range(500)])
    assert np.all(np.diff(drawn, axis=1) >= 0)
    assert drawn.min() < 0.1
    assert drawn.max() > 9.9
    assert drawn.mean() == pytest.approx(5, abs=0.3)


def test_a_seed_fixes_the_draw():
    one, two, other = (sample_starts(60, video_config(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == two
    assert one != other


@given(
    duration=st.floats(0, 600),
    rate=st.floats(0.5, 60),
    window=st.integers(1, 64),
    evaluate=st.integers(1, 20),
    strategy=st.sampled_from(["random", "uniform", "start_at"]),
    seed=st.none() | st.integers(0, 9),
    start_at=st.floats(0, 700),
)
def test_starts_lie_in_the_video_and_rise(duration, rate, window, evaluate, strategy, seed, start_at):
    settings = video_config(
        frame_rate=rate,
        temporal_window=window,
        evaluate=evaluate,
        train=evaluate,
        clip_sampling_strategy=strategy,
        start_at=start_at,
    )
    rng = None if seed is None else np.random.default_rng(seed)
    starts = sample_starts(duration, settings, rng)
    assert 1 <= len(starts) <= evaluate
    assert min(starts) >= 0
    assert max(starts) <= max(0.0, duration - settings.clip_seconds)
    assert starts == sorted(starts)
    if rng is None and len(starts) > 1:
        assert np.diff(starts).min() >= settings.clip_seconds - 1e-9


# --- what each kind of file gives: clips per track, notes, clips with sound ---

KINDS = {
    "talking_face.mp4": ([4], (), 4),
    "self_made_fake.mp4": ([4], (), 4),
    "talking_face_b.mp4": ([4], (), 4),
    "two_faces.mp4": ([3, 3], ("no_audio",), 0),
    "no_face.mp4": ([], ("no_face", "no_audio"), 0),
    "no_face_speech.mp4": ([], ("no_face",), 3),
    "video_only.mp4": ([3], ("no_audio",), 0),
    "audio_only.m4a": ([], ("no_video",), 4),
    "audio_only.wav": ([], ("no_video",), 4),
    "music_only.m4a": ([], ("no_video", "no_speech"), 0),
    "rotated.mp4": ([2], (), 2),
    "vfr.mp4": ([3], (), 3),
    "hevc10.mp4": ([2], (), 2),
    "vp9.webm": ([2], (), 2),
    "no_duration.webm": ([2], (), 2),
    "mpeg4.avi": ([2], (), 2),
    "fragmented.mp4": ([2], (), 2),
    "long_gop.mp4": ([4], ("no_audio",), 0),
    "one_frame.mp4": ([1], ("no_audio",), 0),
    "truncated.mp4": ([2], ("truncated", "corrupt_frames"), 2),
    "face.jpg": ([1], ("no_audio",), 0),
    "face.png": ([1], ("no_audio",), 0),
    "face.webp": ([1], ("no_audio",), 0),
    "face_exif_rotated.jpg": ([1], ("no_audio",), 0),
}


@pytest.fixture(scope="module")
def loaded(loader):
    return {name: load(loader, MEDIA / name) for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_tracks_notes_and_sound(loaded, name):
    per_track, notes, sounds = KINDS[name]
    clips = loaded[name].clips
    tracks = [clip.track_id for clip in clips if clip.track_id is not None]
    assert [tracks.count(track) for track in sorted(set(tracks))] == per_track
    assert tracks == sorted(tracks)
    assert loaded[name].notes == notes
    assert sum(clip.wave is not None for clip in clips) == sounds
    assert len(clips) == max(sum(per_track), 0 if per_track else sounds)


def test_a_blank_clip_has_the_shapes_of_a_decoded_one(loaded):
    decoded = loaded["talking_face.mp4"].clips[0]
    blank = blank_clip(CONFIG)
    assert [(a.shape, a.dtype) for a in arrays(blank)] == [(a.shape, a.dtype) for a in arrays(decoded)]
    assert np.array_equal(blank.times, decoded.times - decoded.times[0])
    assert (blank.seconds, blank.track_id) == (decoded.seconds, 0)
    assert not any(np.any(a) for a in arrays(blank)[1:])


@pytest.mark.parametrize("name", KINDS)
def test_shapes_types_and_values(loaded, name):
    media = loaded[name].media
    for clip in loaded[name].clips:
        assert clip.seconds == 1.0
        assert clip.times.dtype == np.float64
        assert np.allclose(clip.times, clip.times[0] + np.arange(8) / 8)
        assert 0 <= clip.times[0] <= max(0, media.duration - 0.99)
        check_sound(clip.wave)
        if clip.track_id is None:
            assert clip.frames is clip.boxes is clip.landmarks is None
            assert clip.wave is not None
        else:
            check_face(clip, media)


def check_sound(wave):
    if wave is not None:
        assert wave.shape == (SAMPLE_RATE,)
        assert wave.dtype == np.float32
        assert np.abs(wave).max() <= 1
        assert np.any(wave)


def check_face(clip, media):
    assert clip.frames.shape == (8, 224, 224, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.frames.std() > 10
    assert clip.boxes.shape == (8, 4)
    assert clip.boxes.dtype == np.float32
    assert np.all(clip.boxes[:, 2:] - clip.boxes[:, :2] > 20)
    assert np.all((clip.boxes > -50) & (clip.boxes < max(media.width, media.height) + 50))
    assert clip.landmarks.shape == (8, 5, 2)
    assert clip.landmarks.dtype == np.float32
    assert np.all((clip.landmarks > 0) & (clip.landmarks < 224))
    eyes, mouth = clip.landmarks[:, :2, 1].mean(axis=1), clip.landmarks[:, 3:, 1].mean(axis=1)
    assert np.all(eyes < mouth)  # upright


@pytest.mark.parametrize(
    ("name", "size", "rotation", "codecs"),
    [
        ("talking_face.mp4", (400, 300), 0, ("h264", "aac")),
        ("rotated.mp4", (400, 300), 90, ("h264", "aac")),
        ("hevc10.mp4", (400, 300), 0, ("hevc", "aac")),
        ("vp9.webm", (400, 300), 0, ("vp9", "opus")),
        ("mpeg4.avi", (400, 300), 0, ("mpeg4", "pcm_s16le")),
        ("audio_only.m4a", (0, 0), 0, (None, "aac")),
        ("face_exif_rotated.jpg", (256, 256), 90, ("mjpeg", None)),
    ],
)
def test_facts_about_the_media(loaded, name, size, rotation, codecs):
    media = loaded[name].media
    assert (media.width, media.height) == size
    assert media.rotation == rotation
    assert (media.video_codec, media.audio_codec) == codecs
    assert media.bytes == (MEDIA / name).stat().st_size


def test_a_turned_face_is_found_where_the_upright_one_is(loaded):
    turned, upright = (loaded[name].clips[0] for name in ("rotated.mp4", "talking_face.mp4"))
    assert np.abs(turned.boxes - upright.boxes).max() < 4
    still, plain = (loaded[name].clips[0] for name in ("face_exif_rotated.jpg", "face.jpg"))
    assert np.abs(still.boxes - plain.boxes).max() < 4
    assert np.abs(still.frames.astype(int) - plain.frames).mean() < 4


def test_two_faces_keep_their_sides(loaded):
    clips = loaded["two_faces.mp4"].clips
    centres = [(clip.boxes[:, 0] + clip.boxes[:, 2]).mean() / 2 for clip in clips]
    assert len({centre < 400 for centre in centres[:3]}) == 1
    assert {centre < 400 for centre in centres[:3]} != {centre < 400 for centre in centres[3:]}
    assert starts_of(loaded["two_faces.mp4"]) == [0.0, 1.0, 2.0] * 2


def test_a_still_is_one_clip_of_one_frame_repeated(loaded):
    (clip,) = loaded["face.png"].clips
    assert np.all(clip.frames == clip.frames[0])


def test_timings_name_the_stages(loaded):
    assert set(loaded["talking_face.mp4"].timings) == {"open", "decode", "faces", "sound"}
    assert set(loaded["audio_only.wav"].timings) == {"open", "sound"}
    assert all(seconds >= 0 for clips in loaded.values() for seconds in clips.timings.values())


# --- the values are those of the parts ---


def test_frames_are_those_on_display(centre):
    clips = load(centre, MEDIA / "vfr.mp4").clips
    with open_media(io.BytesIO(read("vfr.mp4")), CONFIG.limits) as media:
        reader, convert = FrameReader(media, CONFIG.limits, 1), Converter(1)
        for clip in clips:
            expected = [center_crop(convert.rgb(reader.at(float(time))), 224)[0] for time in clip.times]
            assert np.array_equal(clip.frames, np.stack(expected))


def test_the_wave_is_the_sound_of_the_same_span(loaded):
    with open_media(io.BytesIO(read("talking_face_b.mp4")), CONFIG.limits) as media:
        reader = SoundReader(media)
        for clip in loaded["talking_face_b.mp4"].clips:
            assert np.array_equal(clip.wave, reader.span(float(clip.times[0]), clip.seconds))


# --- sources, seeds, bounds ---


@pytest.mark.parametrize("name", ["talking_face.mp4", "two_faces.mp4", "no_face_speech.mp4", "face.webp"])
def test_the_same_clips_whatever_the_source_and_however_often(loaded, loader, name):
    for source in (MEDIA / name, read(name), io.BytesIO(read(name))):
        assert same(load(loader, source), loaded[name])
    with (MEDIA / name).open("rb") as file:
        file.seek(7)
        assert same(load(loader, file), loaded[name])
        assert not file.closed


def test_the_function_is_the_loader(loaded):
    assert same(load_clips(MEDIA / "talking_face.mp4", CONFIG), loaded["talking_face.mp4"])


def test_one_thread_or_two_give_the_same_clips(loaded):
    assert same(load(ClipLoader(CONFIG, threads=2), MEDIA / "talking_face.mp4"), loaded["talking_face.mp4"])


def test_training_draws_by_the_seed(loader):
    one, two, other = (load(loader, MEDIA / "long_gop.mp4", seed) for seed in (1, 1, 2))
    assert same(one, two)
    assert len(one.clips) == 2
    assert starts_of(one) != starts_of(other)
    assert starts_of(one) == sorted(starts_of(one))


def test_a_short_video_in_training_gives_its_only_clip_more_than_once(loader):
    one, two = load(loader, MEDIA / "one_frame.mp4", seed=0).clips
    assert np.array_equal(one.frames, two.frames)


@pytest.mark.parametrize(
    ("most", "tracks"), [(1, [0]), (2, [0, 1]), (4, [0, 0, 1, 1]), (6, [0, 0, 0, 1, 1, 1]), (9, [0, 0, 0, 1, 1, 1])]
)
def test_max_clips_bounds_all_faces_together(most, tracks):
    clips = load_clips(MEDIA / "two_faces.mp4", config(f"dataset.video.max_clips={most}")).clips
    assert [clip.track_id for clip in clips] == tracks


@pytest.mark.parametrize(("most", "left_out"), [(1, True), (2, False)])
def test_a_face_that_max_clips_leaves_out_is_told_of(most, left_out):
    notes = load_clips(MEDIA / "two_faces.mp4", config(f"dataset.video.max_clips={most}")).notes
    assert ("faces_left_out" in notes) == left_out


def test_max_clips_bounds_speech_too():
    clips = load_clips(MEDIA / "audio_only.wav", config("dataset.video.max_clips=3")).clips
    assert [clip.times[0] for clip in clips] == [0.0, 2.0, 3.0]  # four, thinned evenly


def test_max_faces_keeps_the_most_prominent():
    all_faces = load_clips(MEDIA / "two_faces.mp4", CONFIG).clips
    clips = load_clips(MEDIA / "two_faces.mp4", config("dataset.face.max_faces=1")).clips
    assert [clip.track_id for clip in clips] == [0, 0, 0]
    assert np.array_equal(clips[0].frames, all_faces[0].frames)


@pytest.mark.parametrize("setting", ["dataset.face.detect=false", "dataset.face.detector=center_crop"])
def test_without_a_detector_every_video_has_one_track(setting):
    for name in ("no_face.mp4", "two_faces.mp4"):
        clips = load_clips(MEDIA / name, config(setting))
        assert {clip.track_id for clip in clips.clips} == {0}
        assert clips.notes == ("no_audio",)
    height = 300
    assert np.all(clips.clips[0].boxes == np.array([250, 0, 250 + height, height], np.float32))


def test_without_audio_nothing_is_heard_and_that_is_said():
    silent = config("dataset.audio.enabled=false")
    for name, notes in [
        ("talking_face.mp4", ("sound_not_judged",)),
        ("video_only.mp4", ("no_audio",)),
        ("face.jpg", ("no_audio",)),
        ("audio_only.wav", ("no_video", "sound_not_judged")),
    ]:
        clips = load_clips(MEDIA / name, silent)
        assert all(clip.wave is None for clip in clips.clips)
        assert clips.notes == notes


@pytest.mark.parametrize(
    ("name", "least", "heard"),
    [
        ("music_only.m4a", 0.0, {0, 1, 2}),
        ("music_only.m4a", 0.01, set()),
        ("talking_face.mp4", 0.2, {0, 1, 2, 3}),
        ("talking_face.mp4", 0.9, {1}),
    ],
)
def test_how_much_speech_makes_a_clip_heard(name, least, heard):
    clips = load_clips(MEDIA / name, config(f"dataset.audio.min_speech={least}"))
    assert {round(float(clip.times[0])) for clip in clips.clips if clip.wave is not None} == heard
    assert ("no_speech" in clips.notes) == (not heard)


@pytest.mark.parametrize(("window", "rate", "size"), [(1, 8.0, 64), (4, 25.0, 96), (16, 4.0, 32)])
def test_windows_rates_and_sizes_are_the_configured_ones(window, rate, size):
    settings = config(
        f"dataset.video.temporal_window={window}", f"dataset.video.frame_rate={rate}", f"dataset.face.size={size}"
    )
    for clip in load_clips(MEDIA / "talking_face.mp4", settings).clips:
        assert clip.frames.shape == (window, size, size, 3)
        assert np.allclose(np.diff(clip.times), 1 / rate)
        assert clip.seconds == window / rate
        assert clip.wave is None or len(clip.wave) == round(SAMPLE_RATE * window / rate)


def test_clips_can_be_passed_around_without_their_samples(loaded):
    whole = loaded["talking_face.mp4"]
    light = whole.without_samples()
    assert isinstance(light, Clips)
    assert all(clip.frames is None and clip.wave is None for clip in light.clips)
    assert [clip.boxes is None for clip in light.clips] == [False] * 4
    assert (light.media, light.notes, light.timings) == (whole.media, whole.notes, whole.timings)
    assert whole.clips[0].frames is not None


# --- what is refused ---


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"\xff\xd8\xff", "corrupt_video"),
        (b"\x89PNG\r\n\x1a\n", "corrupt_video"),
        (b"RIFF\x10\0\0\0WEBPVP8X", "corrupt_video"),
        (read("face.jpg")[:600], "corrupt_video"),
        (read("face.png")[:40], "corrupt_video"),
        (read("face.webp")[:40], "corrupt_video"),
    ],
)
def test_what_cannot_be_decoded_has_a_code(centre, data, code):
    with pytest.raises(MediaError) as error:
        load(centre, data)
    assert error.value.code == code


@pytest.mark.parametrize(
    "name",
    sorted(path.name for path in MEDIA.iterdir() if path.suffix not in {".md", ".py"} and path.name not in KINDS),
)
def test_every_other_file_is_refused(centre, name):
    with pytest.raises(MediaError) as error:
        load(centre, MEDIA / name)
    assert error.value.code in MEDIA_ERRORS
    assert error.value.detail.endswith((".", "?"))


def test_sound_alone_that_cannot_be_decoded_is_refused(loader):
    data = bytearray(read("audio_only.m4a"))
    with av.open(io.BytesIO(bytes(data))) as container:
        for packet in container.demux(audio=0):
            data[packet.pos or 0 : (packet.pos or 0) + packet.size] = b"\xff" * packet.size
    with pytest.raises(MediaError) as error:
        load(loader, bytes(data))
    assert error.value.code == "no_video_stream"


def test_sound_that_cannot_be_decoded_does_not_spoil_the_video(loader):
    data = bytearray(read("talking_face.mp4"))
    with av.open(io.BytesIO(bytes(data))) as container:
        for packet in container.demux(audio=0):
            data[packet.pos or 0 : (packet.pos or 0) + packet.size] = b"\xff" * packet.size
    clips = load(loader, bytes(data))
    assert len(clips.clips) == 4
    assert clips.notes == ("no_speech",)


def test_a_missing_path_is_an_os_error(centre, tmp_path):
    with pytest.raises(FileNotFoundError):
        load(centre, tmp_path / "missing.mp4")


# --- what people send: the same face and voice, as each device writes them ---


def turned(data, quarter):
    """Turn the first track of an MP4 or MOV by a display matrix, clockwise."""
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = {0: (one, 0, 0, one), 1: (0, one, -one, 0), 2: (-one, 0, 0, -one), 3: (0, -one, one, 0)}[quarter]
    return (
        data[:at]
        + struct.pack(">9i", matrix[0], matrix[1], 0, matrix[2], matrix[3], 0, 0, 0, 1 << 30)
        + data[at + 36 :]
    )


@pytest.fixture(scope="module")
def images():
    """Two seconds of the talking face."""
    with av.open(str(MEDIA / "talking_face.mp4")) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][12:62]


@pytest.fixture(scope="module")
def voice():
    """The voice of the same span, 48 kHz."""
    with open_media(io.BytesIO(read("audio_only.wav")), CONFIG.limits) as media:
        wave = SoundReader(media).span(0.5, 2.0)
    return np.interp(np.arange(96_000) / 3, np.arange(len(wave)), wave)


FAST = {"preset": "ultrafast"}
UNEVEN = [40 * i + (i * 7919) % 17 for i in range(50)]
INTERLACED = 1 << 18 | 1 << 29
DEVICES = {
    "iphone": lambda f, i, v: turned(
        f.film(
            "mov",
            f.Pictures(
                images=[np.rot90(image) for image in i],
                codec="libx265",
                pixels="yuv420p10le",
                options=FAST | {"x265-params": "log-level=none:pools=none:frame-threads=1"},
            ),
            f.Sound(v),
            f.Sound(np.zeros((4, 96_000)), "pcm_s16le", layout="quad"),
        ),
        1,
    ),
    "android": lambda f, i, v: turned(
        f.film(
            "mp4",
            f.Pictures(images=[np.rot90(x, 3) for x in i], times_ms=UNEVEN, options=FAST),
            f.Sound([v, v], layout="stereo"),
        ),
        3,
    ),
    "action camera": lambda f, i, v: f.film(
        "mp4", f.Telemetry(2), f.Pictures(images=i, options=FAST), f.Sound(v), f.Telemetry(9)
    ),
    "messenger": lambda f, i, v: f.film(
        "mp4",
        f.Pictures(images=[cv2.resize(x, (224, 168)) for x in i], options=FAST | {"profile": "baseline"}),
        f.Sound(v[::3], rate=16_000),
    ),
    "screen recorder": lambda f, i, v: f.film(
        "matroska", f.Pictures(images=i, options=FAST), f.Sound(v), f.Sound(np.zeros(96_000))
    ),
    "browser": lambda f, i, v: f.film(
        "webm",
        f.Pictures(images=i, codec="libvpx", times_ms=UNEVEN, options={"cpu-used": "8", "deadline": "realtime"}),
        f.Sound(v, "libopus"),
        live="1",
    ),
    "streaming": lambda f, i, v: f.film("flv", f.Pictures(images=i, options=FAST), f.Sound(v[::3], rate=16_000)),
    "camcorder": lambda f, i, v: f.film(
        "mpegts",
        f.Pictures(
            images=[cv2.resize(x, (720, 576)) for x in i], codec="mpeg2video", options={"b": "6M"}, flags=INTERLACED
        ),
        f.Sound([v, v], "ac3", layout="stereo"),
    ),
    "surround": lambda f, i, v: f.film(
        "matroska", f.Pictures(images=i, options=FAST), f.Sound([0 * v, 0 * v, v, 0 * v, 0 * v, 0 * v], layout="5.1")
    ),
    "studio": lambda f, i, v: f.film(
        "mov", f.Pictures(images=i, options=FAST), f.Sound(np.repeat(v, 2), "pcm_s24le", 96_000)
    ),
    "old camera": lambda f, i, v: f.film(
        "avi", f.Pictures(images=i, codec="mjpeg", pixels="yuvj420p", options={}), f.Sound(v[::6], "pcm_u8", 8_000)
    ),
    "dvd": lambda f, i, v: f.film(
        "mpeg", f.Pictures(images=i, codec="mpeg2video", options={"b": "4M"}), f.Sound(v, "mp2")
    ),
    "trimmed on the phone": lambda f, i, v: trimmed(f.film("mp4", f.Pictures(images=i, options=FAST), f.Sound(v))),
}


def trimmed(data):
    """Both tracks begin half a second later, by their edit lists."""
    at = 0
    for ticks in (6400, 24_000):  # of 1/12800 and 1/48000 s
        at = data.index(b"elst", at) + 12
        (start,) = struct.unpack(">i", data[at + 4 : at + 8])
        data = data[:at] + struct.pack(">Ii", 1500, start + ticks) + data[at + 8 :]
    return data


@pytest.mark.parametrize("device", DEVICES)
def test_the_face_and_the_voice_are_found_whatever_recorded_them(films, loader, images, voice, device):
    clips = load(loader, DEVICES[device](films, images, voice))
    assert clips.notes == ()
    assert {clip.track_id for clip in clips.clips} == {0}
    assert len(clips.clips) == (1 if device == "trimmed on the phone" else 2)
    assert clips.media.duration == pytest.approx(1.5 if device == "trimmed on the phone" else 2.0, abs=0.12)
    assert clips.media.width > clips.media.height
    for clip in clips.clips:
        check_sound(clip.wave)
        check_face(clip, clips.media)


def test_sound_that_outlasts_the_picture_is_heard_to_its_end(films, loader, images, voice):
    """The last frame stays on display, as in a player."""
    data = films.film("mp4", films.Pictures(images=images[:25], options=FAST), films.Sound(np.tile(voice, 2)))
    clips = load(loader, data)
    assert clips.notes == ()
    assert starts_of(clips) == [0.0, 1.0, 2.0, 3.0]
    assert np.all(clips.clips[3].frames == clips.clips[3].frames[0])


def test_sound_that_ends_early_leaves_the_rest_silent(films, loader, images, voice):
    data = films.film("mp4", films.Pictures(images=images, options=FAST), films.Sound(voice[:48_000]))
    clips = load(loader, data)
    assert [clip.wave is not None for clip in clips.clips] == [True, False]
    assert clips.notes == ()


@pytest.mark.parametrize(
    ("file", "container"),
    [
        ("talking_face.mp4", "mp4"),
        ("vp9.webm", "matroska"),
        ("mpeg4.avi", "avi"),
        ("audio_only.wav", "wav"),
        ("face.jpg", "jpeg"),
        ("face.png", "png"),
        ("face.webp", "webp"),
    ],
)
def test_the_container_has_a_name_that_a_reader_knows(file: str, container: str) -> None:
    assert load_clips(MEDIA / file, load_config(env={})).media.container == container
