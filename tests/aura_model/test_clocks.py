"""Recordings that were joined as they are: each part's clock goes on where the one before it ended."""

import io
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aura_model.clocks import BACK, LEAP, MOST, SECOND, one_clock, unstamp_strays
from aura_model.config import SAMPLE_RATE
from aura_model.errors import MediaError
from aura_model.frames import Converter, FrameReader
from aura_model.media import open_media
from aura_model.settings import load_config
from aura_model.sound import SoundReader

LIMITS = load_config(env={}).limits
FRAME = SECOND // 25
HOURS = 7200 * SECOND
PICTURE, SOUND = 0, 1


def packet(index, dts, pts=None, duration=FRAME):
    stamp = dts if pts is None else pts
    return SimpleNamespace(stream=SimpleNamespace(index=index), dts=dts, pts=stamp, duration=duration)


def run(index, start, count, step=FRAME):
    return [packet(index, start + step * i, duration=step) for i in range(count)]


def interleaved(*runs):
    return sorted((p for one in runs for p in one), key=lambda p: p.dts)


def stamps(packets, index=PICTURE):
    return [p.dts for p in packets if p.stream.index == index]


def mended(*parts):
    return list(one_clock(p for part in parts for p in part))


# --- what is moved ---


@pytest.mark.parametrize("start", [0, 5, HOURS, -HOURS, 2 * FRAME])
def test_the_next_part_follows(start):
    assert stamps(mended(run(PICTURE, HOURS, 50), run(PICTURE, start, 50))) == [HOURS + FRAME * i for i in range(100)]


def test_many_parts_follow_each_other():
    parts = [run(PICTURE, 1000 * k, 25) for k in range(20)]
    assert stamps(mended(*parts)) == [FRAME * i for i in range(500)]


@pytest.mark.parametrize("leap", [-BACK, -1, 1, 5 * SECOND, LEAP])
def test_what_may_be_one_recording_is_left_alone(leap):
    """A slide that stays, a lost packet, a frame out of order."""
    packets = run(PICTURE, 0, 50) + run(PICTURE, 50 * FRAME + leap, 50)
    before = stamps(packets)
    assert stamps(mended(packets)) == before


@pytest.mark.parametrize("leap", [-BACK - 1, LEAP + 1])
def test_what_may_not_is_moved(leap):
    packets = run(PICTURE, 0, 50) + run(PICTURE, 50 * FRAME + leap, 50)
    assert stamps(mended(packets)) == [FRAME * i for i in range(100)]


def test_sound_may_pause_for_long_beside_the_picture():
    early, late = run(SOUND, 0, 25), run(SOUND, 100 * SECOND + 777, 25)
    packets = interleaved(run(PICTURE, 0, 3000), early, late)
    before = stamps(packets, SOUND)
    assert stamps(mended(packets), SOUND) == before


