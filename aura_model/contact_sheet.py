"""A picture of an analysis: the crops the model saw, each with its time and score, and where they look forged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from aura_model.analysis import probability
from aura_model.clips import Clip, Clips
from aura_model.heatmap import legend, overlay
from aura_model.reply import Analysis
from aura_model.scores import ClipScore

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

COLUMNS = 8
TILE = 144
BORDER = 5
CAPTION = 24
GAP = 8
HEADER = 72
LABEL = 34
LEGEND = 120
WIDTH = COLUMNS * (TILE + GAP) + GAP

WHITE: Colour = (255, 255, 255)
INK: Colour = (32, 33, 36)
GREY: Colour = (128, 134, 139)
GREEN: Colour = (24, 140, 68)
AMBER: Colour = (176, 108, 0)
RED: Colour = (214, 40, 40)
VERDICT_COLOURS = {"real": GREEN, "uncertain": AMBER, "fake": RED, "not_applicable": GREY}


@dataclass(frozen=True, eq=False)
class _Tile:
    picture: Image
    time: float
    fake: float
    overlay: Image | None = None
    """The picture with the heat-map over it."""


def draw_sheet(
    name: str, clips: Clips, scores: Sequence[ClipScore], analysis: Analysis, band: tuple[float, float]
) -> Image:
    """Draw one file: a header, then the crops of each face, bordered green, amber or red by their clip's score.

    Below each row of crops they are shown again with the heat-maps of their scores, where those have any. The scores
    and maps of an untrained model mean nothing: its borders are amber, and its maps are not shown.

    Args:
        name: the file's name, for the header.
        clips: with pixels and sound.
        scores: one for each clip, in the same order.
        analysis: what they led to.
        band: the one in force, see `band_in_force`; below it is green, above it red.

    Returns:
        uint8 [H, 1224, 3] RGB.
    """
    parts = [_header(name, analysis)]
    by_track: dict[int | None, list[tuple[Clip, ClipScore]]] = {}
    for clip, score in zip(clips.clips, scores, strict=True):
        told = score if analysis.model.trained else score.without_heatmap()
        by_track.setdefault(clip.track_id, []).append((clip, told))
    band = band if analysis.model.trained else (0.0, 1.0)
    faces = {face.track_id: face.fake_probability for face in analysis.faces}
    for track_id in sorted(by_track, key=lambda key: math.inf if key is None else key):
        label = "sound without a face" if track_id is None else f"face {track_id}: {faces[track_id]:.3f}"
        scored = by_track[track_id]
        with_legend = any(score.heatmap is not None for _, score in scored)
        parts += [_label(label, with_legend=with_legend), *_rows(scored, band, analysis.media.duration)]
    return np.concatenate(parts)


def write_sheets(path: Path, sheets: Sequence[Image]) -> None:
    """Write the sheets, one below the other, as one PNG.

    Raises:
        OSError: the file cannot be written.
    """
    picture = np.concatenate([*sheets]) if sheets else _blank(HEADER)
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    path.write_bytes(data.tobytes())


def _header(name: str, analysis: Analysis) -> Image:
    image = _blank(HEADER)
    colour = VERDICT_COLOURS[analysis.verdict]
    cv2.rectangle(image, (0, 0), (WIDTH, HEADER - GAP), colour, cv2.FILLED)
    fake = "-" if analysis.fake_probability is None else f"{analysis.fake_probability:.3f}"
    verdict = analysis.verdict.replace("_", " ")
    _write(image, _fit(f"{verdict}   fake probability {fake}   {_plain(name)}", 0.75), (GAP, 28), 0.75, WHITE)
    clips, faces = _count(len(analysis.timeline), "clip"), _count(len(analysis.faces), "face")
    facts = f"{clips}, {faces}, {analysis.media.duration:.1f} s"
    reasons = "".join(f", {reason}" for reason in analysis.reasons)
    _write(image, _fit(f"{facts}{reasons}   model {_plain(analysis.model.name)}", 0.5), (GAP, 54), 0.5, WHITE)
    return image


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _label(text: str, *, with_legend: bool) -> Image:
    image = _blank(LABEL)
    _write(image, text, (GAP, LABEL - 12), 0.6, INK)
    if with_legend:
        left = WIDTH - 3 * GAP - LEGEND
        image[LABEL - 24 : LABEL - 10, left : left + LEGEND] = legend(14, LEGEND)
        _write(image, "forged here: 0", (left - 122, LABEL - 12), 0.5, GREY)
        _write(image, "1", (left + LEGEND + 6, LABEL - 12), 0.5, GREY)
    return image


def _rows(scored: Sequence[tuple[Clip, ClipScore]], band: tuple[float, float], duration: float) -> list[Image]:
    frames = max(1, COLUMNS // len(scored))
    tiles = [tile for clip, score in sorted(scored, key=_start) for tile in _tiles(clip, score, frames, duration)]
    rows = []
    for first in range(0, len(tiles), COLUMNS):
        rows.append(_row(tiles[first : first + COLUMNS], band))
        if any(tile.overlay is not None for tile in tiles[first : first + COLUMNS]):
            rows.append(_heat_row(tiles[first : first + COLUMNS]))
    return rows


def _start(scored: tuple[Clip, ClipScore]) -> float:
    return float(scored[0].times[0])


def _tiles(clip: Clip, score: ClipScore, count: int, duration: float) -> list[_Tile]:
    """Up to `count` evenly spaced frames within the media, or the clip's sound where it has no frames."""
    fake = probability(score.fake)
    if clip.frames is None:
        return [_Tile(_waveform(clip.wave), float(clip.times[0]), fake)]
    inside = max(1, int(np.count_nonzero(clip.times <= duration)))  # beyond the end the last frame repeats
    indices = np.linspace(0, inside - 1, min(count, inside)).round().astype(int).tolist()
    side = (TILE - 2 * BORDER, TILE - 2 * BORDER)
    pictures = [np.asarray(cv2.resize(clip.frames[i], side, interpolation=cv2.INTER_AREA), np.uint8) for i in indices]
    heat = score.heatmap
    return [
        _Tile(picture, float(clip.times[i]), fake, None if heat is None else overlay(picture, heat[i]))
        for picture, i in zip(pictures, indices, strict=True)
    ]


