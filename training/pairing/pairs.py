"""Pairs of a genuine clip and its forgery, made of genuine media: pictures are made to move first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from aura_model.augment.families import HELD_OUT
from aura_model.augment.forgery import Material
from aura_model.augment.pairs import render_generated, render_pair
from aura_model.augment.rendering import RenderedClip, RenderSettings
from aura_model.augment.stills import StillSettings, still_to_clip
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.cropping import square_crop
from aura_model.media import MediaInfo
from aura_model.seeds import derive_seed
from aura_model.stills import STILLS
from aura_model.streams import CONTAINER_NAMES
from training.rows import EVALUATION, PLACES, ClipShape, Row, RowSource, clip_from_row, error_row

STILL_NAMES = frozenset(CONTAINER_NAMES[still] for still in STILLS)
"""Containers, as the reply names them, of one picture, which shows no motion of its own."""
NO_FACE = "no_face"
"""`error` of a video that shows no face to forge."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One genuine clip and the same one forged, rendered alike."""

    video_id: str
    """Of what both were made of."""
    index: int
    """Which pair of it, from 0."""
    family: str
    real: RenderedClip
    fake: RenderedClip


@dataclass(frozen=True)
class Draw:
    """What is made of one video."""

    count: int
    families: Mapping[str, float]
    """Weights of what is made of a genuine video."""
    generated: Mapping[str, float]
    """Weights of what is made of a fake."""
    disturbed: float = 0.0
    """See `RenderSettings`."""


PartnerLookup = Callable[[str], Row]
"""The video_id of a fake to the path row of the genuine video that it is rendered beside."""


class PairSource:
    """Makes pairs of the rows of loose crops; a function of (seed, epoch, video) alone.

    A genuine video gives forgeries of itself. A fake, of which a network drew everything, is rendered beside a genuine
    partner, or its face in the partner's clip.
    """

    def __init__(self, config: Config, loose_rows: RowSource, partners: PartnerLookup | None = None) -> None:
        """Take loose crops from `loose_rows`, which must cut them out as `loose(config)` says."""
        self._config, self.loose_rows, self._partners = config, loose_rows, partners
        self._shape = ClipShape.of(config)
        self._rate = config.dataset.video.frame_rate

    def __call__(self, path_row: Mapping[str, Any]) -> list[Row]:
        """Two rows for each pair of a video, the genuine clip first; or its error row."""
        rows = self.loose_rows(path_row)
        if rows[0]["error"]:
            return [error_row(rows[0]["error"], rows[0]["detail"], path_row, self._shape)]
        make = self.pairs_beside if path_row["label"] else self.pairs_of
        pairs = list(make(rows, path_row, self._draw(path_row)))
        if not pairs:
            return [error_row(NO_FACE, "the video shows no face that could be forged", path_row, self._shape)]
        return [row for pair in pairs for row in self._pair_rows(pair, path_row, rows[0]["media"])]

    def pairs_of(
        self, rows: Sequence[Row], path_row: Mapping[str, Any], draw: Draw, donors: Sequence[Material] = ()
    ) -> Iterator[Pair]:
        """The pairs made of one video's loose crops; none where they show no face.

        Args:
            rows: the loose crops.
            path_row: which video, and in which pass.
            draw: how many, of which families.
            donors: other people's faces, for the families that need one.
        """
        seen, rng = seen_of(rows), self._rng(path_row)
        for index in range(draw.count if seen else 0):
            picking, moving, making = rng.spawn(3)
            row = one_of(seen, picking)
            family = _pick(draw.families, picking)
            material = self.material(row, moving)
            if family in HELD_OUT:
                material = replace(material, donor=donors[int(picking.integers(len(donors)))])
            real, fake = render_pair(material, family, making, self._settings(draw))
            yield Pair(str(path_row["video_id"]), index, family, real, fake)

    def pairs_beside(self, rows: Sequence[Row], path_row: Mapping[str, Any], draw: Draw) -> Iterator[Pair]:
        """The pairs of a fake's loose crops and its partner's; none where either shows no face."""
        if self._partners is None:
            raise ValueError("a fake needs a partner to be rendered beside")
        partner = self._partners(str(path_row["video_id"])) | {"epoch": path_row["epoch"]}
        genuine, generated = (seen_of(some) for some in (self.loose_rows(partner), rows))
        rng = self._rng(path_row)
        for index in range(draw.count if genuine and generated else 0):
            picking, moving, making = rng.spawn(3)
            motion = int(moving.integers(2**63))  # of both: no difference but the drawing
            fellow, drawn = (
                self.material(one_of(some, picking), np.random.default_rng(motion)) for some in (genuine, generated)
            )
            family = _pick(draw.generated, picking)
            real, fake = render_generated(fellow, drawn, family, making, self._settings(draw))
            yield Pair(str(path_row["video_id"]), index, family, real, fake)

    def material(self, row: Row, rng: np.random.Generator) -> Material:
        """What is forged of a loose crop with a face: its frames, or its picture made to move."""
        media = MediaInfo.model_validate_json(row["media"])
        margin = self._config.dataset.pseudo_fakes.margin
        footage = inside(clip_from_row(row), margin, media.width or 0, media.height or 0)
        return material_of(footage, self._rate if is_still(media) else None, rng)

    def _rng(self, path_row: Mapping[str, Any]) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self._config.seed, int(path_row["epoch"]), str(path_row["video_id"])))

    def _draw(self, path_row: Mapping[str, Any]) -> Draw:
        settings = self._config.dataset.pseudo_fakes
        training = int(path_row["epoch"]) != EVALUATION
        count, disturbed = (settings.pairs.train, settings.disturbed) if training else (settings.pairs.eval, 0.0)
        return Draw(count, dict(settings.families.items()), dict(settings.generated.items()), disturbed)

    def _settings(self, draw: Draw) -> RenderSettings:
        return RenderSettings(size=self._config.dataset.face.size, disturbed=draw.disturbed)

    def _pair_rows(self, pair: Pair, path_row: Mapping[str, Any], media: str) -> Iterator[Row]:
        for sample, variant in ((pair.real, f"#{pair.index}"), (pair.fake, f"#{pair.index} {pair.family}")):
            yield error_row("", "", path_row, self._shape) | {
                "label": sample.label,
                "clip": pair.index,
                "variant": variant,
                "media": media,
                "times": np.arange(self._shape.frames) / self._config.dataset.video.frame_rate,
                "seconds": self._config.dataset.video.clip_seconds,
                "track_id": 0,
                "has_video": True,
                "frames": sample.frames,
                "landmarks": sample.landmarks,
                "has_places": True,
                "places": np.stack([_small(mask) for mask in sample.mask]),
            }


