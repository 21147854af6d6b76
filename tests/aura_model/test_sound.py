"""The sound of a span: where each sample lands, and that nothing is added on the way."""

import io
import struct
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from aura_model.config import SAMPLE_RATE
from aura_model.media import open_media
from aura_model.settings import load_config
from aura_model.sound import JITTER, SoundReader

MEDIA = Path(__file__).parents[1] / "media"
LIMITS = load_config(env={}).limits
HZ = 440.0
CLICK = 0.7
"""When the click sounds, seconds."""


def read(name):
    return (MEDIA / name).read_bytes()


def reader(data):
    with open_media(io.BytesIO(data), LIMITS) as media:
        return SoundReader(media)


def span(data, start, seconds):
    return reader(data).span(start, seconds)


def tone(seconds, rate=48000, level=0.5):
    return level * np.sin(2 * np.pi * HZ * np.arange(round(seconds * rate)) / rate)


def click(seconds, rate=48000):
    """A burst of 2 ms around `CLICK`."""
    t = np.arange(round(seconds * rate)) / rate - CLICK
    return 0.8 * np.exp(-((t / 0.0007) ** 2)) * np.cos(2 * np.pi * 1000 * t)


def ideal(start, samples, level=0.5):
    return level * np.sin(2 * np.pi * HZ * (start + np.arange(samples) / SAMPLE_RATE))


def loudness(samples):
    return float(np.sqrt(np.mean(np.square(samples))))


def misfit(wave, start):
    """How far a wave is from a tone of any level and phase (root mean square), and that phase in ms."""
    angle = 2 * np.pi * HZ * (start + np.arange(len(wave)) / SAMPLE_RATE)
    a, b = 2 * np.mean(wave * np.sin(angle)), 2 * np.mean(wave * np.cos(angle))
    phase = 1000 * np.arctan2(b, a) / (2 * np.pi * HZ)
    return loudness(wave - a * np.sin(angle) - b * np.cos(angle)), phase


# kind, codec, rate -> how late a sample may be, ms. Containers with a clock of 1 ms round; the rest are exact to half a
# sample of 16 kHz, 0.03 ms.
CODINGS = [
    ("wav", "pcm_s16le", 8000, 0.04),
    ("wav", "pcm_s16le", 16000, 0.04),
    ("wav", "pcm_s16le", 44100, 0.04),
    ("wav", "pcm_s24le", 96000, 0.04),
    ("wav", "pcm_f32le", 48000, 0.04),
    ("wav", "adpcm_ms", 16000, 0.04),
    ("wav", "adpcm_ima_wav", 16000, 0.04),  # several frames a packet
    ("wav", "adpcm_ima_wav", 44100, 0.04),
    ("mov", "pcm_s24be", 48000, 0.04),
    ("mp4", "aac", 48000, 0.04),
    ("mp4", "aac", 44100, 0.04),
    ("mov", "alac", 44100, 0.04),
    ("flac", "flac", 44100, 0.04),
    ("matroska", "aac", 48000, 1.0),
    ("matroska", "aac", 44100, 1.0),
    ("matroska", "pcm_s16le", 48000, 1.0),
    ("flv", "aac", 44100, 1.0),
    ("webm", "libopus", 48000, 1.0),
    ("mpegts", "mp2", 48000, 0.04),
    ("mpegts", "aac", 48000, 0.04),  # several packets a timestamp
]


PICTURES = {kind: [{}] for kind in ("mp4", "mov", "matroska", "flv", "mpegts")}
PICTURES["webm"] = [{"codec": "libvpx", "options": {"cpu-used": "8"}}]


@pytest.fixture(scope="module")
def made(films):
    """A film of 3 s, with pictures where the container may have them."""
    kept = {}

    def make(kind, codec, rate, samples, name):
        key = (kind, codec, rate, name)
        if key not in kept:
            pictures = [films.Pictures(range(75), size=(64, 32), **how) for how in PICTURES.get(kind, [])]
            kept[key] = films.film(kind, *pictures, films.Sound(samples, codec, rate))
        return kept[key]

    return make


# --- where samples land ---


@pytest.mark.parametrize(("kind", "codec", "rate", "late"), CODINGS)
def test_a_click_lands_on_its_sample(made, kind, codec, rate, late):
    wave = span(made(kind, codec, rate, click(3, rate), "click"), 0.5, 0.5)
    peak = np.abs(wave).argmax() / SAMPLE_RATE + 0.5
    assert 1000 * abs(peak - CLICK) <= late + 1000 / SAMPLE_RATE


