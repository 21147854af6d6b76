"""Is there speech?"""

import importlib.util
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from aura_model.errors import ConfigError
from aura_model.speech import SpeechGate

MEDIA = Path(__file__).parents[1] / "media"


@pytest.fixture(scope="module")
def gate():
    return SpeechGate(threshold=0.5, threads=1)


def sound(name):
    """A file's sound as mono float32 at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=16000)
    with av.open(str(MEDIA / name)) as container:
        pieces = [
            out.to_ndarray()[0] for frame in [*container.decode(audio=0), None] for out in resampler.resample(frame)
        ]
    return np.concatenate(pieces).astype(np.float32)


@pytest.fixture(scope="module")
def speech():
    return sound("talking_face.mp4")


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("talking_face.mp4", 0.5, 1.0), ("no_face_speech.mp4", 0.5, 1.0), ("music_only.m4a", 0.0, 0.1)],
)
def test_speech_is_told_from_music(gate, name, low, high):
    assert low <= gate.share(sound(name)) <= high


@pytest.mark.parametrize("samples", [0, 1, 511, 512, 16000, 16000 * 40])
def test_silence_is_no_speech(gate, samples):
    assert gate.share(np.zeros(samples, dtype=np.float32)) == 0.0


def test_silence_is_no_speech_at_any_threshold():
    assert SpeechGate(threshold=0.0, threads=1).share(np.zeros(16000, dtype=np.float32)) == 0.0


@pytest.mark.parametrize("kind", ["white", "hum", "click"])
def test_noise_is_no_speech(gate, kind):
    time = np.arange(48000) / 16000
    waves = {
        "white": np.random.default_rng(0).normal(0, 0.1, 48000),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * time),
        "click": (np.arange(48000) % 4000 == 0).astype(float),
    }
    assert gate.share(waves[kind].astype(np.float32)) < 0.1


@pytest.mark.parametrize(
    ("samples", "count"), [(0, 0), (1, 1), (511, 1), (512, 1), (513, 2), (16000, 32), (64000, 125)]
)
def test_one_probability_for_every_started_frame(gate, speech, samples, count):
    found = gate.probabilities(speech[:samples])
    assert found.shape == (count,)
    assert found.dtype == np.float32
    assert np.all((found >= 0) & (found <= 1))


@pytest.mark.parametrize("repeats", [1, 6])
def test_the_probabilities_are_those_of_the_package(gate, speech, repeats):
    """Frame by frame with the package's streaming model, also past one block of 16 seconds."""
    from silero_vad import load_silero_vad

    wave = np.tile(speech, repeats)
    expected = load_silero_vad(onnx=True).audio_forward(torch.from_numpy(wave), 16000)[0].numpy()
    np.testing.assert_allclose(gate.probabilities(wave), expected, atol=1e-4)


def test_calls_do_not_influence_each_other(gate, speech):
    first = gate.probabilities(speech[:16000])
    gate.probabilities(speech)
    np.testing.assert_array_equal(gate.probabilities(speech[:16000]), first)


def test_the_share_is_that_of_frames_above_the_threshold(gate, speech):
    probabilities = gate.probabilities(speech)
    for threshold in (0.1, 0.5, 0.95):
        share = SpeechGate(threshold, threads=1).share(speech)
        assert share == pytest.approx(np.mean(probabilities > threshold))


def test_half_speech_is_half_the_share(gate, speech):
    share = gate.share(speech)
    assert gate.share(np.concatenate([speech, np.zeros_like(speech)])) == pytest.approx(share / 2, abs=0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_counts_as_silence(gate, speech, bad):
    broken, silenced = speech.copy(), speech.copy()
    broken[8000:9000] = bad
    silenced[8000:9000] = 0
    np.testing.assert_array_equal(gate.probabilities(broken), gate.probabilities(silenced))
    assert gate.share(np.full(16000, bad, dtype=np.float32)) < 0.1


def test_the_wave_is_left_as_it_is(gate, speech):
    before = speech.copy()
    speech.flags.writeable = False
    gate.share(speech)
    np.testing.assert_array_equal(speech, before)


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        SpeechGate(threshold=0.5, threads=1)