@pytest.mark.parametrize("late", [-SECOND, -3000, 0, 3000, SECOND])
@pytest.mark.parametrize("longer", [-SECOND, 0, SECOND])
@pytest.mark.parametrize("start", [0, HOURS])
def test_sound_and_picture_of_a_part_are_moved_by_the_same(start, longer, late):
    first = interleaved(run(PICTURE, 1000, 100), run(SOUND, 1000, 100 + longer // FRAME))
    second = interleaved(run(PICTURE, start + 5000, 100), run(SOUND, start + 5000 + late, 100))
    found = mended(first, second)
    picture, sound = stamps(found)[100:], stamps(found, SOUND)[100 + longer // FRAME :]
    assert picture[0] >= 1000 + 100 * FRAME
    assert np.array_equal(np.diff(picture), np.full(99, FRAME))
    assert np.array_equal(np.diff(sound), np.full(99, FRAME))
    assert sound[0] - picture[0] == late


def test_the_end_of_a_part_may_come_behind_the_start_of_the_next():
    """A reader gives out a packet when the next one of its stream begins."""
    first = interleaved(run(PICTURE, HOURS, 100), run(SOUND, HOURS, 100))
    second = interleaved(run(PICTURE, 0, 100), run(SOUND, 0, 100))
    last = next(p for p in reversed(first) if p.stream.index == SOUND)
    first.remove(last)
    found = mended(first, second[:1], [last], second[1:])
    assert stamps(found) == stamps(found, SOUND) == [HOURS + FRAME * i for i in range(200)]


def test_a_stream_that_begins_in_a_later_part_is_moved_with_it():
    second = interleaved(run(PICTURE, 0, 50), run(SOUND, 100, 50))
    found = mended(run(PICTURE, HOURS, 50), second)
    assert stamps(found, SOUND)[0] == HOURS + 50 * FRAME + 100


@pytest.mark.parametrize("index", [PICTURE, SOUND])
@pytest.mark.parametrize("wrong", [0, 3 * HOURS, MOST])
def test_one_false_timestamp_leaves_the_others(index, wrong):
    packets = interleaved(run(PICTURE, HOURS, 100), run(SOUND, HOURS + 20, 100))
    before = stamps(packets, PICTURE), stamps(packets, SOUND)
    false = packets[100 + index]
    false.dts = false.pts = wrong
    found = mended(packets)
    for stream, expected in zip((PICTURE, SOUND), before, strict=True):
        changed = np.flatnonzero(np.array(stamps(found, stream)) != expected)
        assert len(changed) <= (stream == false.stream.index)


def test_presentation_moves_with_decoding():
    late = [packet(PICTURE, FRAME * i, FRAME * (i + 2)) for i in range(50)]
    found = mended(run(PICTURE, HOURS, 50), late)
    assert [p.pts - p.dts for p in found[50:]] == [2 * FRAME] * 50


def test_packets_without_timestamps_stay_so():
    bare = SimpleNamespace(stream=SimpleNamespace(index=PICTURE), dts=None, pts=None, duration=None)
    found = mended(run(PICTURE, HOURS, 5), run(PICTURE, 0, 1), [bare], run(PICTURE, FRAME, 1))
    assert (bare.dts, bare.pts) == (None, None)
    assert stamps(found)[-1] == HOURS + 6 * FRAME


# --- what a stranger may write ---

ANY = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-LEAP, LEAP))


@example([(PICTURE, 0, 0, 0), (PICTURE, -(2**63) + 1, 2**63 - 1, 0)])
@example([(PICTURE, 0, 0, 2**63 - 1), (PICTURE, 0, 0, 2**63 - 1), (SOUND, 2**63 - 1, 0, 1), (SOUND, 0, 1, 1)])
@given(st.lists(st.tuples(st.integers(0, 2), ANY | st.none(), ANY | st.none(), ANY | st.none()), max_size=40))
def test_every_timestamp_fits_into_64_bits(values):
    packets = [packet(index, dts, pts, duration) for index, dts, pts, duration in values]
    for one, (_, dts, _, _) in zip(mended(packets), values, strict=True):
        assert all(stamp is None or -(2**63) < stamp < 2**63 for stamp in (one.dts, one.pts))
        assert dts is not None or one.dts is None


@pytest.mark.parametrize("duration", [2**62, 3 * LEAP, -(2**62), -1, None])
def test_an_absurd_duration_moves_nothing_far(duration):
    packets = run(PICTURE, HOURS, 50)
    packets[20].duration = duration
    found = stamps(mended(packets))
    assert found[:21] == [HOURS + FRAME * i for i in range(21)]
    assert max(found) <= HOURS + 50 * FRAME + LEAP


@given(st.lists(st.integers(0, 2**33), min_size=2, max_size=40))
def test_a_stream_never_goes_back_far(values):
    found = stamps(mended([packet(PICTURE, value) for value in values]))
    assert all(b - a >= -BACK for a, b in pairwise(found))


# --- in files ---


def part(films, kind, first, start=0.0, **how):
    """Two seconds; the sound clicks 0.7 s after the first frame."""
    times = [round(1000 * start) + 40 * i for i in range(50)] if start else None
    t = np.arange(96_000) / 48_000 - 0.7
    click = 0.8 * np.exp(-((t / 0.0007) ** 2)) * np.cos(2 * np.pi * 1000 * t)
    pictures = films.Pictures(range(first, first + 50), size=(64, 32), times_ms=times, **how)
    return films.film(kind, pictures, films.Sound(click, "mp2", start=start))


MPEG2 = {"codec": "mpeg2video", "options": {"g": "10", "bf": "2"}}


@pytest.mark.parametrize(
    ("kind", "how", "starts"),
    [
        ("mpegts", {}, (0, 0)),
        ("mpegts", {}, (0, 0, 0, 0)),
        ("mpegts", {}, (0, 7200)),
        ("mpegts", {}, (7200, 0)),
        ("mpeg", MPEG2, (0, 0)),
        ("mpeg", MPEG2, (0, 0, 0)),
    ],
)
def test_the_durations_of_joined_recordings_add_up(films, kind, how, starts):
    """And each part's pictures and sound are where they belong."""
    data = b"".join(part(films, kind, 50 * k, start, **how) for k, start in enumerate(starts))
    with open_media(io.BytesIO(data), LIMITS) as media:
        reader, sound, convert = FrameReader(media, LIMITS, 1), SoundReader(media), Converter(1)
    assert media.duration == pytest.approx(2 * len(starts), abs=0.1 * len(starts))
    assert not media.truncated
    frames = media.video.packets
    begins = sorted(float(p.pts * Fraction(1, SECOND)) - media.start for p in frames)[::50]
    for k, begin in enumerate(begins):
        assert films.number(convert.rgb(reader.at(begin + 0.5))) == pytest.approx(50 * k + 12, abs=1)
        wave = sound.span(begin + 0.45, 0.5)
        assert np.abs(wave).argmax() / SAMPLE_RATE + 0.45 == pytest.approx(0.7, abs=0.005)


def test_joined_recordings_that_last_too_long_together_are_refused(films):
    data = part(films, "mpegts", 0) * 3
    limits = LIMITS.model_copy(update={"max_seconds": 4})
    with pytest.raises(MediaError, match="too_long"), open_media(io.BytesIO(data), limits):
        pass


# --- timestamps that are out of place ---


def found_astray(pts):
    """The places of the packets that lose their timestamps; of 25 frames a second where none else is said."""
    packets = [packet(PICTURE, place, stamp) for place, stamp in enumerate(pts)]
    count = unstamp_strays(packets, Fraction(1, SECOND))
    places = [place for place, one in enumerate(packets) if one.pts is None]
    assert all(packets[place].dts is None for place in places)
    assert count == len(places)
    return places


EVEN = [FRAME * i for i in range(200)]


@pytest.mark.parametrize("places", [[0], [1], [100], [198], [50, 51, 52], [60, 61, 62, 63], [3, 90, 91, 150]])
@pytest.mark.parametrize("seconds", [2, 30, 3600])
def test_timestamps_far_ahead_of_their_neighbours_are_none(places, seconds):
    pts = [stamp + seconds * SECOND * (place in places) for place, stamp in enumerate(EVEN)]
    assert found_astray(pts) == places


@pytest.mark.parametrize(
    "pts",
    [
        EVEN,
        EVEN[:1],
        [],
        EVEN[:100] + [stamp + 30 * SECOND for stamp in EVEN[100:]],  # a pause
        [*EVEN[:-1], EVEN[-1] + 30 * SECOND],  # the last picture stays
        [120 * SECOND * i for i in range(50)],  # slides
        [FRAME * (i + (4 if i % 4 == 0 else -1)) for i in range(200)],  # out of order, as encoders leave them
        EVEN + EVEN,  # a second recording behind the first
        EVEN[100:] + EVEN[:100],
        [FRAME * (i if i % 2 else i + 16) for i in range(200)],
    ],
    ids=["even", "one", "none", "pause", "end", "slides", "reordered", "joined", "set back", "far reordered"],
)
def test_timestamps_that_may_be_right_are_kept(pts):
    assert found_astray(pts) == []


def strayed(data, kind, places, seconds, stream="video"):
    """The same file with the timestamps of some packets `seconds` ahead."""
    out = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(out, "w", format=kind) as container:
        copies = [container.add_stream_from_template(one) for one in source.streams]
        counts = [0] * len(copies)
        for one in source.demux():
            if one.dts is None:
                continue
            index = one.stream.index
            if one.stream.type == stream and counts[index] in places:
                one.pts += round(seconds / one.time_base)
            counts[index] += 1
            one.stream = copies[index]
            container.mux(one)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["mp4", "mov", "matroska", "mpegts"])
