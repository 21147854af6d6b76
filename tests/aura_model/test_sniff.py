"""What first bytes rule out: nothing that the decoder reads, and by the codes that the decoder gives."""

import io
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura_model.errors import MediaError
from aura_model.media import open_media
from aura_model.settings import load_config
from aura_model.sniff import FOREIGN, HEAD_BYTES, RECOGNISERS, check_head
from aura_model.stills import STILLS
from aura_model.streams import SOUNDS, VIDEOS

MEDIA = Path(__file__).parents[1] / "media"
LIMITS = load_config(env={}).limits
NOISE = np.random.default_rng(0).integers(1, 255, 5000, np.uint8).tobytes().replace(b"\0\0\1", b"")

# name -> demuxer, muxer, its options, video codec, sound codec
FILMS = {
    "mp4": ("mov,mp4,m4a,3gp,3g2,mj2", "mp4", {}, "libx264", "aac"),
    "mp4, fragmented": ("mov,mp4,m4a,3gp,3g2,mj2", "mp4", {"movflags": "frag_keyframe+empty_moov"}, "libx264", None),
    "mov": ("mov,mp4,m4a,3gp,3g2,mj2", "mov", {}, "mjpeg", None),
    "3gp": ("mov,mp4,m4a,3gp,3g2,mj2", "3gp", {}, "mpeg4", None),
    "matroska": ("matroska,webm", "matroska", {}, "libx264", "flac"),
    "webm": ("matroska,webm", "webm", {}, "libvpx", None),
    "avi": ("avi", "avi", {}, "mpeg4", "libmp3lame"),
    "mpegts": ("mpegts", "mpegts", {}, "libx264", "mp2"),
    "mpegts with time codes": ("mpegts", "mpegts", {"mpegts_m2ts_mode": "1"}, "libx264", None),
    "mpeg": ("mpeg", "mpeg", {}, "mpeg1video", "mp2"),
    "vob": ("mpeg", "vob", {}, "mpeg2video", "ac3"),
    "flv": ("flv", "flv", {}, "libx264", "aac"),
    "wav": ("wav", "wav", {}, None, "pcm_s16le"),
    "wav of 64 bits": ("wav", "wav", {"rf64": "always"}, None, "pcm_s16le"),
    "ogg": ("ogg", "ogg", {}, None, "libopus"),
    "flac": ("flac", "flac", {}, None, "flac"),
    "mp3": ("mp3", "mp3", {}, None, "libmp3lame"),
    "mp3 without a tag": ("mp3", "mp3", {"id3v2_version": "0", "write_xing": "0"}, None, "libmp3lame"),
    "mp2": ("mp3", "mp2", {}, None, "mp2"),
    "aac": ("aac", "adts", {}, None, "aac"),
}
FOREIGNERS = {
    "asf": ("asf", None, "wmav2"),
    "gif": ("gif", "gif", None),
    "animated PNG": ("apng", "apng", None),
    "ivf": ("ivf", "libvpx", None),
    "nut": ("nut", "libx264", None),
    "mxf": ("mxf", "mpeg2video", None),
    "swf": ("swf", "mjpeg", None),
    "wtv": ("wtv", "mpeg2video", None),
    "y4m": ("yuv4mpegpipe", "rawvideo", None),
    "raw h264": ("h264", "libx264", None),
    "raw mpeg2": ("mpeg2video", "mpeg2video", None),
    "aiff": ("aiff", None, "pcm_s16be"),
    "au": ("au", None, "pcm_s16be"),
    "caf": ("caf", None, "pcm_s16be"),
    "w64": ("w64", None, "pcm_s16le"),
    "tta": ("tta", None, "tta"),
    "wavpack": ("wv", None, "wavpack"),
    "raw ac3": ("ac3", None, "ac3"),
    "voc": ("voc", None, "pcm_s16le"),
}


@pytest.fixture(scope="module")
def film(films):
    """Makes the film of a name in one of the tables, once."""
    recipes = {name: recipe for name, (_, *recipe) in FILMS.items()}
    recipes |= {name: (muxer, {}, video, sound) for name, (muxer, video, sound) in FOREIGNERS.items()}
    return cache(lambda name: make(films, *recipes[name]))


def make(films, muxer, options, video, sound):
    pixels = {"gif": "rgb8", "mjpeg": "yuvj420p", "apng": "rgb24"}.get(video, "yuv420p")
    pictures = films.Pictures(range(25), codec=video or "", pixels=pixels, size=(352, 288), options={})
    samples = 0.2 * np.random.default_rng(0).standard_normal(96_000)
    streams = [pictures] if video else []
    streams += [films.Sound(samples, codec=sound)] if sound else []
    return films.film(muxer, *streams, **options)


def verdict(data):
    """The code of a refusal by the first bytes, or `passes`."""
    try:
        check_head(data[:HEAD_BYTES])
    except MediaError as error:
        return error.code
    return "passes"


def decoder(data):
    """The decoder's name for the container, or the code of its refusal."""
    try:
        with open_media(io.BytesIO(data), LIMITS) as media:
            return media.container
    except MediaError as error:
        return error.code


def test_every_container_has_its_recogniser():
    assert set(RECOGNISERS) == STILLS | VIDEOS | SOUNDS


@pytest.mark.parametrize("name", FILMS)
def test_what_the_decoder_reads_passes(film, name):
    container, data = FILMS[name][0], film(name)
    assert decoder(data) == container
    assert verdict(data) == "passes"
    assert RECOGNISERS[container](data[:HEAD_BYTES])


