"""Picture augmentation. Shapes: T frames, H rows, W columns. Every frame of a clip is changed in the same way."""

import cv2
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]

MIRRORED_LANDMARKS = (1, 0, 2, 4, 3)
"""Where left eye, right eye, nose, left and right mouth corner go in a mirror."""
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""The weights of red, green and blue in brightness (ITU-R BT.601)."""


def flip(frames: Frames, landmarks: npt.NDArray[np.float32]) -> tuple[Frames, npt.NDArray[np.float32]]:
    """Mirror frames `[T, H, W, 3]` and landmarks `[T, 5, 2]` (crop pixels) left to right."""
    mirrored = landmarks[:, MIRRORED_LANDMARKS].copy()
    mirrored[..., 0] = frames.shape[2] - 1 - mirrored[..., 0]
    return np.ascontiguousarray(frames[:, :, ::-1]), mirrored


def jitter_color(frames: Frames, brightness: float, contrast: float, saturation: float) -> Frames:
    """Scale brightness, contrast about the clip's mean grey, and saturation of `[T, H, W, 3]`; 1 changes nothing."""
    pixels = frames.astype(np.float32) * brightness
    grey = pixels @ LUMA
    mean = grey.mean()
    pixels = (pixels - mean) * contrast + mean
    grey = ((grey - mean) * contrast + mean)[..., None]
    return np.asarray(np.clip(np.rint((pixels - grey) * saturation + grey), 0, 255), dtype=np.uint8)


def jpeg(frames: Frames, quality: int) -> Frames:
    """Compress each frame of `[T, H, W, 3]` as JPEG of `quality` 1..100 and decode it again."""
    return np.stack([_jpeg_frame(frame, quality) for frame in frames])


def _jpeg_frame(frame: Frames, quality: int) -> Frames:
    _, code = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError(f"a frame of shape {frame.shape} cannot be JPEG-coded")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)
