"""A picture of pairs: real, fake, where the detector sees it, and where it is; one row a pair. It shows faces."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from aura_model.clips import Clip
from aura_model.heatmap import overlay
from scrutiny.examiner import Scores
from training.pairing.pairs import Pair

SIDE = 128
TEXT_HEIGHT = 16


def draw_sheet(pairs: Sequence[tuple[Pair, str]], scorer: Scores, path: Path) -> None:
    """Draw the middle frame of each pair, with a line of text above it, and write a PNG.

    Raises:
        ValueError: no pairs.
    """
    if not pairs:
        raise ValueError("a sheet needs a pair")
    rows = [_row(pair, text, scorer) for pair, text in pairs]
    _, code = cv2.imencode(".png", cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
    path.write_bytes(code.tobytes())


def _row(pair: Pair, text: str, scorer: Scores) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    fake, middle = pair.fake, len(pair.fake.frames) // 2
    times = np.arange(len(fake.frames), dtype=np.float64)
    (score,) = scorer.score([Clip(times, float(len(times)), fake.frames, None, None, 0, None)])
    seen = fake.frames[middle] if score.heatmap is None else overlay(fake.frames[middle], score.heatmap[middle])
    truth = np.repeat(np.rint(fake.mask[middle] * 255).astype(np.uint8)[..., None], 3, 2)
    tiles = [cv2.resize(tile, (SIDE, SIDE)) for tile in (pair.real.frames[middle], fake.frames[middle], seen, truth)]
    heading = np.zeros((TEXT_HEIGHT, 4 * SIDE, 3), np.uint8)
    cv2.putText(heading, text, (3, TEXT_HEIGHT - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([heading, np.concatenate(tiles, 1)]).astype(np.uint8)
