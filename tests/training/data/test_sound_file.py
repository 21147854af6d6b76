import io
import struct
import wave
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura_model.errors import MediaError
from training.data.sound_file import BLOCK, EXTENSIBLE, MAX_CHUNKS, Sound, read_sound

RATE = 16000
TONE = np.sin(np.arange(4000) / 20)


def riff(*chunks: tuple[bytes, bytes], sizes: int | None = None) -> bytes:
    """A WAVE file; `sizes` is what each chunk claims instead of its size."""
    body = b"".join(
        name + struct.pack("<I", len(data) if sizes is None else sizes) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def form(tag: int, bits: int, channels: int = 1, rate: int = RATE, align: int | None = None) -> tuple[bytes, bytes]:
    align = channels * bits // 8 if align is None else align
    return b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * align % 2**32, align, bits)


def extensible(tag: int, bits: int) -> tuple[bytes, bytes]:
    return b"fmt ", form(EXTENSIBLE, bits)[1] + struct.pack("<HHIH", 22, bits, 4, tag) + bytes(14)


def npy(array: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version=version)
    return file.getvalue()


def samples(sound: Sound) -> npt.NDArray[np.int16]:
    return np.concatenate(list(sound.blocks()))


def packed(values: npt.NDArray[np.float64]) -> bytes:
    """As signed 24-bit numbers."""
    return np.round(values * (2**23 - 1)).astype("<i4").view("u1").reshape(-1, 4)[:, :3].tobytes()


CODED = {
    (1, 8): np.round(TONE * 127 + 128).astype("u1").tobytes(),
    (1, 16): np.round(TONE * 32767).astype("<i2").tobytes(),
    (1, 24): packed(TONE),
    (1, 32): np.round(TONE * (2**31 - 1)).astype("<i4").tobytes(),
    (3, 32): TONE.astype("<f4").tobytes(),
    (3, 64): TONE.astype("<f8").tobytes(),
}


@pytest.mark.parametrize("kind", CODED)
@pytest.mark.parametrize("layout", [form, extensible])
def test_wave_files_of_every_kind_give_their_samples(kind: tuple[int, int], layout: Any) -> None:
    sound = read_sound(riff((b"LIST", b"odd"), layout(*kind), (b"data", CODED[kind])), "audio.wav", 1)
    assert (sound.rate, len(sound), sound.seconds) == (RATE, 4000, 0.25)
    assert np.abs(samples(sound) - TONE * 32768).max() < (400 if kind == (1, 8) else 2)


def test_the_standard_librarys_wave_files_are_read_exactly() -> None:
    written = np.arange(-32768, 32768).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(44100)
        writer.writeframes(written.tobytes())
    sound = read_sound(file.getvalue(), "audio.wav", RATE)
    assert sound.rate == 44100
    assert np.array_equal(samples(sound), written)


@pytest.mark.parametrize("kind", CODED)
def test_channels_are_averaged(kind: tuple[int, int]) -> None:
    width = kind[1] // 8
    one = np.frombuffer(CODED[kind], f"V{width}")
    silence = np.full(4000, 128 if kind == (1, 8) else 0, "u1").view("V1").repeat(width).view(f"V{width}")
    silence = silence if width == 1 else np.zeros(4000, f"V{width}")
    both = np.stack([one, silence], axis=1).tobytes()
    found = samples(read_sound(riff(form(*kind, channels=2), (b"data", both)), "audio.wav", RATE))
    assert np.abs(found - TONE * 16384).max() < 300


def test_a_recording_that_was_cut_is_read_to_its_end() -> None:
    head = riff(form(1, 16))
    cut = head + b"data" + struct.pack("<I", 2**32 - 1) + CODED[1, 16][:4001]
    assert len(read_sound(cut, "audio.wav", RATE)) == 2000


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_numpy_files_of_every_kind_give_their_samples(dtype: str, version: tuple[int, int]) -> None:
    array = (TONE * (32767 if "i" in dtype else 1)).astype(dtype)
    sound = read_sound(npy(array, version), "audio.NPY", RATE)
    assert (sound.rate, len(sound)) == (RATE, 4000)
    assert np.abs(samples(sound) - TONE * 32768).max() < (40 if dtype == "<f2" else 2)


@pytest.mark.parametrize("order", ["C", "F"])
def test_channels_of_a_numpy_file_come_first(order: Any) -> None:
    array = np.asarray(np.stack([TONE, np.zeros(4000)]), order=order)
    assert np.abs(samples(read_sound(npy(array), "a.npy", RATE)) - TONE * 16384).max() < 2


