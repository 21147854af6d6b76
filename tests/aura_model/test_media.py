"""Opening untrusted media: what is refused, what is read, and what is never touched."""

import hashlib
import io
import struct
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from pydantic import ValidationError

from aura_model.errors import ConfigError, MediaError
from aura_model.media import AUDIO_PACKETS_PER_FRAME, MediaInfo, check_ffmpeg, check_size, open_media
from aura_model.settings import load_config
from aura_model.stills import HEIF_BRANDS

MEDIA = Path(__file__).parents[1] / "media"
LIMITS = load_config(env={}).limits

# name -> container, (video codec, packets), (audio codec, packets), seconds
READABLE = {
    "talking_face.mp4": ("mov,mp4,m4a,3gp,3g2,mj2", ("h264", 100), ("aac", 189), 4.0),
    "talking_face_b.mp4": ("mov,mp4,m4a,3gp,3g2,mj2", ("h264", 100), ("aac", 174), 4.0),
    "video_only.mp4": ("mov,mp4,m4a,3gp,3g2,mj2", ("h264", 75), None, 3.0),
    "audio_only.m4a": ("mov,mp4,m4a,3gp,3g2,mj2", None, ("aac", 189), 4.0),
    "audio_only.wav": ("wav", None, ("pcm_s16le", 63), 4.0),
    "rotated.mp4": ("mov,mp4,m4a,3gp,3g2,mj2", ("h264", 50), ("aac", 95), 2.0),
    "vfr.mp4": ("mov,mp4,m4a,3gp,3g2,mj2", ("h264", 41), ("aac", 156), 3.3),
    "hevc10.mp4": ("mov,mp4,m4a,3gp,3g2,mj2", ("hevc", 50), ("aac", 95), 2.0),
    "vp9.webm": ("matroska,webm", ("vp9", 50), ("opus", 101), 2.0),
    "no_duration.webm": ("matroska,webm", ("vp9", 50), ("opus", 101), 2.0),
    "mpeg4.avi": ("avi", ("mpeg4", 50), ("pcm_s16le", 32), 2.0),
    "fragmented.mp4": ("mov,mp4,m4a,3gp,3g2,mj2", ("h264", 50), ("aac", 95), 2.0),
    "long_gop.mp4": ("mov,mp4,m4a,3gp,3g2,mj2", ("h264", 500), None, 20.0),
    "one_frame.mp4": ("mov,mp4,m4a,3gp,3g2,mj2", ("h264", 1), None, 0.04),
    "face.jpg": ("jpeg_pipe", ("mjpeg", 1), None, 0.0),
    "face.png": ("png_pipe", ("png", 1), None, 0.0),
    "face.webp": ("webp_pipe", ("webp", 1), None, 0.0),
    "face_exif_rotated.jpg": ("jpeg_pipe", ("mjpeg", 1), None, 0.0),
}
REFUSED = {
    "empty.mp4": "empty_file",
    "not_a_video.mp4": "invalid_video",
    "huge_header.mp4": "resolution_too_large",
    "huge_frame.mp4": "resolution_too_large",
    "huge_header.png": "resolution_too_large",
    "ten_hours.mp4": "too_long",
    "unknown_codec.mp4": "unsupported_codec",
    "unsupported_codec.avi": "unsupported_codec",
    "one_pixel.webm": "resolution_too_small",
    "one_pixel.png": "resolution_too_small",
}


def read(name):
    return (MEDIA / name).read_bytes()


def opened(data, **limits):
    """What `open_media` yields for some bytes."""
    with open_media(io.BytesIO(data), LIMITS.model_copy(update=limits)) as media:
        return media


def refusal(data, **limits):
    """The code with which some bytes are refused."""
    with pytest.raises(MediaError) as error:
        opened(data, **limits)
    return error.value.code


def picture(extension, size=(64, 48), channels=3):
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return cv2.imencode(extension, image)[1].tobytes()


def noise(seconds, rate=48000):
    return np.random.default_rng(0).uniform(-0.1, 0.1, round(seconds * rate))


