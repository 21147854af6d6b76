"""Open, probe and decode untrusted video and sound within limits."""

from pydantic import BaseModel, ConfigDict


class MediaInfo(BaseModel):
    """Facts about one media file, as read from its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int
    container: str
    duration: float
    """Seconds from the first to the last presented moment; 0 for a still."""
    width: int
    """Pixels as displayed, after rotation; 0 without video."""
    height: int
    fps: float
    rotation: int
    """Clockwise degrees that were applied for display: 0, 90, 180 or 270."""
    video_codec: str | None
    audio_codec: str | None
