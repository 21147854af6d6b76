"""Playlists, descriptions and references: no reader follows them to another file or to the network."""

import ctypes
import io
import os
import socket
from pathlib import Path

import pytest

from aura_model.errors import MediaError
from aura_model.media import open_media
from aura_model.settings import load_config
from aura_model.sniff import check_head

MEDIA = Path(__file__).parents[1] / "media"
LIMITS = load_config(env={}).limits


class Watched:
    """A folder with a sibling file whose opening is noticed, and a port on which a connection is."""

    def __init__(self, folder):
        self.folder = folder
        self.sibling = folder / "sibling.mp4"
        self.sibling.write_bytes((MEDIA / "one_frame.mp4").read_bytes())
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._libc.inotify_init1(os.O_NONBLOCK)
        assert self._libc.inotify_add_watch(self._inotify, os.fsencode(self.sibling), 0x20) >= 0  # IN_OPEN
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setblocking(False)
        self.port = self._server.getsockname()[1]

    @property
    def opened(self):
        try:
            return bool(os.read(self._inotify, 4096))
        except BlockingIOError:
            return False

    @property
    def connected(self):
        try:
            self._server.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self):
        os.close(self._inotify)
        self._server.close()


@pytest.fixture
def watched(tmp_path):
    found = Watched(tmp_path)
    yield found
    found.close()


def test_the_watch_notices(watched):
    assert not watched.opened
    assert not watched.connected
    watched.sibling.read_bytes()
    socket.create_connection(("127.0.0.1", watched.port)).close()
    assert watched.opened
    assert watched.connected


SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=x
c=IN IP4 127.0.0.1
t=0 0
m=video {port} RTP/AVP 96
a=rtpmap:96 H264/90000
"""
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{entry}\n#EXT-X-ENDLIST\n"
MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><BaseURL>{entry}</BaseURL>'
    "</Period></MPD>"
)
SCRIPTS = {
    "hls file": HLS.replace("{entry}", "{sibling}"),
    "hls relative": HLS.replace("{entry}", "sibling.mp4"),
    "hls http": HLS.replace("{entry}", "http://127.0.0.1:{port}/a.ts"),
    "hls after a byte order mark": "\ufeff" + HLS.replace("{entry}", "{sibling}"),
    "hls after blanks": "\n \t\n" + HLS.replace("{entry}", "{sibling}"),
    "hls after a comment": "#\n" + HLS.replace("{entry}", "{sibling}"),
    "hls with a key": "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=http://127.0.0.1:{port}/k\n#EXTINF:1,\nsibling.mp4\n",
    "ffconcat": "ffconcat version 1.0\nfile sibling.mp4\n",
    "ffconcat absolute": "ffconcat version 1.0\nfile '{sibling}'\n",
    "ffconcat http": "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\n",
    "dash file": MPD.replace("{entry}", "{sibling}"),
    "dash http": MPD.replace("{entry}", "http://127.0.0.1:{port}/a.mp4"),
    "dash without a prologue": MPD.partition("?>")[2].replace("{entry}", "{sibling}"),
    "sdp": SDP,
    "edl": "# mpv EDL v0\n{sibling}\n",
    "m3u": "{sibling}\n",
    "smil": '<smil><body><video src="{sibling}"/></body></smil>',
    "imf": '<?xml version="1.0"?><CompositionPlaylist><Asset>{sibling}</Asset></CompositionPlaylist>',
    "hls with line ends of Windows": HLS.replace("{entry}", "{sibling}").replace("\n", "\r\n"),
    "hls after many blanks": " " * 100 + HLS.replace("{entry}", "{sibling}"),
    "hls by a file URL": HLS.replace("{entry}", "file://{sibling}"),
    "hls by concat": HLS.replace("{entry}", "concat:{sibling}|http://127.0.0.1:{port}/a.ts"),
    "hls by subfile": HLS.replace("{entry}", "subfile,,start,0,end,64,,:{sibling}"),
    "hls by crypto": HLS.replace("{entry}", "crypto+file:{sibling}"),
    "hls by data": HLS.replace("{entry}", "data:video/mp4;base64,AAAA"),
    "hls of lists": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:{port}/a.m3u8\n",
    "hls with a file's key": "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI={sibling}\n#EXTINF:1,\nsibling.mp4\n",
    "hls with a map": '#EXTM3U\n#EXT-X-MAP:URI="{sibling}"\n#EXTINF:1,\nsibling.mp4\n',
    "hls with another sound": '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="{sibling}"\n',
    "hls with byte ranges": "#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:64@0\nsibling.mp4\n",
    "ffconcat by subfile": "ffconcat version 1.0\nfile subfile,,start,0,end,64,,:{sibling}\n",
    "ffconcat with options": "ffconcat version 1.0\nfile sibling.mp4\noption safe 0\n",
    "concat without a version": "file '{sibling}'\n",
    "dash by a link": MPD.replace(
        "<BaseURL>{entry}</BaseURL>", '<AdaptationSet xlink:href="http://127.0.0.1:{port}/"/>'
    ),
    "dash with a template": MPD.replace("<BaseURL>{entry}</BaseURL>", '<SegmentTemplate media="sibling.mp4"/>'),
    "entity of dash": '<!DOCTYPE a [<!ENTITY b SYSTEM "file://{sibling}">]><MPD>&b;</MPD>',
    "sdp by TCP": SDP.replace("RTP/AVP", "TCP/RTP/AVP"),
    "sdp with line ends of Windows": SDP.replace("\n", "\r\n"),
    "pls": "[playlist]\nFile1={sibling}\nNumberOfEntries=1\n",
    "asx": '<asx version="3.0"><entry><ref href="http://127.0.0.1:{port}/a.mp4"/></entry></asx>',
    "xspf": '<?xml version="1.0"?><playlist><track><location>{sibling}</location></track></playlist>',
    "wpl": '<?wpl version="1.0"?><smil><body><seq><media src="{sibling}"/></seq></body></smil>',
    "ram": "http://127.0.0.1:{port}/a.rm\n",
    "rtsp text": "RTSPtext\nrtsp://127.0.0.1:{port}/a\n",
    "vobsub": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n",
    "avisynth": 'DirectShowSource("{sibling}")\n',
    "metadata": ";FFMETADATA1\ntitle={sibling}\n",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:{port}/a.png"/></svg>',
    "filter graph": "movie={sibling}[out0]\n",
}
"""Texts that lead elsewhere."""


RECOGNISED = {name for name in SCRIPTS if name.startswith(("hls", "dash", "sdp", "imf", "xspf"))}
RECOGNISED -= {"hls after a comment", "hls after many blanks"}
"""Those that are named in the refusal; the others are no known format."""


def test_there_are_enough():
    assert len(SCRIPTS) >= 40


def written(script, watched):
    """The bytes of a script that leads to what is watched."""
    return SCRIPTS[script].replace("{sibling}", str(watched.sibling)).replace("{port}", str(watched.port)).encode()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.m3u8", "clip.idx"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_playlist_opens_nothing(watched, monkeypatch, script, name):
    monkeypatch.chdir(watched.folder)
    (watched.folder / "clip.sub").symlink_to(watched.sibling)  # what an index of subtitles leads to
    path = watched.folder / name
    path.write_bytes(written(script, watched))
    with path.open("rb") as file, pytest.raises(MediaError) as error, open_media(file, LIMITS):
        pass
    assert error.value.code in {"invalid_video", "unsupported_container"}
    assert ("playlist" in error.value.detail) == (script in RECOGNISED)
    assert not watched.opened
    assert not watched.connected


@pytest.mark.parametrize("script", SCRIPTS)
def test_its_first_bytes_give_it_away(watched, script):
    """Before a download is complete, and with the decoder's code."""
    data = written(script, watched)
    with pytest.raises(MediaError) as by_decoder, open_media(io.BytesIO(data), LIMITS):
        pass
    with pytest.raises(MediaError) as by_head:
        check_head(data)
    assert by_head.value.code == by_decoder.value.code
    assert not watched.opened
    assert not watched.connected


def test_a_movie_whose_samples_lie_in_another_file_stays_closed(watched, films):
    data = films.film("mov", films.Pictures(range(3)))
    at = data.index(b"dref")
    assert data[at + 12 : at + 24] == b"\0\0\0\x0curl \0\0\0\1"
    moved = data.replace(b"\0\0\0\x0curl \0\0\0\1", b"\0\0\0\x0curl \0\0\0\0", 1)  # the samples are elsewhere
    path = watched.folder / "clip.mov"
    path.write_bytes(moved)
    with path.open("rb") as file, open_media(file, LIMITS):
        pass
    assert not watched.opened