def patched(data, old, new):
    """Bytes with the first occurrence of `old` replaced by as many others."""
    assert len(old) == len(new)
    assert old in data
    return data.replace(old, new, 1)


def with_edit(data, media_time, seconds, scale):
    """An MP4 whose only edit list shows `seconds` (movie clock 1/1000) from `media_time` s (1/scale) on."""
    at = data.index(b"elst") + 12
    return data[:at] + struct.pack(">Ii", round(seconds * 1000), round(media_time * scale)) + data[at + 8 :]


# --- what is read ---


@pytest.mark.parametrize("name", READABLE)
def test_streams_packets_and_duration(name):
    container, video, audio, seconds = READABLE[name]
    media = opened(read(name))
    tracks = [track and (track.codec, len(track.packets)) for track in (media.video, media.audio)]
    assert tracks == [video, audio]
    assert media.container == container
    assert media.duration == pytest.approx(seconds, abs=0.03)
    assert media.still == name.startswith("face")
    assert not media.truncated


@pytest.mark.parametrize("name", READABLE)
def test_no_decoder_is_opened(name):
    with open_media(io.BytesIO(read(name)), LIMITS) as media:
        assert not [t for t in (media.video, media.audio) if t and t.context.is_open]


@pytest.mark.parametrize("name", ["talking_face.mp4", "face.png", "audio_only.wav"])
def test_sha256_and_size_are_those_of_the_bytes(name):
    media = opened(read(name))
    assert media.sha256 == hashlib.sha256(read(name)).hexdigest()
    assert media.bytes == len(read(name))


def test_the_digest_takes_several_blocks(films):
    data = films.film("wav", films.Sound(noise(20), "pcm_s16le"))
    assert len(data) > 1 << 20
    assert opened(data).sha256 == hashlib.sha256(data).hexdigest()


def facts(media):
    packets = [(p.pts, p.dts, p.size) for track in (media.video, media.audio) if track for p in track.packets]
    return media.sha256, media.container, media.duration, media.truncated, packets


def test_a_file_is_read_at_any_position_and_of_any_kind(tmp_path):
    expected = facts(opened(read("talking_face.mp4")))
    memory = io.BytesIO(read("talking_face.mp4"))
    memory.seek(1000)
    with open_media(memory, LIMITS) as media:
        assert facts(media) == expected
    with (MEDIA / "talking_face.mp4").open("rb") as file, open_media(file, LIMITS) as media:
        assert facts(media) == expected
    with tempfile.TemporaryFile() as unnamed:  # its name is a number
        unnamed.write(memory.getvalue())
        with open_media(unnamed, LIMITS) as media:
            assert facts(media) == expected
    with (MEDIA / "talking_face.mp4").open("rb", buffering=0) as raw, open_media(raw, LIMITS) as media:
        assert facts(media) == expected


@pytest.mark.parametrize("name", ["clip.m3u8", "clip.sdp", "clip.jpg", "clip", "-", "ünï 视频.mpd", "frame%03d.png"])
def test_the_name_says_nothing(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(read("one_frame.mp4"))
    with path.open("rb") as file, open_media(file, LIMITS) as media:
        assert media.container == "mov,mp4,m4a,3gp,3g2,mj2"


def test_what_was_read_outlives_the_container():
    """PyAV's streams point into memory that closing frees."""
    with open_media(io.BytesIO(read("talking_face.mp4")), LIMITS) as media:
        inside = facts(media), media.start, media.fps, media.video.codec, media.audio.span
    for _ in range(50):
        opened(read("vp9.webm"))
    assert (facts(media), media.start, media.fps, media.video.codec, media.audio.span) == inside
    assert sum(len(media.video.context.decode(packet)) for packet in [*media.video.packets, None]) == 100


# --- what is refused ---


@pytest.mark.parametrize("name", REFUSED)
def test_every_broken_file_has_its_code(name):
    assert refusal(read(name)) == REFUSED[name]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\0", "invalid_video"),
        (b"\0" * 100_000, "invalid_video"),
        (b"\x7fELF" + bytes(5000), "invalid_video"),
        (b"PK\3\4" + bytes(5000), "invalid_video"),
        (b"\0\0\0\x14ftypisom\0\0\0\0isom", "invalid_video"),
        (b"\x1a\x45\xdf\xa3" + bytes(5000), "invalid_video"),
        (b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;", "unsupported_container"),
        (b"BM" + struct.pack("<IIIIiiHH", 66, 0, 54, 40, 2, 2, 1, 24) + bytes(40), "unsupported_container"),
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02" + bytes(50), "unsupported_container"),
    ],
)
def test_bytes_that_are_no_media(data, code):
    assert refusal(data) == code


