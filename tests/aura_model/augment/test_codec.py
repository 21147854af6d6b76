from dataclasses import replace

import cv2
import numpy as np
import pytest

from aura_model.augment.codec import CODECS, CodecSettings, Encoding, draw_encoding, draw_encodings, transcode

PLAIN = Encoding("h264", 20, 64, 80, cv2.INTER_AREA, 25.0, 6, 0, "ultrafast")


def encoding(name: str, **changes) -> Encoding:
    presets = CODECS[name].presets
    return replace(PLAIN, name=name, quality=CODECS[name].quality[0], preset=presets[0] if presets else None, **changes)


def video(count: int = 4, height: int = 64, width: int = 80) -> np.ndarray:
    """A bright bar that moves over a textured ground, and a level of grey that counts the frames."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.normal(110, 60, (height, width, 3)).astype(np.float32), (0, 0), 2)
    frames = np.repeat(ground[None], count, 0)
    for time, frame in enumerate(frames):
        frame[:, 8 * time + 8 : 8 * time + 16] = (220, 180, 60)
        frame[-12:] = 30 + 40 * time
    return np.clip(frames, 0, 255).astype(np.uint8)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(cv2.PSNR(one.reshape(-1, one.shape[2], 3), other.reshape(-1, one.shape[2], 3)))


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("lead", [0, 2])
def test_a_clip_comes_back_in_order_and_close_to_what_it_was(name: str, lead: int) -> None:
    coded = transcode(video(), encoding(name, lead=lead))
    assert coded.shape == video().shape
    assert coded.dtype == np.uint8
    assert (coded != video()).any()
    assert psnr(coded, video()) > 27
    np.testing.assert_allclose(coded[:, -8:].mean((1, 2, 3)), [30, 70, 110, 150], atol=8)


@pytest.mark.parametrize("name", CODECS)
def test_a_poor_quality_is_poorer(name: str) -> None:
    good, poor = (transcode(video(), replace(encoding(name), quality=quality)) for quality in CODECS[name].quality)
    assert psnr(poor, video()) < psnr(good, video()) - 2


@pytest.mark.parametrize(
    ("name", "preset"), [(name, preset) for name in CODECS for preset in CODECS[name].presets or (None,)]
)
def test_the_same_encoding_gives_the_same_bytes_and_leaves_its_input(name: str, preset: str | None) -> None:
    """Whatever memory held before: both clips of a pair must lose the same."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.normal(110, 60, (96, 96, 3)), (0, 0), 2)
    moving = [np.roll(ground, 3 * time, 1) + rng.normal(0, 4, ground.shape) for time in range(3)]
    frames = np.clip(moving, 0, 255).astype(np.uint8)
    frames.flags.writeable = False
    same = replace(encoding(name, height=96, width=96), preset=preset, group=4, rate=24.0, lead=0)
    found, memory = set[bytes](), list[np.ndarray]()
    for size in rng.integers(1, 400_000, 20):
        found.add(transcode(frames, same).tobytes())
        memory = [*memory[-4:], rng.integers(0, 255, size, dtype=np.uint8)]  # else each would be given the last one's
    assert len(found) == 1


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(("count", "height", "width"), [(1, 64, 80), (2, 17, 33), (3, 130, 48)])
def test_any_number_of_frames_of_any_size_comes_back(name: str, count: int, height: int, width: int) -> None:
    coded = transcode(video(count), encoding(name, height=height, width=width, lead=2))
    assert coded.shape == (count, height, width, 3)


def test_a_codec_knows_the_frame_before() -> None:
    """Coded by itself, a frame takes other traces than as a change of the one before."""
    frames = np.repeat(video(1), 4, 0)
    together, apart = (transcode(frames, replace(PLAIN, quality=34, group=group)) for group in (12, 1))
    assert np.abs(np.diff(together.astype(int), axis=0)).mean() != np.abs(np.diff(apart.astype(int), axis=0)).mean()


def test_encodings_are_drawn_from_their_settings() -> None:
    drawn = [draw_encoding(np.random.default_rng(seed), 255, 256, CodecSettings()) for seed in range(80)]
    assert {one.name for one in drawn} == set(CODECS)
    smallest, largest = CodecSettings().shrink
    for one in drawn:
        low, high = CODECS[one.name].quality
        assert low <= one.quality <= high
        assert one.height % 2 == one.width % 2 == 0
        assert smallest - 0.02 < one.height / 255 < largest + 0.02
        assert abs(one.height / 255 - one.width / 256) < 0.02
        assert (one.preset in CODECS[one.name].presets) if CODECS[one.name].presets else one.preset is None


@pytest.mark.parametrize(("never", "twice", "count"), [(1.0, 1.0, 0), (0.0, 0.0, 1), (0.0, 1.0, 2)])
def test_none_to_two_encodings_and_the_second_is_no_larger_than_the_clip(
    never: float, twice: float, count: int
) -> None:
    settings = CodecSettings(never=never, twice=twice, shrink=(1.0, 1.25))
    for seed in range(20):
        drawn = draw_encodings(np.random.default_rng(seed), 256, 256, settings)
        assert len(drawn) == count
        assert not drawn or drawn[-1].height <= drawn[0].height * 1.25


@pytest.mark.parametrize("name", CODECS)
def test_tiny_clips_are_padded_for_the_encoder_and_cut_out_again(name: str) -> None:
    """x265 corrupts memory on pictures narrower than 56 pixels, so none is given any."""
    tiny = video(2)[:, :20, :30]
    coded = transcode(tiny, encoding(name, height=20, width=30))
    assert coded.shape == tiny.shape
    assert psnr(coded, tiny) > 27
    drawn = draw_encoding(np.random.default_rng(0), 1, 1, CodecSettings(names=(name,)))
    assert transcode(video(1)[:, :1, :1], drawn).shape == (1, drawn.height, drawn.width, 3)
