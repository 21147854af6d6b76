from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from aura_model.analysis import analyse
from aura_model.clips import Clip, Clips
from aura_model.contact_sheet import (
    AMBER,
    BORDER,
    CAPTION,
    COLUMNS,
    GAP,
    GREEN,
    GREY,
    HEADER,
    LABEL,
    RED,
    TILE,
    WHITE,
    WIDTH,
    Colour,
    Image,
    draw_sheet,
    write_sheets,
)
from aura_model.heatmap import overlay
from aura_model.media import MediaInfo
from aura_model.reply import Analysis, ModelInfo
from aura_model.scores import ClipScore
from aura_model.settings import parse_config

BAND = (0.35, 0.65)
CONFIG = parse_config({"inference": {"uncertain_band": list(BAND)}})
MODEL = ModelInfo(name="m", version="1", trained=True, calibrated=True)
MEDIA = MediaInfo(
    sha256="0" * 64,
    bytes=1,
    container="mp4",
    duration=60.0,
    width=640,
    height=360,
    fps=25.0,
    rotation=0,
    video_codec="h264",
    audio_codec="aac",
)
ROW = TILE + CAPTION + GAP


def score(fake: float, video: float | None = None, audio: float | None = None) -> ClipScore:
    return ClipScore(fake, video, audio)


def clip(start: float = 0.0, track: int | None = 0, *, shade: int = 100, frames: int = 2) -> Clip:
    return Clip(
        times=start + np.arange(frames) / 8.0,
        seconds=frames / 8.0,
        frames=None if track is None else np.full((frames, 32, 32, 3), shade, np.uint8),
        boxes=None if track is None else np.zeros((frames, 4), np.float32),
        landmarks=None,
        track_id=track,
        wave=np.sin(np.arange(4000)).astype(np.float32) if track is None else None,
    )


def sheet(*items: tuple[Clip, float], name: str = "video.mp4") -> Image:
    clips = Clips(clips=tuple(c for c, _ in items), media=MEDIA, notes=(), timings={})
    scores = [score(fake) for _, fake in items]
    return draw_sheet(name, clips, scores, analyse(clips, scores, MODEL, CONFIG, {}), BAND)


def mapped(*items: tuple[Clip, npt.NDArray[np.float32] | None], model: ModelInfo = MODEL) -> Image:
    """A sheet of clips with heat-maps."""
    clips = Clips(clips=tuple(c for c, _ in items), media=MEDIA, notes=(), timings={})
    scores = [ClipScore(3.0, 3.0, None, heat) for _, heat in items]
    return draw_sheet("a", clips, scores, analyse(clips, scores, model, CONFIG, {}), BAND)


def hot(*rows: int) -> npt.NDArray[np.float32]:
    """The map of each frame, hot in this row of its cells."""
    heat = np.zeros((len(rows), 6, 6), np.float32)
    for one, row in zip(heat, rows, strict=True):
        one[row] = 0.9
    return heat


def tile(image: Image, column: int, top: int) -> Image:
    left = GAP + column * (TILE + GAP)
    return image[top : top + TILE, left : left + TILE]


def border(image: Image, column: int, top: int) -> Colour:
    red, green, blue = (int(value) for value in tile(image, column, top)[0, 0])
    return red, green, blue


FIRST = HEADER + LABEL


