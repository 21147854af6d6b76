"""What the running service is made of, for `/health` and the log."""

import platform
from importlib.metadata import version

import av
from pydantic import BaseModel, ConfigDict, Field


class BuildInfo(BaseModel):
    """Versions of what decides about answers and safety."""

    model_config = ConfigDict(frozen=True)

    aura: str
    python: str
    ray: str
    torch: str
    onnxruntime: str
    opencv: str
    pyav: str
    ffmpeg: str = Field(description="Of the libraries inside PyAV, which open the media.")


def build_info() -> BuildInfo:
    """The versions that are installed here. Torch is not loaded for that."""
    return BuildInfo(
        aura=version("aura"),
        python=platform.python_version(),
        ray=version("ray"),
        torch=version("torch"),
        onnxruntime=version("onnxruntime"),
        opencv=version("opencv-python"),
        pyav=version("av"),
        ffmpeg=av.ffmpeg_version_info,
    )
