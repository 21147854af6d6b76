"""What comes after a forgery, and what came before it: the camera, the platform's colours and codecs, the crop.

One draw of all that, `Shared`, is put upon the genuine clip and upon the forged one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from aura_model.augment import audio, video
from aura_model.augment.blending import rounded
from aura_model.augment.codec import CodecSettings, Encoding, draw_encoding, draw_encodings, transcode
from aura_model.augment.disturbances import Disturbance, draw_disturbances
from aura_model.augment.face_model import REGIONS, Floats, apply, fit_cameras
from aura_model.augment.forgery import Forgery, Masks, Material
from aura_model.augment.looks import Texture, draw_lens, draw_uneven
from aura_model.augment.video import Frames, Landmarks
from aura_model.cropping import crop_face

PCM_PEAK = 32767
EARLY = 0.4
"""Probability that a clip was disturbed before it was coded."""


@dataclass(frozen=True)
class RenderSettings:
    """From what the shared part is drawn."""

    size: int = 224
    """Of the final crop, pixels."""
    margin: tuple[float, float] = (0.05, 0.2)
    """On each side of the face, as a share of its longer side."""
    wobble: float = 0.03
    """Deviation of the crop's place and size, as a share of its side: detectors are no better."""
    color: float = 0.15
    """Most that brightness, contrast and saturation change by, as a share."""
    lens: float = 0.25
    """Probability of a dull lens: of the footage, but not of the face that is put into it.

    The forged faces are then crisper than what is around them, so that softness alone tells nothing.
    """
    uneven: float = 0.35
    """Probability that a part of the footage is of another quality than the rest: no forgery by itself."""
    sharpen: tuple[float, float] = (0.3, 1.0)
    """Probability, and the largest amount of unsharp masking."""
    blur: tuple[float, float] = (0.1, 0.6)
    """Probability, and the largest deviation in pixels."""
    noise: tuple[float, float] = (0.15, 2.0)
    """Probability, and the largest deviation in levels of 255."""
    flip: float = 0.5
    filmed: float = 0.3
    """Probability that the footage was coded once before it was forged."""
    grain: tuple[float, float] = (0.25, 4.0)
    """Probability, and the largest deviation in levels of 255, of the camera's noise, before that coding."""
    fresh: float = 0.5
    """Probability that the forged face comes from before the camera: painted anew, it has not its noise and coding."""
    codec: CodecSettings = field(default_factory=CodecSettings)
    disturbed: float = 0.0
    """How many times as probable as in `aura_model.augment.disturbances.CHANCES` each disturbance is."""
    gain: tuple[float, float] = (0.5, 1.2)
    """Of the sound."""
    hiss: float = 0.003
    """Largest deviation of the sound's noise."""


DEFAULT_SETTINGS = RenderSettings()


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """What a detector is shown, and the truth about it."""

    frames: Frames
    """[T, size, size, 3]"""
    landmarks: Landmarks
    """[T, 5, 2] in its pixels."""
    wave: audio.Wave | None
    mask: Masks
    """[T, size, size]"""
    family: str
    video: bool
    """The picture is forged."""
    audio: bool
    """The sound is synthetic."""
    mismatch: bool

    @property
    def label(self) -> int:
        """1 is fake."""
        return int(self.video or self.audio)


@dataclass(frozen=True, eq=False)
class Shared:
    """One draw of everything that comes after the forgery."""

    flipped: bool
    color: tuple[float, float, float]
    lens: Texture | None
    uneven: Texture | None
    sharpen: float
    blur: float
    noise: float
    grain: float
    camera: Encoding | None
    """The footage's own coding, before the forgery; real and fake are made of what it left."""
    fresh: bool
    platform: tuple[Encoding, ...]
    disturbances: tuple[Disturbance, ...]
    disturbed_first: bool
    """The disturbances come before the platform's codecs, to the whole picture; else last of all, to the crop."""
    margin: float
    wobbles: Floats
    """[3] right, down and larger, as shares of the face's side."""
    gain: float
    hiss: float
    seed: int
    """Of noises: both clips get the very same."""


def draw_shared(rng: np.random.Generator, height: int, width: int, settings: RenderSettings) -> Shared:
    """Draw the shared part for clips of this size."""
    brightness, contrast, saturation = 1 + rng.uniform(-settings.color, settings.color, 3)
    filming = replace(settings.codec, shrink=(1.0, 1.0))
    (disturbing,) = rng.spawn(1)
    return Shared(
        flipped=bool(rng.random() < settings.flip),
        color=(brightness, contrast, saturation),
        lens=draw_lens(rng) if rng.random() < settings.lens else None,
        uneven=draw_uneven(rng) if rng.random() < settings.uneven else None,
        sharpen=_sometimes(rng, settings.sharpen),
        blur=_sometimes(rng, settings.blur),
        noise=_sometimes(rng, settings.noise),
        grain=_sometimes(rng, settings.grain),
        camera=draw_encoding(rng, height, width, filming) if rng.random() < settings.filmed else None,
        fresh=bool(rng.random() < settings.fresh),
        platform=draw_encodings(rng, height, width, settings.codec),
        disturbances=draw_disturbances(disturbing, settings.disturbed),
        disturbed_first=bool(disturbing.random() < EARLY),
        margin=rng.uniform(*settings.margin),
        wobbles=(rng.standard_normal(3) * settings.wobble).astype(np.float32),
        gain=rng.uniform(*settings.gain),
        hiss=rng.uniform(0, settings.hiss),
        seed=int(rng.integers(2**63)),
    )


