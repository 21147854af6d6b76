import cv2
import numpy as np
import pytest

from aura_model.augment.stills import StillSettings, still_to_clip

FROZEN = StillSettings(pan=0, zoom=0, roll=0, shake=0, turn=0, mouth=0, brows=0, blinks=0, grain=(0, 0))


def clip_of(material, settings: StillSettings, seed: int = 0):
    return still_to_clip(material.frames[0], material.landmarks[0], np.random.default_rng(seed), settings)


@pytest.mark.parametrize(("count", "height", "width"), [(8, 96, 96), (1, 75, 91), (3, 40, 130)])
def test_a_clip_has_the_stills_size_and_the_frames_asked_for(
    count: int, height: int, width: int, make_material
) -> None:
    still = make_material(frames=1, height=height, width=width)
    clip = clip_of(still, StillSettings(frames=count))
    assert clip.frames.shape == (count, height, width, 3)
    assert clip.landmarks.shape == (count, 5, 2)
    assert clip.frames.dtype == np.uint8
    assert clip.wave is None


def test_the_same_seed_gives_the_same_clip(make_material) -> None:
    still = make_material(frames=1)
    first, again, other = (clip_of(still, StillSettings(), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.landmarks, again.landmarks)
    assert (first.frames != other.frames).any()


def test_without_motion_and_grain_each_frame_is_the_same(make_material) -> None:
    clip = clip_of(make_material(frames=1), FROZEN)
    assert (clip.frames == clip.frames[0]).all()


@pytest.mark.parametrize("knob", ["pan", "zoom", "roll", "shake", "turn", "mouth", "brows"])
def test_each_motion_moves_the_picture(knob: str, make_material) -> None:
    clip = clip_of(make_material(frames=1, scale=26.0), StillSettings(**(vars(FROZEN) | {knob: 0.2})))
    assert np.abs(np.diff(clip.frames.astype(int), axis=0)).mean() > 0.1


def test_blinks_touch_the_eyes_alone(make_material) -> None:
    still = make_material(frames=1, scale=26.0)
    clip = clip_of(still, StillSettings(**(vars(FROZEN) | {"blinks": 8.0})))
    over_time = np.abs(np.diff(clip.frames.astype(int), axis=0)).max((0, 3))
    x, y = np.rint(clip.landmarks[0, 0]).astype(int)
    assert over_time[y - 5 : y + 6, x - 5 : x + 6].max() > 20
    mouth = np.rint(clip.landmarks[0, 3:].mean(0)).astype(int)
    assert over_time[mouth[1] - 3 : mouth[1] + 12].max() == 0


def test_grain_differs_from_frame_to_frame(make_material) -> None:
    clip = clip_of(make_material(frames=1), StillSettings(**(vars(FROZEN) | {"grain": (3, 3)})))
    difference = clip.frames[0].astype(int) - clip.frames[1]
    assert difference.std() == pytest.approx(3 * np.sqrt(2), rel=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_landmarks_go_with_the_picture(seed: int, make_material) -> None:
    """White dots painted on the landmarks are found about the moved landmarks."""
    still = make_material(frames=1, height=192, width=192, scale=44.0, x=96.0, y=76.0)
    picture = np.zeros_like(still.frames[0])
    for x, y in still.landmarks[0]:
        cv2.circle(picture, (round(float(x)), round(float(y))), 3, (255, 255, 255), -1)
    settings = StillSettings(**(vars(StillSettings()) | {"blinks": 0.0, "grain": (0, 0)}))
    clip = still_to_clip(picture, still.landmarks[0], np.random.default_rng(seed), settings)
    for frame, places in zip(clip.frames, clip.landmarks, strict=True):
        for x, y in np.rint(places).astype(int):
            window = frame[y - 9 : y + 10, x - 9 : x + 10, 0].astype(float)
            rows, columns = np.mgrid[-9:10, -9:10]
            assert abs((window * columns).sum() / window.sum()) < 1.5
            assert abs((window * rows).sum() / window.sum()) < 1.5


def test_a_slower_rate_moves_further_from_frame_to_frame(make_material) -> None:
    still = make_material(frames=1)

    def speed(rate: float) -> float:
        settings = StillSettings(**(vars(FROZEN) | {"pan": 0.1, "rate": rate, "frames": 16}))
        clips = [clip_of(still, settings, seed) for seed in range(4)]
        return float(np.mean([np.abs(np.diff(clip.landmarks, axis=0)).mean() for clip in clips]))

    assert speed(4.0) > 1.5 * speed(25.0)