@pytest.mark.parametrize("start", [0.2, 1.0, 1.53])
@pytest.mark.parametrize(("kind", "codec", "rate", "late"), CODINGS)
def test_a_tone_stays_a_tone(made, kind, codec, rate, late, start):
    """No click at the edges of packets, no hole, no shift: what is left beside the tone is the codec's own noise."""
    wave = span(made(kind, codec, rate, tone(3, rate), "tone"), start, 1.0)
    assert wave.shape == (SAMPLE_RATE,)
    assert wave.dtype == np.float32
    rest, phase = misfit(wave, start)
    assert rest < (0.02 if codec.startswith("adpcm") else 0.003)
    assert abs(phase) <= late
    assert loudness(wave) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_sound_is_heard_to_its_last_sample(made, rate):
    wave = span(made("wav", "pcm_s16le", rate, tone(3, rate), "tone"), 2.5, 0.5)
    assert np.abs(wave[-16:] - ideal(3 - 16 / SAMPLE_RATE, 16)).max() < 0.1
    assert np.abs(wave[-40:-16] - ideal(3 - 40 / SAMPLE_RATE, 24)).max() < 0.05


def test_sound_without_timestamps_follows_packet_by_packet(films):
    data = films.film("adts", films.Sound(tone(3, 44100), rate=44100))
    for start in (0.3, 1.7):
        rest, _ = misfit(span(data, start, 1.0), start)
        assert rest < 0.003


