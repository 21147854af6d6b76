import base64
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from aura_model.analysis import analyse
from aura_model.clips import Clip, Clips, load_clips
from aura_model.config import FaceConfig
from aura_model.cropping import center_crop, crop_face
from aura_model.explanation import PICTURE, explain
from aura_model.heatmap import Image, overlay
from aura_model.media import MediaInfo
from aura_model.reply import Heatmap, ModelInfo
from aura_model.scores import ClipScore
from aura_model.settings import load_config, parse_config
from tests.aura_model.conftest import Films

FACE = load_config(env={}).dataset.face
MEDIA = MediaInfo(
    sha256="0" * 64,
    bytes=1,
    container="mp4",
    duration=10.0,
    width=640,
    height=360,
    fps=25.0,
    rotation=0,
    video_codec="h264",
    audio_codec=None,
)
MODEL = ModelInfo(name="m", version="1", trained=True, calibrated=True)
PREFIX = "data:image/png;base64,"


def maps(*hot: tuple[int, int, float], side: int = 6) -> npt.NDArray[np.float32]:
    """A map for each frame, cold but for one cell: row, column and probability."""
    made = np.full((len(hot), side, side), 0.1, np.float32)
    for one, (row, column, value) in zip(made, hot, strict=True):
        one[row, column] = value
    return made


def clip(start: float = 0.0, track: int | None = 0, *, frames: int = 2, size: int = 64, pixels: bool = True) -> Clip:
    """Its crops are grey, and lighter from frame to frame; its boxes move by 10 pixels a frame."""
    shades = np.arange(frames, dtype=np.uint8).reshape(-1, 1, 1, 1) * 20 + 60
    boxes = np.array([[100, 50, 180, 150]], np.float32) + 10 * np.arange(frames, dtype=np.float32)[:, None]
    return Clip(
        times=start + np.arange(frames) / 8,
        seconds=frames / 8,
        frames=np.broadcast_to(shades, (frames, size, size, 3)).copy() if pixels else None,
        boxes=boxes,
        landmarks=None,
        track_id=track,
        wave=None,
    )


def score(fake: float, heatmap: npt.NDArray[np.float32] | None) -> ClipScore:
    return ClipScore(fake, fake, None, heatmap)


def explained(items: Sequence[tuple[Clip, ClipScore]], face: FaceConfig = FACE) -> dict[int, Heatmap]:
    return explain(Clips(tuple(c for c, _ in items), MEDIA, (), {}), [s for _, s in items], face)


def picture(heatmap: Heatmap) -> Image:
    data = base64.b64decode(heatmap.image.removeprefix(PREFIX), validate=True)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


def test_the_most_suspicious_clip_of_each_face_is_explained() -> None:
    items = [
        (clip(0.0, 0), score(1.0, maps((0, 0, 0.9), (0, 0, 0.9)))),
        (clip(2.0, 0), score(3.0, maps((4, 2, 0.8), (4, 2, 0.8)))),
        (clip(4.0, 0), score(-2.0, maps((5, 5, 0.95), (5, 5, 0.95)))),
        (clip(6.0, 7), score(-5.0, maps((1, 1, 0.3), (1, 1, 0.3)))),
    ]
    found = explained(items)
    assert found.keys() == {0, 7}
    assert (found[0].area.time, found[0].peak.probability) == (2.0, 0.8)
    assert (found[7].area.time, found[7].peak.probability) == (6.0, 0.3)


@pytest.mark.parametrize(
    "item",
    [
        (clip(track=None, pixels=False), score(9.0, None)),
        (clip(pixels=False), score(9.0, None)),
    ],
    ids=["sound alone", "a model without maps"],
)
def test_what_has_no_map_has_no_explanation(item: tuple[Clip, ClipScore]) -> None:
    assert explained([item]) == {}
    assert explained([]) == {}


def test_a_clip_without_a_map_does_not_hide_one_with() -> None:
    found = explained([(clip(0.0), score(9.0, None)), (clip(3.0), score(1.0, maps((0, 0, 0.9), (0, 0, 0.9))))])
    assert found[0].area.time == 3.0


def test_the_values_are_the_mean_over_the_frames_of_the_clip() -> None:
    found = explained([(clip(), score(1.0, maps((2, 3, 0.9), (2, 3, 0.5))))])[0]
    assert found.values[2][3] == 0.7
    assert {value for row in found.values for value in row} == {0.1, 0.7}
    assert [len(row) for row in found.values] == [6] * 6
    assert found.peak.probability == 0.7


def test_the_picture_shows_the_frame_with_the_hottest_place() -> None:
    heat = maps((2, 3, 0.4), (2, 3, 0.9), (2, 3, 0.6))
    shown = clip(1.0, frames=3)
    found = explained([(shown, score(1.0, heat))])[0]
    assert found.area.time == 1.125
    assert shown.frames is not None
    assert np.array_equal(picture(found), overlay(shown.frames[1], heat.mean(axis=0)))