def test_another_picture_is_told_which_are_accepted():
    gif = b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    with pytest.raises(MediaError, match=r"MPEG-PS.*a picture as JPEG, PNG or WebP, or sound as.*FLAC"):
        opened(gif)


def test_an_animated_png_is_refused_by_name(films):
    data = films.film("apng", films.Pictures(range(3), codec="apng", pixels="rgb24", options={}))
    with pytest.raises(MediaError, match=r"Animated WebP and PNG are not accepted"):
        opened(data)


def test_the_rotation_is_told_with_what_it_leaves_out():
    assert "flipped vertically before" in MediaInfo.model_json_schema()["properties"]["rotation"]["description"]


@pytest.mark.parametrize("brand", sorted(HEIF_BRANDS))
def test_pictures_in_tiles_are_refused_by_name(brand):
    with pytest.raises(MediaError, match="HEIC and AVIF") as error:
        opened(b"\0\0\0\x18ftyp" + brand + bytes(200))
    assert error.value.code == "unsupported_container"


@pytest.mark.parametrize(
    ("name", "limit", "code"),
    [
        ("talking_face.mp4", {"max_bytes": 92_656}, "file_too_large"),
        ("talking_face.mp4", {"max_seconds": 2.9}, "too_long"),  # by the header
        ("no_duration.webm", {"max_seconds": 0.9}, "too_long"),  # by the packets: this header claims nothing
        ("fragmented.mp4", {"max_seconds": 0.9}, "too_long"),
        ("audio_only.wav", {"max_seconds": 2.9}, "too_long"),
        ("talking_face.mp4", {"max_pixels": 400 * 300 - 1}, "resolution_too_large"),
        ("face.jpg", {"max_pixels": 256 * 256 - 1}, "resolution_too_large"),
        ("face.png", {"max_pixels": 256 * 256 - 1}, "resolution_too_large"),
        ("face.webp", {"max_pixels": 256 * 256 - 1}, "resolution_too_large"),
        ("mpeg4.avi", {"max_pixels": 400 * 300 - 1}, "resolution_too_large"),
        ("talking_face.mp4", {"min_side": 301}, "resolution_too_small"),
        ("face.jpg", {"min_side": 257}, "resolution_too_small"),
        ("talking_face.mp4", {"max_frames": 99}, "too_many_frames"),
        ("audio_only.m4a", {"max_frames": 18}, "too_many_frames"),  # 188 packets of sound
        ("talking_face.mp4", {"max_streams": 1}, "too_many_streams"),
    ],
)
def test_each_limit_has_its_own_setting(name, limit, code):
    assert refusal(read(name), **limit) == code


def test_a_header_that_claims_hours_is_believed(films):
    data = films.film("matroska", films.Pictures(range(5)))
    at = data.index(b"\x44\x89\x88") + 3  # Duration, milliseconds
    assert refusal(data[:at] + struct.pack(">d", 36_000_000.0) + data[at + 8 :]) == "too_long"