def test_floats_beyond_full_scale_are_clipped_and_what_is_no_number_is_silence() -> None:
    array = np.array([2.0, -2.0, np.nan, np.inf, -np.inf, 1e300, 0.5])
    expected = [32767, -32768, 0, 32767, -32768, 32767, 16384]
    assert samples(read_sound(npy(array), "a.npy", RATE)).tolist() == expected
    data = array.astype("<f8").tobytes()
    assert samples(read_sound(riff(form(3, 64), (b"data", data)), "a.wav", RATE)).tolist() == expected


def test_blocks_join_without_a_seam() -> None:
    long = np.arange(2 * BLOCK + 5).astype("<i2")
    blocks = list(read_sound(npy(long), "a.npy", RATE).blocks())
    assert [len(block) for block in blocks] == [BLOCK, BLOCK, 5]
    assert np.array_equal(np.concatenate(blocks), long)


DATA = (b"data", CODED[1, 16])
BAD_WAVES = {
    "empty": b"",
    "no riff": b"OggS" + bytes(100),
    "no wave": b"RIFF\0\0\0\0AVI " + bytes(100),
    "no chunk": riff(),
    "no data": riff(form(1, 16)),
    "no format": riff(DATA),
    "format after data": riff(DATA, form(1, 16)),
    "short format": riff((b"fmt ", b"\1\0"), DATA),
    "no samples": riff(form(1, 16), (b"data", b"\0")),
    "A-law": riff(form(6, 8), DATA),
    "12 bits": riff(form(1, 12), DATA),
    "no channels": riff(form(1, 16, channels=0), DATA),
    "33 channels": riff(form(1, 16, channels=33), DATA),
    "no rate": riff(form(1, 16, rate=0), DATA),
    "absurd rate": riff(form(1, 16, rate=2**32 - 1), DATA),
    "absurd alignment": riff(form(1, 16, align=7), DATA),
    "too many chunks": riff(*[(b"junk", b"")] * MAX_CHUNKS, form(1, 16), DATA),
}


@pytest.mark.parametrize("content", BAD_WAVES.values(), ids=list(BAD_WAVES))
def test_a_bad_wave_file_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(MediaError, match=r"^invalid_video: audio.wav cannot be read: \w+ .+\.$") as caught:
        read_sound(content, "audio.wav", RATE)
    assert caught.value.code == "invalid_video"


def header(text: bytes) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


BAD_ARRAYS = {
    "empty": b"",
    "no magic": bytes(100),
    "cut header": npy(TONE)[:40],
    "cut data": npy(TONE)[:-1],
    "objects": npy(np.array([{}], dtype=object)),
    "text": npy(np.array(["a"])),
    "int64": npy(np.arange(5)),
    "complex": npy(np.ones(3, complex)),
    "no dimension": npy(1.0),
    "three dimensions": npy(np.ones((2, 2, 2))),
    "samples first": npy(np.ones((4000, 2))),
    "no samples": npy(np.ones((2, 0))),
    "no code": header(b"__import__('os').abort()"),
    "deep": header(b"(" * 9000 + b")" * 9000),
    "huge claim": header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999,)}"),
    "negative claim": header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"),
    "other keys": header(b"{'descr': '<f8'}"),
    "unended": header(b"{'descr': '<f8"),
    "version 9": b"\x93NUMPY\x09\0" + npy(TONE)[8:],
}


@pytest.mark.parametrize("content", BAD_ARRAYS.values(), ids=list(BAD_ARRAYS))
def test_a_bad_numpy_file_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(MediaError, match=r"^invalid_video: audio.npy cannot be read: it .+\.$") as caught:
        read_sound(content, "audio.npy", RATE)
    assert caught.value.code == "invalid_video"


@pytest.mark.parametrize(("name", "sound"), [("a.wav", riff(form(3, 32), DATA)), ("a.npy", npy(TONE[:50]))])
@given(changes=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=8), cut=st.integers(0, 500))
def test_hostile_bytes_are_samples_or_a_media_error(
    name: str, sound: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(sound)
    for at, value in changes:
        content[at] = value
    try:
        found = samples(read_sound(bytes(content[: len(content) - cut]), name, RATE))
    except MediaError:
        return
    assert found.dtype == np.int16
    assert len(found) > 0