@pytest.mark.parametrize("name", FILMS)
def test_it_passes_cut_short_too(film, name):
    """A file shorter than what is looked at."""
    assert verdict(film(name)[:2000]) == "passes"


@pytest.mark.parametrize("name", ["mpegts", "mpegts with time codes", "mpeg", "vob", "mp3 without a tag", "mp2", "aac"])
@pytest.mark.parametrize("before", [NOISE[:99], NOISE[:800]], ids=len)
def test_a_stream_may_begin_in_the_middle(film, name, before):
    container, data = FILMS[name][0], before + film(name)
    assert decoder(data) == container
    assert verdict(data) == "passes"


@pytest.mark.parametrize("name", ["mp3 without a tag", "mp2", "aac", "flac"])
def test_sound_may_follow_on_a_tag_or_on_silence(film, name):
    container, data = FILMS[name][0], film(name)
    tag = b"ID3\4\0\0\0\0\7\x76" + bytes(1014)
    assert decoder(tag + data) == container
    assert verdict(tag + data) == verdict(tag) == "passes"
    if container == "mp3":
        assert decoder(bytes(3000) + data) == container
        assert verdict(bytes(3000) + data[:200]) == "passes"


@pytest.mark.parametrize("kind", [b"free", b"skip", b"wide", b"mdat", b"junk", b"uuid", b"pnot", b"udta", b"abcd"])
@pytest.mark.parametrize("size", [8, 1000])
def test_a_movie_may_begin_with_any_atom(film, kind, size):
    data = film("mov")
    moved = struct.pack(">I4s", size, kind) + bytes(size - 8) + data
    assert verdict(moved) == "passes"


def test_an_atom_may_have_a_long_size(film):
    data = film("mov")
    moved = struct.pack(">I4sQ", 1, b"abcd", 100) + bytes(84) + data
    assert verdict(moved) == "passes"
    assert verdict(struct.pack(">I4sQ", 1, b"abcd", 1 << 62)) != "passes"
    assert verdict(struct.pack(">I4sI4s", 0, b"abcd", 8, b"ftyp")) == "invalid_video"  # 0: it lasts to the end


@pytest.mark.parametrize("name", FOREIGNERS)
def test_what_is_another_format_has_the_decoders_code(film, name):
    data = film(name)
    assert verdict(data) == decoder(data) == "unsupported_container"


@pytest.mark.parametrize("path", sorted(MEDIA.iterdir()), ids=lambda path: path.name)
def test_the_media_of_the_tests(path):
    data = path.read_bytes()
    found = verdict(data)
    assert found in ("passes", decoder(data))
    assert (found == "passes") == (path.name not in ("empty.mp4", "not_a_video.mp4", *(p.name for p in TEXTS)))


TEXTS = [path for path in MEDIA.iterdir() if path.suffix in (".json", ".md", ".py")]


@pytest.mark.parametrize(
    ("data", "code"),
    {
        "nothing": (b"", "empty_file"),
        "a byte": (b"\0", "invalid_video"),
        "zeros": (bytes(HEAD_BYTES), "invalid_video"),
        "ones": (b"\xff" * HEAD_BYTES, "invalid_video"),
        "a page": (b"<!DOCTYPE html><html><title>Sign in</title></html>", "invalid_video"),
        "an error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "invalid_video"),
        "JSON": (b'{"error": "expired"}', "invalid_video"),
        "text": (b"The quick brown fox jumps over the lazy dog. " * 2000, "invalid_video"),
        "a key": (b"-----BEGIN PRIVATE KEY-----\n", "invalid_video"),
        "accounts": (b"root:x:0:0:root:/root:/bin/bash\n", "invalid_video"),
        "a program": (b"\x7fELF" + bytes(5000), "invalid_video"),
        "an archive": (b"PK\3\4" + NOISE, "invalid_video"),
        "compressed": (b"\x1f\x8b\x08" + NOISE, "invalid_video"),
        "a document": (b"%PDF-1.7\n" + NOISE, "invalid_video"),
        "noise": (NOISE, "invalid_video"),
        "HLS": (b"#EXTM3U\n#EXTINF:1,\na.ts\n", "invalid_video"),
        "HLS after blanks": (b"\xef\xbb\xbf\n #EXTM3U\n", "invalid_video"),
        "DASH": (b"<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'>", "invalid_video"),
        "SDP": (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "invalid_video"),
        "concat": (b"ffconcat version 1.0\nfile a.mp4\n", "unsupported_container"),
        "subtitles": (b"WEBVTT\n\n00:00.000 --> 00:01.000\na\n", "unsupported_container"),
        "HEIC": (b"\0\0\0\x18ftypheic" + bytes(200), "unsupported_container"),
        "animated WebP": (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02" + bytes(50), "unsupported_container"),
        "TIFF": (b"II*\0\x08\0\0\0" + bytes(50), "unsupported_container"),
    }.values(),
)
def test_what_is_no_media(data, code):
    assert verdict(data) == code


@given(st.binary(max_size=2000), st.sampled_from([b"", *sorted(FOREIGN), b"RIFF", b"ID3", b"\xff\xfb\x90", b"G"]))
def test_any_bytes_have_a_verdict(data, start):
    assert verdict(start + data) in ("passes", "empty_file", "invalid_video", "unsupported_container")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3000))
def test_no_text_is_taken_for_a_stream(text):
    data = text.encode()
    assert not any(RECOGNISERS[name](data) for name in ("mpeg", "mp3", "aac")) or data.startswith(b"ID3")
