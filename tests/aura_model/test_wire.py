"""Clips on their way from a child: they arrive unchanged, and a child that lies is caught."""

import contextlib
import json
import os
import socket
import struct
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura_model import wire
from aura_model.clips import Clip, Clips
from aura_model.media import MediaInfo
from aura_model.settings import load_config

DATASET = load_config(
    env={},
    overrides=["dataset.face.size=32", "dataset.video.temporal_window=3", "dataset.video.max_clips=4"],
).dataset
SAMPLES = 6000  # 3 frames at 8 a second, 16 kHz
MEDIA = {
    "sha256": "0" * 64,
    "bytes": 5,
    "container": "avi",
    "duration": 5.0,
    "width": 64,
    "height": 48,
    "fps": 25.0,
    "rotation": 90,
    "video_codec": "h264",
    "audio_codec": None,
}


def clip(seed=0, face=True, sound=True, track=1):
    rng = np.random.default_rng(seed)
    return Clip(
        times=seed + np.arange(3) / 8,
        seconds=0.375,
        frames=rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8) if face else None,
        boxes=rng.uniform(0, 50, (3, 4)).astype(np.float32) if face else None,
        landmarks=rng.uniform(0, 32, (3, 5, 2)).astype(np.float32) if face else None,
        track_id=track if face else None,
        wave=rng.uniform(-1, 1, SAMPLES).astype(np.float32) if sound else None,
    )


def clips(*items, notes=("no_audio",)):
    return Clips(items, MediaInfo.model_validate(MEDIA), notes, {"open": 0.5, "decode": 1e-9})


@pytest.fixture
def pair():
    one, two = socket.socketpair()
    one.settimeout(10)
    two.settimeout(10)
    with one, two:
        yield one, two


def sent(data):
    """A socket from which some bytes can be received, and then the end."""
    near, far = socket.socketpair()

    def write():
        with far, contextlib.suppress(OSError):  # where the receiver has seen enough
            far.sendall(data)

    threading.Thread(target=write, daemon=True).start()
    near.settimeout(10)
    return near


def framed(body):
    return struct.pack("<Q", len(body)) + body


def received(data):
    """What the parent makes of a child's bytes."""
    with sent(data) as link:
        header = wire.receive_message(link, wire.Header)
        return header if header.error else wire.decode(link, header, DATASET)


def payload(*items):
    """The bytes of an honest child."""
    near, far = socket.socketpair()
    chunks = []

    def read():
        while chunk := far.recv(1 << 16):
            chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with near:
        wire.send(near, *wire.encode(clips(*items)))
    reader.join()
    far.close()
    return b"".join(chunks)


def header(**changes):
    base = {"clips": [], "media": MEDIA, "notes": [], "timings": {}, "error": None}
    return framed(json.dumps(base | changes).encode())


# --- there and back ---

CONTENTS = {
    "nothing": (),
    "face and sound": (clip(),),
    "face": (clip(sound=False),),
    "sound": (clip(face=False),),
    "mixed": (clip(1), clip(2, sound=False), clip(3, track=0), clip(4, face=False)),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_clips_arrive_unchanged(content):
    whole = clips(*CONTENTS[content])
    arrived = received(payload(*CONTENTS[content]))
    assert (arrived.media, arrived.notes, arrived.timings) == (whole.media, whole.notes, whole.timings)
    assert len(arrived.clips) == len(whole.clips)
    for one, two in zip(arrived.clips, whole.clips, strict=True):
        assert (one.seconds, one.track_id) == (two.seconds, two.track_id)
        for name in ("times", "frames", "boxes", "landmarks", "wave"):
            a, b = getattr(one, name), getattr(two, name)
            assert (a is None) == (b is None)
            assert a is None or (a.dtype == b.dtype and np.array_equal(a, b))


def test_what_arrives_can_be_written_to():
    (arrived,) = received(payload(clip())).clips
    arrived.frames[:] = 0
    arrived.wave[:] = 0


def test_arrays_of_any_layout_are_sent(pair):
    one, two = pair
    array = np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2].T
    wire.send(one, wire.Header(), [array])
    wire.receive_message(two, wire.Header)
    assert two.recv(1000) == np.ascontiguousarray(array).tobytes()