def _row(tiles: Sequence[_Tile], band: tuple[float, float]) -> Image:
    image = _blank(TILE + CAPTION + GAP)
    for column, tile in enumerate(tiles):
        left = GAP + column * (TILE + GAP)
        colour = GREEN if tile.fake < band[0] else RED if tile.fake > band[1] else AMBER
        image[:TILE, left : left + TILE] = colour
        image[BORDER : TILE - BORDER, left + BORDER : left + TILE - BORDER] = tile.picture
        _write(image, f"{tile.time:.2f} s", (left, TILE + 17), 0.5, GREY)
        _write(image, f"{tile.fake:.3f}", (left + TILE - 48, TILE + 17), 0.5, colour)
    return image


def _heat_row(tiles: Sequence[_Tile]) -> Image:
    """The pictures of a row again, each below itself, with the maps."""
    image = _blank(TILE - 2 * BORDER + GAP)
    for column, tile in enumerate(tiles):
        if tile.overlay is not None:
            left = GAP + column * (TILE + GAP) + BORDER
            image[: len(tile.overlay), left : left + len(tile.overlay)] = tile.overlay
    return image


def _waveform(wave: npt.NDArray[np.float32] | None) -> Image:
    """The loudness of the clip over its span, as bars."""
    side = TILE - 2 * BORDER
    image = np.full((side, side, 3), WHITE, np.uint8)
    if wave is None or not len(wave):
        return image
    bars = np.array([np.abs(part).max(initial=0.0) for part in np.array_split(wave, side)])
    heights = np.round(bars / max(float(bars.max()), 1e-6) * (side // 2 - 2)).astype(int)
    for x, height in enumerate(heights.tolist()):
        cv2.line(image, (x, side // 2 - height), (x, side // 2 + height), GREY)
    return image


def _blank(height: int) -> Image:
    return np.full((height, WIDTH, 3), WHITE, np.uint8)


def _plain(text: str) -> str:
    """The text in the letters that OpenCV's font has."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def _fit(text: str, scale: float) -> str:
    """The text, cut so that it stays inside the sheet."""
    while len(text) > 3 and cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] > WIDTH - 2 * GAP:
        text = f"{text[:-4]}..."
    return text


def _write(image: Image, text: str, origin: tuple[int, int], scale: float, colour: Colour) -> None:
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