def test_metadata_in_any_encoding_is_no_obstacle(films):
    data = films.film("mp4", films.Pictures(range(5)))
    at = data.index(b"Lavf")
    assert opened(data[:at] + b"\xff\xfe\xc3\x28" + data[at + 4 :]).video


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("talking_face.mp4", {"max_bytes": 92_657}),
        ("talking_face.mp4", {"max_seconds": 3.0}),
        ("no_duration.webm", {"max_seconds": 1.1}),
        ("talking_face.mp4", {"max_pixels": 400 * 300}),
        ("face.png", {"max_pixels": 256 * 256}),
        ("talking_face.mp4", {"min_side": 300}),
        ("talking_face.mp4", {"max_frames": 100}),
        ("audio_only.m4a", {"max_frames": 188 // AUDIO_PACKETS_PER_FRAME + 1}),
        ("talking_face.mp4", {"max_streams": 2}),
    ],
)
def test_what_just_meets_a_limit_is_accepted(name, limit):
    assert opened(read(name), **limit).bytes == len(read(name))


@pytest.mark.parametrize("kind", ["mp4", "mpegts", "avi", "matroska"])
def test_many_streams_are_refused(films, kind):
    sounds = [films.Sound(noise(0.1)) for _ in range(5)]
    data = films.film(kind, *sounds)
    assert refusal(data, max_streams=4) == "too_many_streams"
    assert opened(data, max_streams=5).audio


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ((0, 0), None),  # not known yet
        ((2, 2), None),
        ((1, 5000), "resolution_too_small"),
        ((4032, 3024), None),  # a phone's photo
        ((4096, 3072), None),
        ((4096, 3073), "resolution_too_large"),
        ((2**31, 2**31), "resolution_too_large"),
    ],
)
def test_frame_size(size, code):
    if code is None:
        check_size(*size, LIMITS)
    else:
        with pytest.raises(MediaError, match=f"^{code}: Frames are {size[0]}x{size[1]}"):
            check_size(*size, LIMITS)