def seen_of(rows: Sequence[Row]) -> list[Row]:
    """Those that show a face."""
    return [row for row in rows if row["has_video"]]


def _pick(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    """One of the names, drawn by weight."""
    names, values = zip(*sorted(weights.items()), strict=True)
    return str(rng.choice(names, p=np.asarray(values) / sum(values)))


def one_of(rows: Sequence[Row], rng: np.random.Generator) -> Row:
    """One of them, drawn."""
    return rows[int(rng.integers(len(rows)))]


def material_of(footage: Material, rate: float | None, rng: np.random.Generator) -> Material:
    """What is forged: the footage, or its first frame made to move where there is a `rate` in frames per second."""
    if rate is None:
        return footage
    settings = StillSettings(frames=len(footage.frames), rate=rate)
    return still_to_clip(footage.frames[0], footage.landmarks[0], rng, settings)


def inside(clip: Clip, margin: float, width: int, height: int) -> Material:
    """The part of a clip's crops that lies inside the source in all frames: beyond it a crop repeats the edge.

    Args:
        clip: with a face.
        margin: with which it was cut out.
        width: of the source, pixels.
        height: likewise.

    Raises:
        ValueError: the clip shows no face.
    """
    if clip.frames is None or clip.landmarks is None or clip.boxes is None:
        raise ValueError("the clip shows no face")
    squares = np.array([square_crop(box, margin) for box in clip.boxes])  # middle and side, source pixels
    squares[:, 2] = np.maximum(squares[:, 2], 1)  # as they are cut out
    size, corner = clip.frames.shape[1], squares[:, :2] - squares[:, 2:] / 2
    scale = size / squares[:, 2:]
    low = np.clip(np.ceil((-corner * scale).max(0)), 0, size // 2).astype(int)
    high = np.clip(np.floor(((np.array([width, height]) - corner) * scale).min(0)), size // 2 + 1, size).astype(int)
    frames = clip.frames[:, low[1] : high[1], low[0] : high[0]]
    return Material(frames, (clip.landmarks - low).astype(np.float32))


def is_still(media: MediaInfo) -> bool:
    """Whether this is a single picture."""
    return media.container in STILL_NAMES


def _small(mask: Any) -> Any:
    return np.rint(255 * cv2.resize(mask, (PLACES, PLACES), interpolation=cv2.INTER_AREA)).astype(np.uint8)