@pytest.mark.parametrize("late", [0.0, 0.4, 1.3])
def test_late_sound_comes_after_silence(films, late):
    data = films.film(
        "matroska", films.Pictures(range(75), size=(64, 32)), films.Sound(tone(1.5), "pcm_s16le", start=late)
    )
    wave = span(data, 0.0, 2.0)
    begin = round(late * SAMPLE_RATE)
    assert not np.any(wave[: max(0, begin - 20)])
    assert loudness(wave[begin + 100 : SAMPLE_RATE * 2 - 100][: SAMPLE_RATE // 2]) > 0.3


def test_sound_a_little_before_the_picture_is_before_zero(films):
    pictures = films.Pictures(range(25), size=(64, 32), times_ms=[200 + 40 * i for i in range(25)])
    data = films.film("matroska", pictures, films.Sound(click(2), "pcm_s16le"))
    wave = span(data, 0.0, 1.0)
    assert abs(np.abs(wave).argmax() / SAMPLE_RATE + 0.2 - CLICK) < 0.002


def test_sound_long_before_the_picture_is_heard(films):
    """A camera that was switched on later: players begin with the sound, and count from there."""
    pictures = films.Pictures(range(25), size=(64, 32), times_ms=[1000 + 40 * i for i in range(25)])
    data = films.film("matroska", pictures, films.Sound(click(2), "pcm_s16le"))
    with open_media(io.BytesIO(data), LIMITS) as media:
        assert media.duration == pytest.approx(2.0, abs=0.05)
    wave = span(data, 0.0, 1.0)
    assert abs(np.abs(wave).argmax() / SAMPLE_RATE - CLICK) < 0.002
    assert np.abs(span(data, 1.0, 0.5)).max() < 0.01


def test_an_edit_list_moves_sound_and_picture_together(films):
    data = films.film("mp4", films.Pictures(range(75), size=(64, 32)), films.Sound(click(3)))
    at = data.index(b"elst") + 12  # of the picture, which now begins half a second later; the sound keeps its own
    cut = data[:at] + struct.pack(">Ii", 2500, round(0.5 * 12800) + 1024) + data[at + 8 :]
    with open_media(io.BytesIO(cut), LIMITS) as media:
        assert media.start == 0
        wave = SoundReader(media).span(0.5, 0.5)
    assert np.abs(wave).argmax() / SAMPLE_RATE + 0.5 == pytest.approx(CLICK, abs=0.001)


@pytest.mark.parametrize("starts", [[0.0, 0.5, 1.0, 2.0], [2.0, 1.0, 0.5, 0.0], [1.0, 1.0, 0.0, 2.9, 1.0]])
@pytest.mark.parametrize("kind", ["mp4", "flv", "wav"])
def test_spans_come_in_any_order(made, kind, starts):
    coding = {"mp4": ("aac", 44100), "flv": ("aac", 44100), "wav": ("pcm_s16le", 16000)}[kind]
    data = made(kind, *coding, tone(3, coding[1]), "tone")
    one = reader(data)
    for start in starts:
        assert np.abs(one.span(start, 0.6) - span(data, start, 0.6)).max() < 1e-4  # decoders add noise of their own


# --- outside ---


def test_past_the_end_is_silence(made):
    wave = span(made("wav", "pcm_s16le", 16000, tone(3, 16000), "tone"), 2.5, 1.0)
    assert np.abs(wave[:8000] - ideal(2.5, 8000)).max() < 0.001
    assert not np.any(wave[8000:])


def test_before_the_start_is_silence(made):
    wave = span(made("wav", "pcm_s16le", 16000, tone(3, 16000), "tone"), -0.5, 1.0)
    assert not np.any(wave[:8000])
    assert np.abs(wave[8000:] - ideal(0, 8000)).max() < 0.001


@pytest.mark.parametrize("start", [-9.0, 3.5, 1e6])
def test_a_span_without_any_sound_is_none(made, start):
    assert span(made("wav", "pcm_s16le", 16000, tone(3, 16000), "tone"), start, 1.0) is None


@pytest.mark.parametrize("seconds", [0.001, 0.0321, 1.0, 2.999, 8.0])
def test_the_length_is_the_one_asked_for(made, seconds):
    wave = span(made("wav", "pcm_s16le", 16000, tone(3, 16000), "tone"), 0.0, seconds)
    assert len(wave) == round(seconds * SAMPLE_RATE)


def test_a_media_without_sound_has_none():
    with open_media(io.BytesIO(read("video_only.mp4")), LIMITS) as media, pytest.raises(ValueError, match="no sound"):
        SoundReader(media)


@pytest.mark.parametrize("kept", [1, 7, 1000])
@pytest.mark.parametrize("start", [0.1, 1.0, 1.7])
def test_packets_without_timestamps_follow_the_one_that_has_one(films, kept, start):
    """Every `kept`-th one has; should it be the first alone, everything is decoded from there."""
    data = films.film("mpegts", films.Sound(tone(3), "mp2"))
    with open_media(io.BytesIO(data), LIMITS) as media:
        for index, packet in enumerate(media.audio.packets):
            if index % kept:
                packet.pts = packet.dts = None
        wave = SoundReader(media).span(start, 1.0)
    assert np.abs(wave - span(data, start, 1.0)).max() < 0.001


def test_only_what_is_near_a_span_is_kept(films):
    """Or an hour of sound with one timestamp would fill the child's memory."""
    data = films.film("adts", films.Sound(tone(20, 8000), rate=8000))
    with open_media(io.BytesIO(data), LIMITS) as media:
        media.audio.packets[0].pts = 0
        sound = SoundReader(media)
        frames = list(sound._frames(10.0, 11.0))
        assert np.ptp(sound._times) == 0
    assert 2.9 <= sum(frame.samples for _, frame in frames) / 8000 <= 3.5
    assert frames[0][0] == pytest.approx(9.0, abs=0.2)


def test_sound_before_the_first_timestamp_is_left_out(films):
    data = films.film("matroska", films.Sound(tone(2, 16000), "pcm_s16le", 16000))
    with open_media(io.BytesIO(data), LIMITS) as media:
        for packet in media.audio.packets[:15]:
            packet.pts = packet.dts = None
        sound = SoundReader(media)
    wave = sound.span(0.0, 1.0)
    begin = round(sound._times[15] * SAMPLE_RATE)
    assert wave is not None
    assert np.all(np.isfinite(wave))
    assert begin >= 0


def test_no_packets_no_sound(films):
    with open_media(io.BytesIO(read("audio_only.wav")), LIMITS) as media:
        media.audio.packets.clear()
        assert SoundReader(media).span(0.0, 1.0) is None


# --- channels and values ---


@pytest.mark.parametrize(
    ("layout", "levels", "level"),
    [
        ("mono", [0.5], 0.5),
        ("stereo", [0.5, 0.5], 0.5),
        ("stereo", [1.0, 1.0], 1.0),  # does not clip
        ("stereo", [0.5, 0.0], 0.25),
        ("stereo", [0.5, -0.5], 0.5),  # two wires were swapped: they would cancel out
        ("stereo", [-0.2, 0.2], -0.2),
    ],
)
def test_channels_are_averaged(films, layout, levels, level):
    samples = np.outer(levels, tone(1, 16000, 1.0))
    wave = span(films.film("wav", films.Sound(samples, "pcm_s16le", 16000, layout)), 0.2, 0.5)
    assert np.abs(wave - ideal(0.2, 8000, level)).max() < 0.001


def test_a_voice_in_the_middle_of_5_1_is_heard(films):
    samples = np.zeros((6, 96000))
    samples[2] = tone(2)
    wave = span(films.film("wav", films.Sound(samples, "pcm_s16le", layout="5.1")), 0.5, 1.0)
    assert misfit(wave, 0.5)[0] < 0.001
    assert loudness(wave) > 0.05


@pytest.mark.parametrize("channels", [3, 4, 5, 7, 16])
def test_channels_without_names_are_mixed_all_the_same(channels):
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(np.repeat(tone(1, 16000) * 32767, channels).astype("<i2").tobytes())
    assert np.abs(span(file.getvalue(), 0.2, 0.5) - ideal(0.2, 8000)).max() < 0.001


@pytest.mark.parametrize(("channels", "mask"), [(9, 0x1FF), (2, 0x600), (2, 0xC0)])
def test_channels_that_nobody_knows_how_to_mix_are_averaged(channels, mask):
    """Nine of them; a pair at the sides alone."""
    pcm = np.repeat(tone(1, 16000) * 32767, channels).astype("<i2").tobytes()
    size = 2 * channels
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    form = struct.pack("<HHIIHHHHI", 0xFFFE, channels, 16000, 16000 * size, size, 16, 22, 16, mask) + guid
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(pcm)) + pcm
    data = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    assert np.abs(span(data, 0.2, 0.5) - ideal(0.2, 8000)).max() < 0.001


@pytest.mark.parametrize("rate", [16000, 48000])
def test_what_is_not_finite_becomes_silence_or_full_scale(films, rate):
    samples = tone(2, rate)
    samples[rate // 2 : rate // 2 + 100 : 7] = np.nan
    samples[rate] = np.inf
    samples[rate + 500] = -1e30
    wave = span(films.film("wav", films.Sound(samples, "pcm_f32le", rate)), 0.0, 2.0)
    assert np.all(np.isfinite(wave))
    assert np.abs(wave).max() <= 1
    assert np.abs(wave[100:7000] - ideal(100 / SAMPLE_RATE, 6900)).max() < 0.001
    assert np.abs(wave[20000:31000] - ideal(1.25, 11000)).max() < 0.001


def test_what_is_too_loud_is_clipped(films):
    wave = span(films.film("wav", films.Sound(tone(1, 16000, 3.0), "pcm_f32le", 16000)), 0.0, 1.0)
    assert wave.max() == 1
    assert wave.min() == -1


@pytest.mark.parametrize("rate", [2**31 - 1, 402_669_184, 768_001, 3_999, 500])
def test_an_absurd_rate_has_no_sound_and_no_resampler(films, monkeypatch, rate):
    monkeypatch.setattr("aura_model.sound.AudioResampler", None)
    data = bytearray(films.film("wav", films.Sound(tone(1, 8000), "pcm_s16le", 8000)))
    at = data.index(b"fmt ") + 12
    data[at : at + 4] = struct.pack("<I", rate)
    assert span(bytes(data), 0.0, 1.0) is None


# --- gaps, changes and damage ---


def without(data, lost):
    """A WAV in Matroska with the timestamps kept and some packets dropped."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for index, packet in enumerate(source.demux(audio=0)):
            if packet.size and index not in lost:
                packet.stream = stream
                target.mux(packet)
    return file.getvalue()


def test_a_lost_packet_is_silence_and_moves_nothing(films):
    data = films.film("matroska", films.Sound(tone(2, 16000), "pcm_s16le", 16000))  # packets of 64 ms
    wave = span(without(data, {10, 11}), 0.0, 2.0)
    hole = slice(10 * 1024 + 20, 12 * 1024 - 20)
    assert not np.any(wave[hole])
    assert misfit(wave[: 10 * 1024 - 100], 0)[0] < 0.001
    later = wave[12 * 1024 + 100 : 28 * 1024]
    rest, phase = misfit(later, (12 * 1024 + 100) / SAMPLE_RATE)
    assert rest < 0.001
    assert abs(phase) <= 1.0


def test_jitter_of_the_clock_is_smoothed(films):
    data = films.film("matroska", films.Sound(tone(3, 48000), "aac"))
    rng = np.random.default_rng(0)
    with open_media(io.BytesIO(data), LIMITS) as media:
        for packet in media.audio.packets:
            packet.pts += int(rng.integers(-3, 4))  # ms
        wave = SoundReader(media).span(0.5, 2.0)
    assert misfit(wave, 0.5)[0] < 0.003


def test_a_jump_of_the_clock_is_followed(films):
    jump = 2 * JITTER
    data = films.film("matroska", films.Sound(tone(2, 16000), "pcm_s16le", 16000))
    with open_media(io.BytesIO(data), LIMITS) as media:
        for packet in media.audio.packets[15:]:
            packet.pts += round(1000 * jump)
        wave = SoundReader(media).span(0.0, 2.0)
    begin = 15 * 1024
    assert not np.any(wave[begin + 20 : begin + round(jump * SAMPLE_RATE) - 20])
    assert loudness(wave[begin + round(jump * SAMPLE_RATE) + 20 :][:4000]) > 0.3


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2)])
def test_the_format_may_change(films, layout, channels):
    """As HE-AAC and broadcasts do: the second half has another rate and other channels."""
    first = films.film("mpegts", films.Sound(tone(1, 48000)))
    other = np.tile(tone(1, 32000), (channels, 1))
    second = films.film("mpegts", films.Sound(other, rate=32000, layout=layout, start=1.1))
    wave = span(first + second, 0.0, 2.0)
    assert misfit(wave[2000:15000], 0)[0] < 0.01
    assert misfit(wave[20000:30000], 0)[0] < 0.01
    assert loudness(wave[20000:30000]) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_the_format_may_change_from_one_packet_to_the_next(films):
    first = films.film("mpegts", films.Sound(tone(1, 48000)))
    second = films.film("mpegts", films.Sound(tone(1, 32000), rate=32000, start=5))
    with open_media(io.BytesIO(first + second), LIMITS) as media:
        later = [packet for packet in media.audio.packets if packet.pts > 3 * 90_000]
        for index, packet in enumerate(later):
            packet.pts = media.audio.packets[0].pts + round(90_000 * (47 * 1024 / 48000 + index * 1024 / 32000))
        wave = SoundReader(media).span(0.0, 1.9)
    assert misfit(wave[2000:15000], 0)[0] < 0.01
    assert misfit(wave[18000:30000], 0)[0] < 0.01


def test_damaged_packets_are_passed_over():
    whole = span(read("talking_face.mp4"), 1.0, 1.0)
    data = bytearray(read("talking_face.mp4"))
    with av.open(io.BytesIO(bytes(data))) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
    for packet in packets[60:64]:  # from 1.26 s on
        data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    wave = span(bytes(data), 1.0, 1.0)
    assert np.array_equal(wave[:3500], whole[:3500])
    assert np.corrcoef(wave[-8000:], whole[-8000:])[0, 1] > 0.9


def test_noise_in_every_packet_is_no_sound_or_finite():
    data = bytearray(read("audio_only.m4a"))
    rng = np.random.default_rng(0)
    with av.open(io.BytesIO(bytes(data))) as container:
        for packet in container.demux(audio=0):
            if packet.size:
                data[packet.pos : packet.pos + packet.size] = rng.bytes(packet.size)
    wave = span(bytes(data), 0.0, 4.0)
    assert wave is None or np.all(np.isfinite(wave))


def test_memory_that_runs_out_is_no_damage():
    class Exhausted:
        def flush_buffers(self):
            pass

        def decode(self, packet):
            raise av.error.MemoryError(12, "Cannot allocate memory")

    sound = reader(read("audio_only.wav"))
    sound._context = Exhausted()
    with pytest.raises(MemoryError):
        sound.span(0.0, 1.0)


def test_only_what_a_span_needs_is_decoded():
    sound = reader(read("audio_only.m4a"))
    decode, counted = sound._decode, []
    sound._decode = lambda packet: counted.append(packet) or decode(packet)
    sound.span(2.0, 0.5)
    assert len(counted) < 45  # of 189, 21 ms each: half a second, and what comes before it


@pytest.mark.parametrize("name", ["talking_face.mp4", "talking_face_b.mp4", "mpeg4.avi", "vp9.webm", "audio_only.wav"])
def test_speech_is_loud_where_it_is(name):
    wave = span(read(name), 0.0, 2.0)
    assert loudness(wave) > 0.01
