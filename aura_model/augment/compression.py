"""Lossy compression of a clip, as a platform or a messenger does: JPEG frame by frame, and H.264 over time.

Shapes: T frames, H rows, W columns. The same bytes come out on every machine with one build of OpenCV and FFmpeg:
encoders run in one thread, and colours are converted in integers.
"""

from collections.abc import Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.stream import VideoStream

from aura_model.augment.video import Frames, each

LARGEST_RATE_DENOMINATOR = 1001
"""Frame rates such as 30000/1001 are kept exactly."""


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
    decoded = list(_decode(_encode(frames, crf, Fraction(rate).limit_denominator(LARGEST_RATE_DENOMINATOR))))
    if len(decoded) != len(frames):
        raise ValueError(f"{len(frames)} frames were coded as H.264, {len(decoded)} came back")
    return np.stack(decoded)[:, :height, :width]


def _jpeg_frame(frame: Frames, quality: int) -> Frames:
    _, code = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


def _encode(frames: Frames, crf: float, rate: Fraction) -> "list[Packet[VideoStream]]":
    encoder = CodecContext.create("libx264", "w")
    encoder.height, encoder.width = (side + side % 2 for side in frames.shape[1:3])
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", rate, 1 / rate
    encoder.thread_count = 1
    encoder.options = {"preset": "ultrafast", "crf": f"{crf:.2f}"}
    packets = [packet for time, frame in enumerate(frames) for packet in encoder.encode(_to_yuv(frame, time))]
    return packets + encoder.encode(None)


def _decode(packets: "list[Packet[VideoStream]]") -> Iterator[Frames]:
    decoder = CodecContext.create("h264", "r")
    decoder.thread_count = 1
    for packet in (*packets, None):
        for frame in decoder.decode(packet):
            yield np.asarray(cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2RGB_I420), dtype=np.uint8)


def _to_yuv(frame: Frames, time: int) -> av.VideoFrame:
    bottom, right = (side % 2 for side in frame.shape[:2])
    even = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    planes = np.asarray(cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)
    converted = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    converted.pts = time
    return converted