def test_probing_a_claim_of_a_huge_frame_takes_no_memory():
    script = f"""
import resource, sys
from pathlib import Path
from aura_model.settings import load_config
from aura_model.errors import ConfigError, MediaError
from aura_model.media import open_media
limits = load_config(env={{}}).limits
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open({str(MEDIA / "one_frame.mp4")!r}, "rb") as file, open_media(file, limits):
    before = peak()
for name in {["huge_frame.mp4", "huge_header.mp4", "huge_header.png"]!r}:
    try:
        with open(Path({str(MEDIA)!r}) / name, "rb") as file, open_media(file, limits):
            sys.exit("opened")
    except MediaError as error:
        assert error.code == "resolution_too_large", error
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 50_000  # kilobytes; FFmpeg's own probe of the first one takes 700,000


# --- the decoders' release ---


@pytest.mark.parametrize("version", ["8.1.2", "8.1.3", "8.2", "9.0.2", "n8.1.2-3-gabcdef", "N-121212-g0123456"])
def test_a_patched_ffmpeg_is_accepted(version):
    check_ffmpeg(version)


@pytest.mark.parametrize("version", ["8.1.1", "8.1", "8.0.3", "n7.1.1-2ubuntu1", "4.1.6", "unknown", ""])
def test_an_ffmpeg_with_holes_is_refused(version):
    with pytest.raises(ConfigError, match=r"must be 8\.1\.2 or newer"):
        check_ffmpeg(version)


def test_the_ffmpeg_of_this_installation_is_a_patched_one():
    check_ffmpeg()


# --- what of it is chosen ---


def test_the_largest_picture_is_chosen(films):
    small, large = films.Pictures(range(5), size=(64, 32)), films.Pictures(range(5))
    for streams in ((small, large), (large, small)):
        assert opened(films.film("matroska", *streams)).video.context.width == 128


@pytest.mark.parametrize("thumbnail_first", [False, True])
@pytest.mark.parametrize(("kind", "codec"), [("mp4", "libx264"), ("matroska", "libx264"), ("mp4", "mjpeg")])
def test_a_larger_thumbnail_beside_a_video_is_not_chosen(films, kind, codec, thumbnail_first):
    """Players show the video; a thumbnail is not always marked as cover art. Matroska does not count its frames."""
    how = {"codec": "mjpeg", "pixels": "yuvj420p", "options": {}}
    video = films.Pictures(range(5), size=(64, 32), **(how if codec == "mjpeg" else {}))
    streams = video, films.Pictures(range(1), size=(256, 128), **how)
    media = opened(films.film(kind, *(reversed(streams) if thumbnail_first else streams)))
    assert (media.video.context.width, len(media.video.packets)) == (64, 5)


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_few_frames_beside_a_film_do_not_stand_for_it(films, kind, frames):
    """However large they are, and wherever they stand: a genuine face beside a forged one, say."""
    film, few = films.Pictures(range(100), size=(64, 32)), films.Pictures(range(frames), size=(256, 128))
    for streams in ((film, few), (few, film)):
        media = opened(films.film(kind, *streams))
        assert (media.video.context.width, len(media.video.packets)) == (64, 100)


def test_the_largest_of_two_films_is_chosen_also_where_it_is_a_little_shorter(films):
    """Two cameras; a picture in a picture."""
    large, small = films.Pictures(range(60)), films.Pictures(range(100), size=(64, 32))
    assert opened(films.film("mp4", small, large)).video.context.width == 128


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_of_several_sounds_the_default_is_chosen(films, kind):
    """Screen recorders write the sound of the machine first, and the microphone behind it."""
    data = films.film(kind, films.Sound(noise(0.5), rate=44100), films.Sound(noise(0.5), rate=48000))
    assert opened(data).audio.context.sample_rate == 44100
    source, out = av.open(io.BytesIO(data)), io.BytesIO()
    with source, av.open(out, "w", format=kind) as container:
        copies = [container.add_stream_from_template(stream) for stream in source.streams]
        copies[0].disposition, copies[1].disposition = Disposition(0), Disposition.default
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                container.mux(packet)
    assert opened(out.getvalue()).audio.context.sample_rate == 48000


@pytest.mark.parametrize("codec", ["pcm_f64be", "adpcm_ima_qt"])
def test_sound_of_older_cameras_is_heard(films, codec):
    media = opened(films.film("mov", films.Pictures(range(5)), films.Sound(noise(0.2), codec)))
    assert media.audio.codec == codec


def test_a_sound_that_begins_late_in_a_flash_video_spoils_nothing(films):
    """FFmpeg finds out about a stream of FLV when its first packet comes; at the end PyAV stumbles over that."""
    rng = np.random.default_rng(0)
    grain = [rng.integers(0, 255, (256, 512, 3), dtype=np.uint8) for _ in range(60)]
    flv = bytearray(films.film("flv", NoisyPictures(grain)))
    sound = films.film("flv", films.Sound(noise(0.5)))
    at = 13
    while at + 11 <= len(sound):
        length = int.from_bytes(sound[at + 1 : at + 4], "big") + 15
        tag = bytearray(sound[at : at + length])
        if tag[0] == 8:
            tag[4:7] = (int.from_bytes(tag[4:7], "big") + 2400).to_bytes(3, "big")
            flv += tag
        at += length
    assert len(opened(bytes(flv)).video.packets) == 60


class NoisyPictures:
    """Pictures that no encoder makes small: FFmpeg looks at so many bytes of a file before it is opened."""

    def __init__(self, pictures):
        self._pictures = pictures

    def packets(self, container):
        height, width = self._pictures[0].shape[:2]
        stream = container.add_stream("libx264", 25, options={"qp": "8", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in self._pictures]
        for time, frame in enumerate(frames):
            frame.pts, frame.time_base = time, Fraction(1, 25)
        return [packet for frame in frames for packet in stream.encode(frame)] + stream.encode(None)


def test_a_film_of_jpegs_alone_is_chosen(films):
    pictures = films.Pictures(range(5), codec="mjpeg", pixels="yuvj420p", options={})
    assert opened(films.film("matroska", pictures)).video.codec == "mjpeg"


class Announced:
    """A stream in the header of which no packet follows, as browsers record where a camera gave no frame."""

    def __init__(self, codec, **settings):
        self._codec, self._settings = codec, settings

    def packets(self, container):
        stream = container.add_stream(self._codec, **self._settings)
        if stream.type == "video":
            stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        return []


def test_a_video_that_is_only_announced_is_none(films):
    data = films.film("webm", Announced("libvpx", rate=25), films.Sound(noise(1), "libopus"))
    media = opened(data)
    assert media.video is None
    assert len(media.audio.packets) > 40
    assert media.duration == pytest.approx(1, abs=0.05)
    assert (media.start, media.fps, media.truncated) == (media.audio.start, 0, False)


def test_sound_that_is_only_announced_is_none(films):
    media = opened(films.film("matroska", films.Pictures(range(25)), Announced("aac", rate=48000)))
    assert media.audio is None
    assert len(media.video.packets) == 25
    assert not media.truncated


@pytest.mark.parametrize("first", ["large", "small"])
def test_a_larger_picture_that_cannot_be_decoded_is_passed_over(films, first):
    large = films.Pictures(range(5), codec="ffv1", options={})
    small = films.Pictures(range(5), size=(64, 32))
    media = opened(films.film("matroska", *((large, small) if first == "large" else (small, large))))
    assert media.video.codec == "h264"


def test_a_picture_of_an_unknown_codec_is_passed_over(films):
    data = films.film("mp4", films.Pictures(range(5)), films.Pictures(range(5), size=(64, 32)))
    tables = data.index(b"stsd")
    media = opened(data[:tables] + patched(data[tables:], b"avc1", b"zzzz"))
    assert media.video.context.width == 64


def test_the_first_sound_that_can_be_decoded_is_chosen(films):
    data = films.film("matroska", films.Sound(noise(0.5)), films.Sound(noise(0.5), "pcm_s16le", 16000))
    assert opened(data).audio.codec == "aac"
    assert opened(patched(data, b"A_AAC", b"A_XXX")).audio.codec == "pcm_s16le"
    foreign = films.Sound(noise(0.5), "tta")
    assert opened(films.film("matroska", foreign, films.Sound(noise(0.5)))).audio.codec == "aac"


def test_sound_that_cannot_be_decoded_is_none(films):
    data = films.film("matroska", films.Pictures(range(5)), films.Sound(noise(0.2)))
    media = opened(patched(data, b"A_AAC", b"A_XXX"))
    assert media.audio is None
    assert media.video


def test_nothing_to_decode_is_an_error(films):
    data = films.film("matroska", films.Sound(noise(0.2)))
    assert refusal(patched(data, b"A_AAC", b"A_XXX")) == "no_video_stream"


def test_cover_art_is_no_video(films):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        packets = films.Sound(noise(0.5)).packets(container)
        cover = container.add_stream("mjpeg", 1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        art = av.Packet(picture(".jpg"))
        art.stream, art.pts, art.dts, art.time_base = cover, 0, 0, packets[0].time_base
        container.mux([*packets, art])
    media = opened(file.getvalue())
    assert media.video is None
    assert media.audio.codec == "aac"


@pytest.mark.parametrize(
    ("first", "second", "rest"),
    [(".jpg", ".jpg", 0), (".jpg", ".jpg", 1000), (".png", ".png", 0), (".png", ".jpg", 1000)],
)
def test_a_still_is_its_first_picture(first, second, rest):
    """As phones append a gain map, a depth map or a short film to a photo."""
    media = opened(picture(first) + picture(second, (32, 24)) + bytes(rest))
    assert media.still
    assert len(media.video.packets) == 1
    assert media.duration == 0
    assert media.fps == 0


def test_a_photo_followed_by_its_film_is_the_photo():
    media = opened(picture(".jpg") + read("one_frame.mp4"))
    assert media.container == "jpeg_pipe"
    assert len(media.video.packets) == 1


# --- time ---


@pytest.mark.parametrize(
    ("name", "fps"),
    [("talking_face.mp4", 25), ("vfr.mp4", 41 / 3.3), ("fragmented.mp4", 25), ("one_frame.mp4", 25), ("face.jpg", 0)],
)
def test_frames_per_second(name, fps):
    assert opened(read(name)).fps == pytest.approx(fps, rel=0.01)


@pytest.mark.parametrize("kind", ["mp4", "matroska", "mpegts", "flv", "avi"])
def test_the_last_frame_counts_where_packets_have_no_duration(films, kind):
    media = opened(films.film(kind, films.Pictures(range(50))))
    assert media.duration == pytest.approx(2.0, abs=0.002)
    assert media.fps == pytest.approx(25, rel=0.002)


def test_packets_without_a_duration_are_taken_to_last_as_long_as_the_others(films):
    media = opened(films.film("mpegts", films.Pictures(range(50))))
    for packet in media.video.packets:
        packet.duration = 0
    assert media.video.end - media.video.start == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["mp4", "matroska", "mpegts", "flv", "avi"])
def test_one_frame_lasts_one_frame_at_most(films, kind):
    assert 0 <= opened(films.film(kind, films.Pictures(range(1)))).duration <= 0.041


def test_sound_alone_has_no_frames_per_second():
    assert opened(read("audio_only.m4a")).fps == 0


@pytest.mark.parametrize(
    ("video_ms", "sound_start", "sound_seconds", "start", "duration"),
    [
        (0, 0.0, 1.0, 0.0, 1.0),
        (0, 0.0, 3.0, 0.0, 3.0),  # the sound is longer
        (0, 2.0, 1.0, 0.0, 3.0),  # it begins when the picture is over
        (2000, 0.0, 1.0, 0.0, 3.0),  # the picture is late: players begin with the sound
        (2000, 0.0, 4.0, 0.0, 4.0),
        (500, 0.2, 0.5, 0.2, 1.3),
        (500, 0.4, 0.5, 0.5, 1.0),  # so little is the run-up of a codec
    ],
)
def test_time_runs_from_the_beginning_to_the_end_of_the_longer_track(
    films, video_ms, sound_start, sound_seconds, start, duration
):
    pictures = films.Pictures(range(25), times_ms=[video_ms + 40 * i for i in range(25)])
    sound = films.Sound(noise(sound_seconds), "pcm_s16le", start=sound_start)
    media = opened(films.film("matroska", pictures, sound))
    assert media.start == pytest.approx(start, abs=0.002)
    assert media.duration == pytest.approx(duration, abs=0.05)
    assert not media.truncated


def test_sound_alone_counts_from_its_own_start(films):
    media = opened(films.film("matroska", films.Sound(noise(1), "pcm_s16le", start=5)))
    assert media.start == pytest.approx(5, abs=0.002)
    assert media.duration == pytest.approx(1, abs=0.03)


def test_an_edit_list_cuts_both_ends(films):
    data = films.film("mp4", films.Pictures(range(50)))
    media = opened(with_edit(data, media_time=0.08 + 0.64, seconds=0.8, scale=12800))
    assert media.start == 0
    assert media.duration == pytest.approx(0.8)
    assert media.fps == pytest.approx(25)
    assert media.video.count == 20
    assert len(media.video.packets) > 20  # those before the cut are needed to decode
    assert not media.truncated


def test_an_edit_may_cut_away_more_than_frames_are_reordered(films):
    slow = films.Pictures(range(200), options={"preset": "ultrafast", "x264-params": "keyint=250:threads=1"})
    media = opened(with_edit(films.film("mp4", slow), media_time=5.0, seconds=2.0, scale=12800))
    assert media.start == 0
    assert media.duration == pytest.approx(2.0)


def test_a_transport_stream_may_wrap_its_clock(films):
    first = round(2**33 / 90) - 1000  # one second before the 33 bits are full
    data = films.film("mpegts", films.Pictures(range(50), times_ms=[first + 40 * i for i in range(50)]))
    assert opened(data).duration == pytest.approx(2.0, abs=0.05)


def test_sound_without_timestamps_has_the_length_that_is_estimated(films):
    media = opened(films.film("adts", films.Sound(noise(3), rate=44100)))
    assert media.audio.start is None
    assert media.audio.span is None
    assert media.duration == pytest.approx(3, rel=0.1)


def test_time_that_runs_backwards_is_no_duration(films):
    late = films.film("mpegts", films.Pictures(range(25), times_ms=[60_000 + 40 * i for i in range(25)]))
    early = films.film("mpegts", films.Pictures(range(25)))
    assert opened(late + early).duration >= 0


# --- damage ---


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("name", ["talking_face.mp4", "mpeg4.avi", "vp9.webm"])
def test_a_cut_file_keeps_what_is_there(name, share):
    whole, part = opened(read(name)), opened(read(name)[: round(len(read(name)) * share)])
    assert part.truncated
    assert part.video.span < 0.9 * whole.video.span
    kept = [packet.size for packet in part.video.packets]
    assert 0 < len(kept) < len(whole.video.packets)
    assert kept[:-1] == [packet.size for packet in whole.video.packets][: len(kept) - 1]


def test_the_truncated_file_says_so():
    media = opened(read("truncated.mp4"))
    assert media.truncated
    assert 52 <= len(media.video.packets) <= 60
    assert media.duration == pytest.approx(2.3, abs=0.1)


def test_an_index_that_is_cut_off_leaves_nothing():
    data = read("talking_face_b.mp4")  # the index is at the end
    assert refusal(data[: len(data) * 9 // 10]) == "invalid_video"


def test_a_longer_stream_that_is_not_read_is_no_truncation(films):
    streams = films.Pictures(range(25)), films.Sound(noise(1)), films.Sound(noise(9))
    assert not opened(films.film("mp4", *streams)).truncated


@pytest.mark.parametrize("kind", ["mp4", "matroska", "mpegts"])
def test_a_slow_slide_show_is_no_truncation(films, kind):
    slides = films.Pictures(range(5), rate=1, times_ms=[10_000 * i for i in range(5)])
    assert not opened(films.film(kind, slides)).truncated


def test_a_packet_of_an_absurd_size_is_damage():
    """FFmpeg says then that it has no memory."""
    data = read("talking_face.mp4")
    sizes = data.index(b"stsz", data.index(b"stsz") + 4) + 16  # of the sound
    media = opened(data[: sizes + 400] + b"\x2e" + data[sizes + 401 :])  # 771 MB for the 100th packet
    assert len(media.audio.packets) == 100
    assert 40 < len(media.video.packets) < 60
    assert media.truncated


@pytest.mark.parametrize("name", ["talking_face.mp4", "talking_face_b.mp4"])
def test_memory_that_runs_out_is_no_damage(name):
    class Exhausted(io.BytesIO):
        armed = False

        def read(self, size=-1):
            if self.armed and self.tell() > 50_000:  # the packets of the first file, the index of the second
                raise MemoryError
            self.armed |= self.tell() == len(self.getvalue())  # from when the digest is done
            return super().read(size)

    with pytest.raises(MemoryError), open_media(Exhausted(read(name)), LIMITS):
        pass


# --- facts for the reply ---

INFO = {
    "sha256": "0" * 64,
    "bytes": 1,
    "container": "avi",
    "duration": 1.0,
    "width": 1,
    "height": 1,
    "fps": 25.0,
    "rotation": 0,
    "video_codec": "h264",
    "audio_codec": None,
}


def test_media_info_accepts_plain_facts():
    assert MediaInfo.model_validate(INFO).model_dump() == INFO


@pytest.mark.parametrize(
    "change",
    [
        {"duration": float("nan")},
        {"duration": -1.0},
        {"fps": float("inf")},
        {"bytes": -1},
        {"width": -1},
        {"rotation": -90},
        {"container": "x" * 101},
        {"video_codec": "x" * 101},
        {"sha256": None},
        {"author": "someone"},
    ],
)
def test_media_info_refuses_what_no_file_has(change):
    with pytest.raises(ValidationError):
        MediaInfo.model_validate(INFO | change)
