"""Tracks: one face followed through a video, from detections at sparse times."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from aura_model.faces import Face, Floats, overlaps

Times = npt.NDArray[np.float64]
_Chain = list[tuple[float, Face]]

_SAME_OVERLAP = 0.3
"""Boxes that overlap this much (intersection over union) show one face."""
_REACH, _REACH_PER_SECOND, _LARGEST_REACH = 0.5, 1.0, 2.0
"""How far a face may have moved since it was last seen, in its own sides."""
_LARGEST_RATIO = 2.0
"""How much its side may have changed."""
_BRIDGE_SECONDS, _BRIDGE_STEPS = 1.0, 2.5
"""A gap up to the larger of these (steps: usual times between detections) is interpolated; one miss lies within."""
_SURE = 0.9


@dataclass(frozen=True, eq=False)
class Detection:
    """The faces of one frame; a frame that was searched in vain has none."""

    time: float
    faces: Sequence[Face]


@dataclass(frozen=True, eq=False)
class Track:
    """One face, by its detections."""

    id: int
    """0 is the video's main face."""
    times: Times
    """[n] seconds, rising: where it was seen."""
    boxes: Floats
    """[n, 4] as detected, source pixels."""
    landmarks: Floats
    """[n, 5, 2] as detected, source pixels."""
    scores: Floats
    """[n] of the detections."""
    searched: Times
    """[m] seconds, rising: every frame in which faces were looked for."""

    def covers(self, start: float, end: float) -> bool:
        """Whether the face is there: seen in at least half of the frames searched from `start` to `end` inclusive."""
        seen = np.count_nonzero((self.times >= start) & (self.times <= end))
        searched = np.count_nonzero((self.searched >= start) & (self.searched <= end))
        return bool(seen > 0 and 2 * seen >= searched)

    def boxes_at(self, times: npt.ArrayLike) -> Floats:
        """Face boxes [k, 4] at `times` [k] seconds: smoothed, linear between detections, held before and after."""
        return _interpolate(np.asarray(times, dtype=np.float64), self.times, self._smooth_boxes, self._bridge)

    def landmarks_at(self, times: npt.ArrayLike) -> Floats:
        """Landmarks [k, 5, 2] at `times` [k] seconds, in source pixels, like `boxes_at`."""
        return _interpolate(np.asarray(times, dtype=np.float64), self.times, self._smooth_landmarks, self._bridge)

    @property
    def prominence(self) -> float:
        """Mean area of the boxes times the share of searched frames that show the face, square pixels."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return float(np.prod(sides, axis=1).mean() * len(self.times) / len(self.searched))

    @cached_property
    def _bridge(self) -> float:
        steps = np.diff(self.searched)
        return max(_BRIDGE_SECONDS, _BRIDGE_STEPS * float(np.median(steps))) if steps.size else _BRIDGE_SECONDS

    @cached_property
    def _smooth_boxes(self) -> Floats:
        return _smooth(self.times, self.boxes, self._bridge)

    @cached_property
    def _smooth_landmarks(self) -> Floats:
        return _smooth(self.times, self.landmarks, self._bridge)


def link(detections: Iterable[Detection]) -> list[Track]:
    """Join the detections of one video into tracks, the most prominent first.

    Frame by frame, in time, faces go to tracks, the surest pair first. Boxes that overlap belong together; else a face
    may have moved by half its side, and one side more for each second since it was last seen, two at most, and may have
    doubled or halved. Place and size are all that is compared: after a cut another person in the same place continues
    the track. A face seen once, with a score below 0.9, in a video where others are seen repeatedly is taken for a
    false alarm.

    Args:
        detections: of one video, in any order; a frame may come twice.

    Returns:
        Tracks with the ids 0, 1, … in order of `Track.prominence`.
    """
    frames = {detection.time: detection for detection in detections}
    searched = np.array(sorted(frames), dtype=np.float64)
    chains: list[_Chain] = []
    for time in sorted(frames):
        _extend(chains, frames[time])
    tracks = [_track(chain, searched) for chain in chains if _lasts(chain, chains)]
    tracks.sort(key=lambda track: -track.prominence)
    return [replace(track, id=rank) for rank, track in enumerate(tracks)]


def _lasts(chain: _Chain, chains: Sequence[_Chain]) -> bool:
    """Whether a chain is more than a false alarm."""
    return len(chain) > 1 or chain[0][1].score >= _SURE or all(len(other) == 1 for other in chains)


def _extend(chains: list[_Chain], detection: Detection) -> None:
    """Give each face of a frame to the chain it continues, or start a chain with it."""
    affinity = _affinities([chain[-1] for chain in chains], detection)
    taken = set()
    while affinity.size and affinity.max() > 0:
        chain, face = divmod(int(affinity.argmax()), len(detection.faces))
        chains[chain].append((detection.time, detection.faces[face]))
        taken.add(face)
        affinity[chain, :] = affinity[:, face] = 0
    chains.extend([(detection.time, face)] for i, face in enumerate(detection.faces) if i not in taken)


def _affinities(ends: Sequence[tuple[float, Face]], detection: Detection) -> npt.NDArray[np.float64]:
    """[ends, faces]: how well a face continues a chain; 0 where it cannot. Overlap beats nearness, recent beats old."""
    if not ends or not detection.faces:
        return np.zeros((len(ends), len(detection.faces)))
    gaps = np.array([detection.time - time for time, _ in ends])[:, None]
    old = np.stack([face.box for _, face in ends])
    new = np.stack([face.box for face in detection.faces])
    overlap = overlaps(old, new)
    near = _nearness(old, new, np.minimum(_REACH + _REACH_PER_SECOND * gaps, _LARGEST_REACH))
    found: npt.NDArray[np.float64] = np.where(overlap >= _SAME_OVERLAP, 1 + overlap, near) / (1 + gaps)
    return found


def _nearness(old: Floats, new: Floats, reach: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[old, new]: 1 for the same centre, 0 from `reach` mean sides on or where the sides differ too much."""
    centres_old, centres_new = (old[:, :2] + old[:, 2:]) / 2, (new[:, :2] + new[:, 2:]) / 2
    sides_old, sides_new = (np.max(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (old, new))
    distance = np.linalg.norm(centres_old[:, None] - centres_new[None], axis=2)
    mean = (sides_old[:, None] + sides_new[None]) / 2
    ratio = np.maximum(sides_old[:, None], sides_new[None]) / np.minimum(sides_old[:, None], sides_new[None])
    near: npt.NDArray[np.float64] = np.clip(1 - distance / (mean * reach), 0, None) * (ratio <= _LARGEST_RATIO)
    return near


def _track(chain: _Chain, searched: Times) -> Track:
    return Track(
        id=0,
        times=np.array([time for time, _ in chain], dtype=np.float64),
        boxes=np.stack([face.box for _, face in chain]).astype(np.float32),
        landmarks=np.stack([face.landmarks for _, face in chain]).astype(np.float32),
        scores=np.array([face.score for _, face in chain], dtype=np.float32),
        searched=searched,
    )


def _smooth(times: Times, values: Floats, bridge: float) -> Floats:
    """Average each value with the line between its two neighbours, where both are near in time.

    For even steps that is the kernel 1/4, 1/2, 1/4. Steady motion stays as it is, at any steps, and nothing overshoots.
    """
    steps = np.diff(times)
    inner = np.flatnonzero((steps[:-1] <= bridge) & (steps[1:] <= bridge)) + 1
    share = _column((times[inner] - times[inner - 1]) / (times[inner + 1] - times[inner - 1]), values)
    smooth = values.copy()
    smooth[inner] = values[inner] / 2 + ((1 - share) * values[inner - 1] + share * values[inner + 1]) / 2
    return smooth


def _interpolate(at: Times, times: Times, values: Floats, bridge: float) -> Floats:
    """Values at the times `at`: linear inside gaps up to `bridge` seconds, the nearest one inside longer gaps."""
    after = np.clip(np.searchsorted(times, at), 1, max(1, len(times) - 1))
    before, after = after - 1, np.minimum(after, len(times) - 1)
    gap = times[after] - times[before]
    share = np.clip(np.divide(at - times[before], gap, out=np.zeros_like(at), where=gap > 0), 0, 1)
    share = _column(np.where(gap > bridge, np.round(share), share), values)
    mixed: Floats = ((1 - share) * values[before] + share * values[after]).astype(np.float32)
    return mixed


def _column(weights: npt.NDArray[np.float64], values: Floats) -> npt.NDArray[np.float64]:
    """[n] as [n, 1, …], to multiply rows of `values`."""
    return weights.reshape(-1, *[1] * (values.ndim - 1))
