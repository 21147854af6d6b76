"""Lossy compression of a clip, as a platform or a messenger does: JPEG frame by frame, and H.264 over time.

Shapes: T frames, H rows, W columns. The same bytes come out on every machine with one build of OpenCV and FFmpeg:
encoders run in one thread, and colours are converted in integers.
"""

from fractions import Fraction

import cv2
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from aura_model.augment.codec import RATE_DENOMINATOR, decode, open_codec, to_picture
from aura_model.augment.video import Frames, each


def jpeg(frames: Frames, quality: int) -> Frames:
    """Compress each frame of `[T, H, W, 3]` as JPEG of `quality` 1..100 and decode it again."""
    return each(frames, lambda frame: _jpeg_frame(frame, quality))


def h264(frames: Frames, crf: float, rate: float) -> Frames:
    """Compress `[T, H, W, 3]` as one H.264 video (ITU-T H.264, 4:2:0, by x264) and decode it again, all in memory.

    The first frame is coded by itself, the others as changes of the one before.

    Args:
        frames: the clip; an odd side is made even for the encoder by repeating the last row or column.
        crf: constant rate factor, 0 (lossless but for the colours' resolution) to 51.
        rate: frames per second.

    Raises:
        av.codec.codec.UnknownCodecError: this build of PyAV has no x264; the wheels of PyPI have it.
        ValueError: another number of frames came back than went in.
    """
    height, width = frames.shape[1:3]
    decoded = list(decode(_encode(frames, crf, Fraction(rate).limit_denominator(RATE_DENOMINATOR)), "h264"))
    if len(decoded) != len(frames):
        raise ValueError(f"{len(frames)} frames were coded as H.264, {len(decoded)} came back")
    return np.stack(decoded)[:, :height, :width]


def _jpeg_frame(frame: Frames, quality: int) -> Frames:
    _, code = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


def _encode(frames: Frames, crf: float, rate: Fraction) -> "list[Packet[VideoStream]]":
    encoder = open_codec("libx264", "w")
    bottom, right = (side % 2 for side in frames.shape[1:3])
    encoder.height, encoder.width = frames.shape[1] + bottom, frames.shape[2] + right
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", rate, 1 / rate
    encoder.options = {"preset": "ultrafast", "crf": f"{crf:.2f}"}
    pictures = (to_picture(frame, time, bottom, right) for time, frame in enumerate(frames))
    return [packet for picture in pictures for packet in encoder.encode(picture)] + encoder.encode(None)