def test_messages_follow_each_other(pair):
    one, two = pair
    for number in range(3):
        wire.send(one, wire.Header(notes=["a" * (number + 1)]))
    assert [wire.receive_message(two, wire.Header).notes for _ in range(3)] == [["a"], ["aa"], ["aaa"]]


def test_a_request_takes_its_file_along(pair, tmp_path):
    one, two = pair
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        wire.send(one, wire.Request(seed=7, alarm=3), descriptor=file.fileno())
    request, descriptor = wire.receive_request(two)
    assert (request.seed, request.alarm) == (7, 3)
    with os.fdopen(descriptor, "rb") as same:
        assert same.read() == b"content"


def test_a_request_without_a_file_is_the_end(pair):
    one, two = pair
    wire.send(one, wire.Request(seed=None, alarm=1))
    with pytest.raises(EOFError):
        wire.receive_request(two)


def test_the_end_of_the_link_is_the_end_of_requests(pair):
    one, two = pair
    one.close()
    with pytest.raises(EOFError):
        wire.receive_request(two)


def test_an_opening_holds_the_configuration(pair):
    one, two = pair
    plain = load_config(env={}).plain()
    wire.send(one, wire.Opening(config=plain, threads=2))
    assert wire.receive_message(two, wire.Opening) == wire.Opening(config=plain, threads=2)


def test_an_error_arrives():
    arrived = received(header(media=None, error=["too_long", "It lasts."]))
    assert arrived.error == ("too_long", "It lasts.")


# --- a child that lies ---

