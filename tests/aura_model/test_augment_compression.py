import hashlib
import subprocess
import sys

import numpy as np
import pytest

from aura_model.augment import compression
from aura_model.augment.compression import h264, jpeg


def moving(frames: int = 6, height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth coloured waves that move, each frame of another brightness: [frames, height, width, 3]."""
    time, y, x, color = np.meshgrid(*(np.arange(n) for n in (frames, height, width, 3)), indexing="ij")
    wave = np.sin((x + 2 * time) / 9 + color) + np.cos((y - time) / 7 - color)
    return (128 + 35 * wave + 6 * time).astype(np.uint8)


def loss(found: np.ndarray, frames: np.ndarray) -> float:
    return float(np.abs(found.astype(int) - frames).mean())


def test_jpeg_loses_more_at_low_quality_and_keeps_the_colours() -> None:
    losses = [loss(jpeg(moving(), quality), moving()) for quality in (100, 50, 5)]
    assert losses[0] < 2
    assert losses == sorted(losses)
    assert 3 < losses[2] < 20


def test_each_frame_is_a_jpeg_of_its_own() -> None:
    frames = moving()
    np.testing.assert_array_equal(jpeg(frames, 30)[4:5], jpeg(frames[4:5], 30))


def test_jpeg_shows_in_blocks_of_eight() -> None:
    steps = np.abs(np.diff(jpeg(moving(), 1)[..., 1].astype(int), axis=2)).mean((0, 1))
    assert steps[7::8].mean() > 3 * np.delete(steps, np.s_[7::8]).mean()


def test_h264_loses_more_at_a_higher_rate_factor_and_keeps_the_colours() -> None:
    losses = [loss(h264(moving(), crf, 8), moving()) for crf in (0, 18, 30, 45)]
    assert losses[0] < 2
    assert losses == sorted(losses)
    assert 2 < losses[3] < 20


def test_h264_codes_over_time() -> None:
    """A frame looks different when others came before it; JPEG has no memory."""
    frames = moving()
    assert (h264(frames, 35, 8)[4] != h264(frames[4:5], 35, 8)[0]).any()
    np.testing.assert_array_equal(h264(frames, 35, 8)[:2], h264(frames[:2], 35, 8))


def test_a_still_scene_settles() -> None:
    frames = np.repeat(moving(1), 5, axis=0)
    coded = h264(frames, 30, 8)
    assert loss(coded[4], coded[3]) < loss(coded[4], frames[4])


@pytest.mark.parametrize("frames", [1, 2, 3, 8, 20, 64])
def test_as_many_frames_come_back_in_their_order(frames: int) -> None:
    found = h264(moving(frames), 28, 8)
    assert found.shape == moving(frames).shape
    means = found.mean((1, 2, 3))
    np.testing.assert_allclose(means, moving(frames).mean((1, 2, 3)), atol=4)


def test_scene_cuts_neither_drop_nor_add_frames() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (12, 48, 48, 3), dtype=np.uint8)
    frames[1::2] //= 4
    found = h264(frames, 40, 8)
    assert (found[::2].mean((1, 2, 3)) > 90).all()
    assert (found[1::2].mean((1, 2, 3)) < 60).all()


@pytest.mark.parametrize(("height", "width"), [(33, 47), (32, 47), (33, 48), (224, 224), (97, 161)])
def test_odd_sizes_come_back_whole(height: int, width: int) -> None:
    frames = moving(2, height, width)
    found = h264(frames, 10, 8)
    assert found.shape == frames.shape
    edges = (np.s_[:, -1], np.s_[:, :, -1], np.s_[:, 0], np.s_[:, :, 0])
    assert all(loss(found[edge], frames[edge]) < 4 for edge in edges)


def test_an_odd_edge_is_not_darkened_by_what_lies_beyond() -> None:
    frames = np.full((1, 33, 47, 3), 200, np.uint8)
    assert np.abs(h264(frames, 45, 8).astype(int) - 200).max() <= 3


@pytest.mark.parametrize("rate", [8, 25, 30000 / 1001, 0.5, 120])
def test_any_frame_rate_works(rate: float) -> None:
    assert loss(h264(moving(), 20, rate), moving()) < 4


def test_the_input_is_not_touched_and_may_be_read_only() -> None:
    frames = moving()
    frames.flags.writeable = False
    jpeg(frames, 10)
    h264(frames, 40, 8)
    np.testing.assert_array_equal(frames, moving())


def test_the_same_bytes_come_out_in_every_process() -> None:
    def digest(array: np.ndarray) -> str:
        return hashlib.sha256(array.tobytes()).hexdigest()

    script = (
        "import sys, hashlib\n"
        f"sys.path.insert(0, {str(__file__).rsplit('/', 1)[0]!r})\n"
        "from test_augment_compression import *\n"
        "for array in (jpeg(moving(), 40), h264(moving(), 31.5, 8), h264(moving(1, 33, 47), 20, 25)):\n"
        "    print(hashlib.sha256(array.tobytes()).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
        for _ in range(2)
    ]
    here = [digest(jpeg(moving(), 40)), digest(h264(moving(), 31.5, 8)), digest(h264(moving(1, 33, 47), 20, 25))]
    assert [run.stdout.split() for run in runs] == [here, here], runs[0].stderr


def test_lost_frames_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = compression.decode
    monkeypatch.setattr(compression, "decode", lambda packets, name: list(decode(packets, name))[1:])
    with pytest.raises(ValueError, match=r"6 frames were coded as H\.264, 5 came back"):
        h264(moving(), 28, 8)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    h264(moving(), 28, 8)
    assert capfd.readouterr() == ("", "")