def filmed(material: Material, shared: Shared) -> Material:
    """The material as its camera left it: with its noise, as it coded it, at its own size, with its lens's faults."""
    height, width = material.size
    frames = video.add_noise(material.frames, shared.grain, np.random.default_rng([shared.seed, 1]))
    if shared.camera is not None:
        frames = transcode(frames, replace(shared.camera, height=height, width=width))
    crisp = material.frames if shared.fresh else frames
    for texture in (shared.lens, shared.uneven):
        if texture is not None:
            frames = np.stack([rounded(texture(frame.astype(np.float32))) for frame in frames])
    return replace(material, frames=frames, crisp=crisp)


def render(forgery: Forgery, landmarks: Landmarks, shared: Shared, settings: RenderSettings) -> RenderedClip:
    """Put a forgery, or the genuine clip, through the shared part; `landmarks` `[T, 5, 2]` are its frames'."""
    noises = np.random.default_rng(shared.seed).spawn(2)
    height, width = forgery.frames.shape[1:3]
    early, late = (shared.disturbances, ()) if shared.disturbed_first else ((), shared.disturbances)
    frames = _platform(_disturbed(forgery.frames, early), shared, noises[0])
    boxes = face_boxes(landmarks, shared.wobbles)
    margin = fitting_margin(boxes, shared.margin, height, width)
    boxes = into_view(boxes, margin, height, width)
    scale = frames.shape[2] / width, frames.shape[1] / height
    crops, points = _cropped(frames, boxes, landmarks, scale, margin=margin, size=settings.size)
    mask = np.rint(forgery.mask * 255).astype(np.uint8)
    masks, _ = _cropped(mask, boxes, landmarks, (1.0, 1.0), margin=margin, size=settings.size)
    if shared.flipped:
        masks, (crops, points) = masks[:, :, ::-1], video.flip(crops, points)
    return RenderedClip(
        _disturbed(crops, late),
        points,
        _platform_sound(forgery.wave, shared, noises[1]),
        masks.astype(np.float32) / np.float32(255),
        forgery.family,
        forgery.video,
        forgery.audio,
        forgery.mismatch,
    )


def face_boxes(landmarks: Landmarks, wobbles: Floats) -> Floats:
    """The boxes that a detector would find about landmarks `[T, 5, 2]`: `[T, 4]` x1, y1, x2, y2 in the same pixels.

    `wobbles` `[3]` moves them right and down and enlarges them, as shares of their longer side.
    """
    outlines = apply(fit_cameras(landmarks), REGIONS["face"])
    low, high = outlines.min(1), outlines.max(1)
    sides = (high - low).max(1, keepdims=True)
    middle, half = (low + high) / 2 + sides * wobbles[:2], (high - low) / 2 * (1 + wobbles[2])
    return np.concatenate([middle - half, middle + half], 1).astype(np.float32)


def fitting_margin(boxes: Floats, margin: float, height: int, width: int) -> float:
    """The margin, or less of it (down to none) where squares about boxes `[T, 4]` would be larger than the frame.

    Loose crops of stills are hardly wider than a face and its margin; as drawn, most crops would repeat an edge.
    """
    side = max(float((boxes[:, 2:] - boxes[:, :2]).max()), 1.0)
    return min(margin, max(0.0, (min(height, width) / side - 1) / 2))


def into_view(boxes: Floats, margin: float, height: int, width: int) -> Floats:
    """Shift boxes `[T, 4]` so that their squares, margin included, lie inside the frame where they fit."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2 * (1 + 2 * margin)
    frame = np.array([width, height], np.float32)
    shift = np.where(2 * half <= frame + 0.01, np.clip(middle, half, np.maximum(frame - half, half)) - middle, 0)
    return np.asarray(boxes + np.tile(shift, 2), dtype=np.float32)


def _platform(frames: Frames, shared: Shared, rng: np.random.Generator) -> Frames:
    """What happens to a picture on its way: colours, blur, noise, codecs."""
    changed = video.sharpen(video.jitter_color(frames, *shared.color), shared.sharpen)
    changed = video.blur(changed, shared.blur)
    if shared.noise:
        changed = video.add_noise(changed, shared.noise, rng)
    for encoding in shared.platform:
        changed = transcode(changed, encoding)
    return changed


def _disturbed(frames: Frames, disturbances: Iterable[Disturbance]) -> Frames:
    for disturb in disturbances:
        frames = disturb(frames)
    return frames


def _cropped(
    frames: Frames, boxes: Floats, landmarks: Landmarks, scale: tuple[float, float], *, margin: float, size: int
) -> tuple[Frames, Landmarks]:
    """Cut the face out of frames that are `scale` times (across, down) the size in which boxes and landmarks are."""
    pairs = [
        crop_face(frame, box * np.tile(scale, 2), points * np.array(scale), margin, size)
        for frame, box, points in zip(frames, boxes, landmarks, strict=True)
    ]
    return np.stack([crop for crop, _ in pairs]), np.stack([points for _, points in pairs])


def _platform_sound(wave: audio.Wave | None, shared: Shared, rng: np.random.Generator) -> audio.Wave | None:
    """Another loudness, noise, and 16-bit samples."""
    if wave is None:
        return None
    noisy = audio.add_noise(wave * np.float32(shared.gain), shared.hiss, rng)
    return (np.rint(noisy * PCM_PEAK) / PCM_PEAK).astype(np.float32)


def _sometimes(rng: np.random.Generator, chance_and_most: tuple[float, float]) -> float:
    chance, most = chance_and_most
    happens, strength = rng.random(2)
    return float(strength * most) if happens < chance else 0.0