HONEST = payload(clip(), clip(1))
ONE = {"track_id": 0, "sound": False}
LIES = {
    "no media": header(media=None),
    "too many clips": header(clips=[ONE] * 5),
    "very many clips": header(clips=[ONE] * 20_000),
    "more clips than arrays": header(clips=[ONE]),
    "a clip of nothing": header(clips=[{"track_id": None, "sound": False}]),
    "a negative track": header(clips=[{"track_id": -1, "sound": True}]),
    "a track that is a word": header(clips=[{"track_id": "a", "sound": True}]),
    "a width beyond counting": header(media=MEDIA | {"width": 10**30}),
    "many notes": header(notes=["a"] * 33),
    "many stages": header(timings={"a" * number: 1.0 for number in range(1, 34)}),
    "a stage before its time": header(timings={"open": -1.0}),
    "a clip that is a list": header(clips=[[]]),
    "clips that are a number": header(clips=7),
    "a foreign key": header(extra=1),
    "a foreign key in a clip": header(clips=[ONE | {"frames": 9}]),
    "a foreign key in the media": header(media=MEDIA | {"path": "/etc"}),
    "a note in prose": header(notes=["Call 555 now"]),
    "a note with a line break": header(notes=["no_face\n"]),
    "an empty note": header(notes=[""]),
    "a long note": header(notes=["a" * 41]),
    "a stage in prose": header(timings={"a stage": 1.0}),
    "an endless stage": header(timings={"open": float("inf")}),
    "a stage that is no number": header(timings={"open": float("nan")}),
    "a negative duration": header(media=MEDIA | {"duration": -1}),
    "an endless duration": header(media=MEDIA | {"duration": float("inf")}),
    "a long container": header(media=MEDIA | {"container": "x" * 1000}),
    "an error that is a word": header(error="bug"),
    "an error of three": header(error=["bug", "a", "b"]),
    "an error in prose": header(error=["It failed", ""]),
    "a long error": header(error=["bug", "x" * 4001]),
    "no JSON": framed(b"clips"),
    "no text": framed(b"\xff\xfe\x00"),
    "a list": framed(b"[]"),
    "null": framed(b"null"),
    "deep nesting": framed(b"[" * 100_000),
    "a long number": framed(b'{"clips":' + b"9" * 100_000 + b"}"),
    "a pickle": framed(b"\x80\x04cos\nsystem\n(S'true'\ntR."),
    "an empty message": framed(b""),
    "a message of 2 MB": framed(b" " * (2 << 20)),
    "a claim of 2 MB": struct.pack("<Q", 2 << 20),
    "a claim of everything": b"\xff" * 8,
    "nothing": b"",
    "half a length": b"\0\0\0",
    "half a message": HONEST[:50],
    "half an array": HONEST[:-1],
    "one array of two": HONEST[: len(HONEST) // 2],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_a_value_error_or_the_end(lie):
    with pytest.raises((ValueError, EOFError)):
        received(LIES[lie])


ARRAYS = {"times": 0, "boxes": 24 + 3 * 32 * 32 * 3, "landmarks": 24 + 3 * 32 * 32 * 3 + 48}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [*ARRAYS, "wave"])
def test_numbers_must_be_finite(name, value):
    kind = np.float64 if name == "times" else np.float32
    data = payload(clip())
    arrays = len(data) - (24 + 3 * 32 * 32 * 3 + 48 + 120 + 4 * SAMPLES)
    at = len(data) - 8 if name == "wave" else arrays + ARRAYS[name]
    broken = data[:at] + kind(value).tobytes() + data[at + kind().nbytes :]
    assert len(broken) == len(data)
    with pytest.raises(ValueError, match="not finite"):
        received(broken)


def test_more_clips_than_configured_are_refused_before_they_are_read():
    with pytest.raises(ValueError, match="too many clips"):
        received(payload(*[clip(seed) for seed in range(5)]))


def test_a_clip_of_nothing_is_refused_before_it_is_read():
    with pytest.raises(ValueError, match="a face or sound"):
        received(header(clips=[{"track_id": None, "sound": False}]) + np.arange(3.0).tobytes())


def test_a_track_beyond_counting_is_refused_before_its_clip_is_read():
    with pytest.raises(ValueError, match="less than 2147483648"):
        received(header(clips=[{"track_id": 2**31, "sound": True}]))


@pytest.mark.parametrize(
    "times", [[0.0, 0.2, 0.2], [0.2, 0.1, 0.3], [-0.1, 0.1, 0.2], [5.2, 5.3, 5.4], [0.0, 1.0, 1e300], [-1e300, 0, 1]]
)
def test_times_must_rise_within_the_media(times):
    with pytest.raises(ValueError, match="rise"):
        received(payload(Clip(**(vars(clip()) | {"times": np.array(times, dtype=np.float64)}))))


@pytest.mark.parametrize("loud", [1.01, -1.01, 3e38])
def test_sound_must_be_as_loud_as_sound_can_be(loud):
    wave = np.linspace(-1, 1, SAMPLES, dtype=np.float32)
    assert received(payload(Clip(**(vars(clip()) | {"wave": wave})))).clips
    wave[100] = loud
    with pytest.raises(ValueError, match="louder"):
        received(payload(Clip(**(vars(clip()) | {"wave": wave}))))


def test_the_span_is_the_configured_one():
    (arrived,) = received(payload(Clip(**(vars(clip()) | {"seconds": 1e9})))).clips
    assert arrived.seconds == 0.375


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_error(data):
    with pytest.raises((ValueError, EOFError)):
        received(data)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(HONEST) - 1), st.binary(min_size=1, max_size=16))
def test_any_change_is_an_error_or_other_clips(at, noise):
    try:
        arrived = received(HONEST[:at] + noise + HONEST[at + len(noise) :])
    except (ValueError, EOFError):
        return
    assert isinstance(arrived, Clips | wire.Header)


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["clips", "media", "error"]), inner)
        ),
        max_leaves=8,
    )
)
def test_any_json_is_an_error_or_a_header(value):
    try:
        arrived = received(framed(json.dumps(value).encode()))
    except (ValueError, EOFError):
        return
    assert isinstance(arrived, wire.Header)
    assert arrived.error


def test_a_claimed_size_reserves_nothing(pair):
    """The parent makes room for what the configuration says, however much a header claims."""
    one, two = pair
    one.sendall(struct.pack("<Q", wire.LARGEST_MESSAGE + 1))
    with pytest.raises(ValueError, match="a message of"):
        wire.receive_message(two, wire.Header)


def test_nothing_is_ever_unpickled():
    """Pickle is known to the process through other packages, but this module has no way to it."""
    assert "pickle" in sys.modules
    assert not [name for name in vars(wire) if "pickle" in name or "marshal" in name]