@pytest.mark.parametrize("box", [(100, 50, 180, 150), (-20, 30, 60, 90), (300, 200, 330, 260)])
def test_the_area_and_the_peak_are_places_of_the_source(box: tuple[float, ...]) -> None:
    """A dot in the middle of the hottest cell of the crop is a dot at the peak in the frame."""
    cropped = clip(frames=1)
    assert cropped.boxes is not None
    cropped.boxes[0] = box
    found = explained([(cropped, score(1.0, maps((1, 4, 0.9))))])[0]
    frame = np.zeros((360, 640, 3), np.uint8)
    cv2.circle(frame, (round(found.peak.x), round(found.peak.y)), 2, (255, 255, 255), cv2.FILLED)
    crop, _ = crop_face(frame, cropped.boxes[0], np.zeros((5, 2), np.float32), FACE.margin, FACE.size)
    row, column = np.unravel_index(int(crop[..., 0].argmax()), crop.shape[:2])
    cell = FACE.size / 6
    assert (row // cell, column // cell) == (1, 4)
    side = found.area.x2 - found.area.x1
    assert found.area.y2 - found.area.y1 == pytest.approx(side, abs=0.2)
    assert side == pytest.approx(max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * FACE.margin), abs=0.2)


@pytest.mark.parametrize("off", [{"detect": False}, {"detector": "center_crop"}], ids=str)
def test_without_a_detector_the_area_is_the_centre_of_the_frame(off: dict[str, object]) -> None:
    _, box, _ = center_crop(np.zeros((360, 640, 3), np.uint8), 64)
    cropped = clip(frames=1)
    assert cropped.boxes is not None
    cropped.boxes[0] = box
    found = explained([(cropped, score(1.0, maps((0, 0, 0.9))))], FACE.model_copy(update=off))[0]
    assert (found.area.x1, found.area.y1, found.area.x2, found.area.y2) == (140, 0, 500, 360)
    assert (found.peak.x, found.peak.y) == (170, 30)


def test_a_moment_beyond_the_end_is_the_end() -> None:
    assert explained([(clip(9.9), score(1.0, maps((0, 0, 0.2), (0, 0, 0.9))))])[0].area.time == 10.0


@pytest.mark.parametrize(("size", "side"), [(64, 64), (160, 160), (176, 176), (224, 176), (512, 176)])
def test_a_picture_is_small_whatever_is_in_it(size: int, side: int) -> None:
    """Noise is the worst that a PNG can meet."""
    noisy = clip(size=size)
    assert noisy.frames is not None
    noisy.frames[:] = np.random.default_rng(0).integers(0, 256, noisy.frames.shape, np.uint8)
    found = explained([(noisy, score(1.0, maps((0, 0, 0.1), (0, 0, 0.1))))])[0]
    assert found.image.startswith(PREFIX)
    assert picture(found).shape == (side, side, 3)
    assert len(base64.b64decode(found.image.removeprefix(PREFIX))) <= 100_000
    assert side <= PICTURE


def test_colours_are_those_of_the_crop() -> None:
    cropped = clip()
    assert cropped.frames is not None
    cropped.frames[:] = (250, 40, 10)
    found = explained([(cropped, score(1.0, maps((5, 5, 0.9), (5, 5, 0.9))))])[0]
    assert picture(found)[3, 3].tolist() == [250, 40, 10]


def test_a_film_that_is_forged_in_one_place_for_a_while(films: Films) -> None:
    """From the file to the reply: six seconds, of which those from 2 to 4 have a bright square, which a judge sees."""
    images = np.full((48, 120, 160, 3), 60, np.uint8)
    images[16:32, 80:100, 40:60] = 230
    film = films.film("mp4", films.Pictures(images=list(images), rate=8))
    settings = {"detect": False, "size": 96}, {"temporal_window": 8, "frame_rate": 8.0, "clips_per_video": {"eval": 6}}
    config = parse_config({"dataset": {"face": settings[0], "video": settings[1], "audio": {"enabled": False}}})
    clips = load_clips(film, config)
    scores = [judged(clip.frames) for clip in clips.clips if clip.frames is not None]
    heatmaps = explain(clips, scores, config.dataset.face)
    answer = analyse(clips, scores, MODEL, config, {}, heatmaps=heatmaps)
    assert [(segment.start, segment.end) for segment in answer.segments] == [(2.0, 4.0)]
    heatmap = answer.faces[0].heatmap
    assert heatmap is not None
    assert 2.0 <= heatmap.area.time < 4.0
    assert (heatmap.area.x1, heatmap.area.x2) == (20, 140)
    assert (heatmap.peak.x, heatmap.peak.y) == (50, 90)


def judged(frames: npt.NDArray[np.uint8]) -> ClipScore:
    """Bright places are forged."""
    cells = frames.reshape(len(frames), 6, 16, 6, 16, 3).mean(axis=(2, 4, 5)) / 255
    return score(20 * (float(cells.max()) - 0.5), cells.astype(np.float32))


def test_one_score_for_each_clip() -> None:
    with pytest.raises(ValueError, match="zip"):
        explain(Clips((clip(),), MEDIA, (), {}), [], FACE)
