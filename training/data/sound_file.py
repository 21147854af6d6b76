"""The sound beside a folder of frames: `audio.wav` or `audio.npy`, read without any decoder."""

import io
import struct
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from aura_model.errors import MediaError
from aura_model.sound import RATES

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
"""Format tags of WAVE files; with EXTENSIBLE the tag proper starts the sub-format."""
PACKED: np.dtype[Any] = np.dtype("V3")
"""A signed 24-bit number, little-endian."""
WAV_TYPES: Mapping[tuple[int, int], np.dtype[Any]] = MappingProxyType(
    {
        (PCM, 8): np.dtype("u1"),
        (PCM, 16): np.dtype("<i2"),
        (PCM, 24): PACKED,
        (PCM, 32): np.dtype("<i4"),
        (FLOAT, 32): np.dtype("<f4"),
        (FLOAT, 64): np.dtype("<f8"),
    }
)
NPY_TYPES = frozenset({"<i2", ">i2", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8"})
MAX_CHANNELS = 32
MAX_CHUNKS = 1000
"""Chunks of a WAVE file that are looked at."""
BLOCK = 1 << 16
"""Samples converted at once."""

# What numpy lets through for a header that is no Python literal.
_HEADER_FAULTS = (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, struct.error)


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples as they lie in the file."""

    raw: npt.NDArray[Any]
    """[S, C] of any of the types above."""
    rate: int
    """Hz"""

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self) / self.rate

    def blocks(self) -> Iterator[npt.NDArray[np.int16]]:
        """The samples as 16-bit mono, the channels averaged, a block [n] at a time."""
        for at in range(0, len(self), BLOCK):
            mono = _full_scale_one(np.ascontiguousarray(self.raw[at : at + BLOCK])).mean(axis=1)
            yield np.clip(np.rint(32768 * mono), -32768, 32767).astype(np.int16)


def read_sound(content: bytes, name: str, rate: int) -> Sound:
    """Parse a sound file.

    Args:
        content: RIFF WAVE with 8, 16, 24 or 32 bit integers or with floats; or a NumPy file with int16, or floats in
            -1..1, as [S] or [channels, S].
        name: of the file, with its ending; errors name it.
        rate: of a NumPy file, Hz.

    Raises:
        MediaError: invalid_video.
    """
    try:
        return _read_npy(content, rate) if name.lower().endswith(".npy") else _read_wav(content)
    except ValueError as error:
        raise MediaError("invalid_video", f"{name} cannot be read: {error}.") from None


def _read_wav(content: bytes) -> Sound:
    """Multimedia Programming Interface and Data Specifications 1.0 (IBM, Microsoft, 1991), "Waveform Audio"."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError("it is no RIFF WAVE file")
    form: tuple[np.dtype[Any], int, int] | None = None
    for name, body in _chunks(memoryview(content)):
        if name == b"fmt ":
            form = _wav_format(body)
        if name == b"data" and form:
            dtype, channels, rate = form
            return Sound(_samples(body, dtype, channels), rate)
    raise ValueError("it has no format or no data")


def _chunks(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Name and body of each chunk; a size beyond the end means up to the end, as in a recording that was cut."""
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(content):
            return
        name, size = struct.unpack_from("<4sI", content, at)
        yield name, content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _wav_format(body: memoryview) -> tuple[np.dtype[Any], int, int]:
    """Type of the samples, channels and rate."""
    if len(body) < 16:
        raise ValueError("its format is cut off")
    tag, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", body)
    if tag == EXTENSIBLE and len(body) >= 26:
        (tag,) = struct.unpack_from("<H", body, 24)
    dtype = WAV_TYPES.get((tag, bits))
    if dtype is None:
        raise ValueError(f"format {tag} with {bits} bits is not accepted, only PCM and floats")
    if rate not in RATES or align != channels * dtype.itemsize:
        raise ValueError(f"its format makes no sense: {rate} Hz, {channels} channels, {align} bytes a sample")
    return dtype, channels, rate


def _samples(body: memoryview, dtype: np.dtype[Any], channels: int) -> npt.NDArray[Any]:
    """View [S, C] of interleaved samples."""
    _check_channels(channels)
    count = len(body) // (channels * dtype.itemsize)
    if not count:
        raise ValueError("it holds no samples")
    return np.frombuffer(body, dtype, count * channels).reshape(count, channels)


def _read_npy(content: bytes, rate: int) -> Sound:
    """NumPy's format 1.0 or 2.0; nothing is unpickled, and nothing is allocated for what the header claims."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = read(file)
    except _HEADER_FAULTS:
        raise ValueError("it is no NumPy file, or a very new one") from None
    if dtype.str not in NPY_TYPES or len(shape) not in (1, 2):
        raise ValueError("it must hold int16 or floats, as [samples] or [channels, samples]")
    channels, count = (1, *shape)[-2:]
    _check_channels(channels)
    if count < 1 or channels * count * dtype.itemsize > len(content) - file.tell():
        raise ValueError("it holds no samples, or fewer than it claims")
    flat = np.frombuffer(content, dtype, channels * count, file.tell())
    return Sound(flat.reshape((channels, count), order="F" if by_column else "C").T, rate)


def _check_channels(channels: int) -> None:
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"it has {channels} channels; 1 to {MAX_CHANNELS} are accepted")


def _full_scale_one(raw: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Samples of any type as floats in -1..1; what is not a number becomes 0."""
    if raw.dtype == PACKED:
        low = raw.view("u1").reshape(*raw.shape, 3)
        raw = np.concatenate([np.zeros_like(low[..., :1]), low], axis=-1).view("<i4")[..., 0]
    if raw.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            return np.asarray(np.nan_to_num(np.clip(raw, -1, 1)), np.float32)
    zero, full = (128, 128) if raw.dtype == np.uint8 else (0, -float(np.iinfo(raw.dtype).min))
    return np.asarray((raw.astype(np.float64) - zero) / full, np.float32)