def test_a_row_per_face_and_one_for_the_sound() -> None:
    image = sheet((clip(track=0), 0.0), (clip(track=1), 0.0), (clip(track=None), 0.0))
    assert image.shape == (HEADER + 3 * (LABEL + ROW), WIDTH, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize(
    ("fake", "colour"),
    [(-3.0, GREEN), (0.0, AMBER), (3.0, RED)],
)
def test_the_border_tells_the_band(fake: float, colour: Colour) -> None:
    image = sheet((clip(), fake))
    assert border(image, 0, FIRST) == colour
    assert border(image, 1, FIRST) == colour
    assert tuple(image[2, 2]) == colour


def test_the_edges_of_the_band_are_amber() -> None:
    clips = Clips(clips=(clip(),), media=MEDIA, notes=(), timings={})
    answer = analyse(clips, [score(0.0)], MODEL, CONFIG, {})
    assert border(draw_sheet("a", clips, [score(0.0)], answer, (0.5, 0.5)), 0, FIRST) == AMBER


def test_the_crops_are_shown_in_order_of_time() -> None:
    image = sheet((clip(5.0, shade=200), 0.0), (clip(1.0, shade=50), 0.0))
    shades = [int(tile(image, column, FIRST)[TILE // 2, TILE // 2, 0]) for column in range(4)]
    assert shades == [50, 50, 200, 200]


def test_crops_keep_their_colours() -> None:
    red = clip()
    assert red.frames is not None
    red.frames[:] = (250, 10, 20)
    assert tile(sheet((red, 0.0)), 0, FIRST)[TILE // 2, TILE // 2].tolist() == [250, 10, 20]


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (COLUMNS, 1), (COLUMNS + 1, 2), (16, 2)])
def test_every_clip_is_shown(count: int, rows: int) -> None:
    image = sheet(*((clip(float(index), shade=10 * index), 0.0) for index in range(count)))
    assert image.shape[0] == HEADER + LABEL + rows * ROW
    shown = {
        int(tile(image, column, FIRST + row * ROW)[TILE // 2, TILE // 2, 0])
        for row in range(rows)
        for column in range(COLUMNS)
    }
    assert shown >= {10 * index for index in range(count)}


def test_a_single_clip_is_spread_over_the_row() -> None:
    frames = np.arange(16, dtype=np.uint8).reshape(16, 1, 1, 1).repeat(32, 1).repeat(32, 2).repeat(3, 3) * 10
    single = clip(frames=16)
    assert single.frames is not None
    single.frames[:] = frames
    image = sheet((single, 0.0))
    shades = [int(tile(image, column, FIRST)[TILE // 2, TILE // 2, 0]) for column in range(COLUMNS)]
    assert shades == [0, 20, 40, 60, 90, 110, 130, 150]


def test_a_still_is_shown_once() -> None:
    clips = Clips((clip(frames=8),), MEDIA.model_copy(update={"duration": 0.0}), (), {})
    image = draw_sheet("a", clips, [score(0.0)], analyse(clips, [score(0.0)], MODEL, CONFIG, {}), BAND)
    assert border(image, 0, FIRST) == AMBER
    assert border(image, 1, FIRST) == WHITE


@pytest.mark.parametrize("fake", [-9.0, 9.0])
def test_an_untrained_model_colours_nothing(fake: float) -> None:
    untrained = MODEL.model_copy(update={"trained": False})
    clips = Clips((clip(),), MEDIA, (), {})
    image = draw_sheet("a", clips, [score(fake)], analyse(clips, [score(fake)], untrained, CONFIG, {}), BAND)
    assert border(image, 0, FIRST) == AMBER


# --- heat-maps

HEAT = TILE - 2 * BORDER + GAP
"""The height of a row of crops with maps."""


def below(image: Image, column: int, top: int) -> Image:
    """The crop with its map, in the row that begins at `top`."""
    left = GAP + column * (TILE + GAP) + BORDER
    return image[top : top + HEAT - GAP, left : left + HEAT - GAP]


def test_the_crops_are_shown_again_with_their_maps() -> None:
    heat = hot(1, 4)
    image = mapped((clip(shade=90), heat))
    assert image.shape[0] == HEADER + LABEL + ROW + HEAT
    for column in range(2):
        crop = tile(image, column, FIRST)[BORDER:-BORDER, BORDER:-BORDER]
        assert (crop == 90).all()
        assert np.array_equal(below(image, column, FIRST + ROW), overlay(crop, heat[column]))


def test_a_map_stays_with_its_frame() -> None:
    """Sixteen frames, of which eight are shown; only the last one is suspected."""
    heat = np.zeros((16, 6, 6), np.float32)
    heat[15] = 0.9
    image = mapped((clip(frames=16), heat))
    changed = [bool((below(image, column, FIRST + ROW) != 100).any()) for column in range(COLUMNS)]
    assert changed == [False] * 7 + [True]


def test_each_row_of_crops_is_followed_by_its_maps() -> None:
    items = [(clip(float(index), shade=10 * index), hot(0, 0)) for index in range(COLUMNS + 2)]
    image = mapped(*items)
    assert image.shape[0] == HEADER + LABEL + 2 * (ROW + HEAT)
    second = FIRST + ROW + HEAT
    for column in range(2):
        crop = tile(image, column, second)[BORDER:-BORDER, BORDER:-BORDER]
        assert np.array_equal(below(image, column, second + ROW), overlay(crop, hot(0)[0]))
    assert (below(image, 2, second + ROW) == WHITE).all()


def test_only_faces_with_maps_have_them_and_a_legend() -> None:
    image = mapped((clip(track=0), hot(0, 0)), (clip(track=1), None), (clip(track=None), None))
    assert image.shape[0] == HEADER + 3 * (LABEL + ROW) + HEAT
    labels = [HEADER, FIRST + ROW + HEAT, FIRST + 2 * ROW + HEAT + LABEL]
    legends = [bool((image[top : top + LABEL, WIDTH // 2 :] != 255).any()) for top in labels]
    assert legends == [True, False, False]


def test_a_clip_without_a_map_beside_one_with() -> None:
    image = mapped((clip(0.0), hot(0, 0)), (clip(1.0), None))
    assert (below(image, 0, FIRST + ROW) != 255).any()
    assert (below(image, 2, FIRST + ROW) == WHITE).all()


def test_the_maps_of_an_untrained_model_are_not_shown() -> None:
    untrained = MODEL.model_copy(update={"trained": False})
    assert np.array_equal(mapped((clip(), hot(0, 0)), model=untrained), mapped((clip(), None), model=untrained))


def test_sound_is_drawn_as_a_waveform() -> None:
    inside = tile(sheet((clip(track=None), 3.0)), 0, FIRST)[BORDER:-BORDER, BORDER:-BORDER]
    assert {tuple(pixel) for pixel in inside.reshape(-1, 3).tolist()} == {WHITE, GREY}


def test_no_clips_leave_a_grey_header() -> None:
    image = sheet()
    assert image.shape == (HEADER, WIDTH, 3)
    assert tuple(image[2, 2]) == GREY


@pytest.mark.parametrize("name", ["x" * 500, "vidéo 猫\n.mp4", "a\udcff.mp4", ""])
def test_any_name_fits(name: str) -> None:
    image = sheet((clip(), 0.0), name=name)
    assert image.shape[1] == WIDTH
    assert (image[: HEADER - GAP, -GAP // 2 :] == AMBER).all()


def test_the_header_shows_the_name_and_the_probability() -> None:
    plain = sheet((clip(), 0.0), name="a.mp4")
    assert not np.array_equal(plain[:HEADER], sheet((clip(), 0.0), name="b.mp4")[:HEADER])
    assert not np.array_equal(plain[:HEADER], sheet((clip(), 0.1), name="a.mp4")[:HEADER])


def test_sheets_are_stacked_into_one_png(tmp_path: Path) -> None:
    sheets = [sheet((clip(shade=30), 3.0)), sheet()]
    write_sheets(tmp_path / "out.png", sheets)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    written = cv2.imread(str(tmp_path / "out.png"))
    assert written is not None
    assert np.array_equal(cv2.cvtColor(written, cv2.COLOR_BGR2RGB), np.concatenate(sheets))


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_sheets(tmp_path / "none" / "out.png", [sheet()])


def test_no_sheets_still_write_a_picture(tmp_path: Path) -> None:
    write_sheets(tmp_path / "out.png", [])
    assert cv2.imread(str(tmp_path / "out.png")) is not None


def test_one_score_for_each_clip() -> None:
    answer = Analysis.model_validate(Analysis.model_json_schema()["examples"][0])
    with pytest.raises(ValueError, match="zip"):
        draw_sheet("a", Clips((clip(),), MEDIA, (), {}), [], answer, BAND)