@pytest.mark.parametrize("places", [{1}, {20}, {20, 21, 22}])
def test_a_frame_that_claims_to_come_later_does_not_hold_up_the_others(films, kind, places):
    """It would hide what comes meanwhile: a forged face, say."""
    data = films.film(kind, films.Pictures(range(100), size=(128, 64), options={"x264-params": "bframes=0"}))
    with open_media(io.BytesIO(strayed(data, kind, places, 30)), LIMITS) as media:
        reader, converter = FrameReader(media, LIMITS, 1), Converter(1)
        seen = [films.number(converter.rgb(reader.at(time))) for time in np.arange(0.02, 4, 0.2)]
    assert media.duration == pytest.approx(4, abs=0.1)
    wanted = [round(25 * (time - 0.02)) for time in np.arange(0.02, 4, 0.2)]
    assert all(abs(number - one) <= 1 for number, one in zip(seen, wanted, strict=True))


@pytest.mark.parametrize("kind", ["matroska", "mpegts"])
def test_sound_that_claims_to_come_later_does_not_silence_the_rest(films, kind):
    tone = 0.5 * np.sin(np.arange(4 * 48000) / 20)
    data = films.film(kind, films.Pictures(range(100), size=(64, 32)), films.Sound(tone, "mp2"))
    with open_media(io.BytesIO(strayed(data, kind, {10}, 30, "audio")), LIMITS) as media:
        wave = SoundReader(media).span(1.0, 2.5)
    assert np.sqrt(np.square(wave).mean()) > 0.3
    assert np.sqrt(np.square(wave[-SAMPLE_RATE:]).mean()) > 0.3
