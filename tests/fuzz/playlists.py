"""Files that ask for other files: playlists, manifests, scripts, references, and media with such things inside.

`{file}` stands for the path of a canary beside the file, `{name}` for its bare name, `{port}` for a port that listens.
"""

import struct
from pathlib import Path

MEDIA = Path(__file__).parents[1] / "media"

ENTRY = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
HTTP = "http://127.0.0.1:{port}/a.ts"
MPD = '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>{}</Period></MPD>'
SET = '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">{}</Representation></AdaptationSet>'
XML = '<?xml version="1.0"?>'

HLS = {
    f"hls {name}": ENTRY.format(entry)
    for name, entry in {
        "file": "{file}",
        "relative": "{name}",
        "file url": "file://{file}",
        "file protocol": "file:{file}",
        "http": HTTP,
        "https": "https://127.0.0.1:{port}/a.ts",
        "ftp": "ftp://127.0.0.1:{port}/a.ts",
        "tcp": "tcp://127.0.0.1:{port}",
        "udp": "udp://127.0.0.1:{port}",
        "rtmp": "rtmp://127.0.0.1:{port}/a",
        "gopher": "gopher://127.0.0.1:{port}/a",
        "unix": "unix:{file}",
        "concat": "concat:{file}|http://127.0.0.1:{port}/x",
        "subfile": "subfile,,start,0,end,99,,:{file}",
        "crypto": "crypto+file:{file}",
        "async": "async:{file}",
        "cache": "cache:http://127.0.0.1:{port}/a.ts",
        "data": "data:video/mp4;base64,AAAAFGZ0eXBpc29tAAAAAGlzb20=",
        "pipe": "pipe:0",
        "descriptor": "fd:0",
        "device": "/dev/zero",
        "environment": "/proc/self/environ",
        "pattern": "%s/{name}",
    }.items()
} | {
    "hls key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:{port}/k"\n#EXTINF:1,\n{name}\n',
    "hls session key": '#EXTM3U\n#EXT-X-SESSION-KEY:METHOD=AES-128,URI="http://127.0.0.1:{port}/k"\n'
    + ENTRY.format(HTTP),
    "hls map": '#EXTM3U\n#EXT-X-MAP:URI="{file}"\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n',
    "hls byte range": "#EXTM3U\n#EXT-X-BYTERANGE:99@0\n#EXTINF:1,\n{file}\n#EXT-X-ENDLIST\n",
    "hls master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:{port}/m.m3u8\n",
    "hls rendition": '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI="{file}"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{name}\n',
    "hls live": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n" + HTTP + "\n",
    "hls after a mark": "\ufeff" + ENTRY.format("{file}"),
    "hls after blanks": "\n \t\n" + ENTRY.format("{file}"),
    "hls after a comment": "#\n" + ENTRY.format("{file}"),
    "hls with returns": ENTRY.format("{file}").replace("\n", "\r\n"),
}
SCRIPTS = HLS | {
    "ffconcat": "ffconcat version 1.0\nfile {name}\n",
    "ffconcat absolute": "ffconcat version 1.0\nfile '{file}'\n",
    "ffconcat http": "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\n",
    "ffconcat options": "ffconcat version 1.0\nfile '{file}'\noption protocol_whitelist file,http,tcp\noption safe 0\n",
    "ffconcat of playlists": "ffconcat version 1.0\nfile 'hls+http://127.0.0.1:{port}/a.m3u8'\n",
    "concat protocol": "concat:{file}|{file}",
    "subfile protocol": "subfile,,start,0,end,99,,:{file}",
    "data url": "data:text/plain;base64,I0VYVE0zVQo=",
    "file url": "file://{file}",
    "dash file": XML + MPD.format("<BaseURL>{file}</BaseURL>" + SET.format("")),
    "dash http": XML
    + MPD.format("<BaseURL>http://127.0.0.1:{port}/</BaseURL>" + SET.format("<BaseURL>a.mp4</BaseURL>")),
    "dash template": XML
    + MPD.format(SET.format('<SegmentTemplate media="{file}" initialization="{file}" duration="1"/>')),
    "dash list": XML + MPD.format(SET.format('<SegmentList><SegmentURL media="{file}"/></SegmentList>')),
    "dash link": XML + MPD.format('<AdaptationSet xmlns:xlink="x" xlink:href="http://127.0.0.1:{port}/p"/>'),
    "dash without a prologue": MPD.format("<BaseURL>{file}</BaseURL>"),
    "xml entity": XML + '<!DOCTYPE a [<!ENTITY x SYSTEM "file://{file}">]><MPD>&x;</MPD>',
    "smooth streaming": XML
    + '<SmoothStreamingMedia><StreamIndex Url="http://127.0.0.1:{port}/v"/></SmoothStreamingMedia>',
    "imf": XML + '<CompositionPlaylist xmlns="http://www.smpte-ra.org/x"><Path>{file}</Path></CompositionPlaylist>',
    "sdp": "v=0\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "sdp session": "v=0\ns=x\na=control:rtsp://127.0.0.1:{port}/\nm=video 0 RTP/AVP 26\n",
    "rtsp text": "rtsptext\nrtsp://127.0.0.1:{port}/a\n",
    "asf reference": "[Reference]\nRef1=http://127.0.0.1:{port}/a.asf?MSWMExt=.asf\n",
    "asx": '<asx version="3.0"><entry><ref href="http://127.0.0.1:{port}/a"/></entry></asx>',
    "pls": "[playlist]\nFile1={file}\nFile2=http://127.0.0.1:{port}/a\nNumberOfEntries=2\nVersion=2\n",
    "m3u": "{file}\n",
    "xspf": XML + "<playlist><trackList><track><location>file://{file}</location></track></trackList></playlist>",
    "wpl": '<?wpl version="1.0"?><smil><body><seq><media src="{file}"/></seq></body></smil>',
    "smil": '<smil><body><video src="{file}"/></body></smil>',
    "ram": "http://127.0.0.1:{port}/a.rm\n",
    "edl": "# mpv EDL v0\n{file}\n",
    "cue": 'FILE "{file}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "shortcut": "[InternetShortcut]\nURL=file://{file}\n",
    "ffmetadata": ";FFMETADATA1\ntitle={file}\n[STREAM]\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=9\n",
    "avisynth": 'AVISource("{file}")\n',
    "filter graph": "movie={file}",
    "webvtt": "WEBVTT\n\n00:00.000 --> 00:01.000\n<img src='{file}'>\n",
    "ass": "[Script Info]\nScriptType: v4.00+\n[Fonts]\nfontname: {file}\n[Events]\nDialogue: 0,0:0:0,0:0:1,,x\n",
    "subrip": "1\n00:00:00,000 --> 00:00:01,000\n{{\\1img({file})}}\n",
    "vobsub": "# VobSub index file, v7 (do not modify this line!)\nid: en\ntimestamp: 00:00:00:000, filepos: 0\n",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{file}"/></svg>',
    "svg http": XML + '<svg xmlns="http://www.w3.org/2000/svg"><use href="http://127.0.0.1:{port}/"/></svg>',
    "html": '<!DOCTYPE html><video src="{file}"></video>',
    "postscript": "%!PS\n({file}) (r) file\n",
    "image pattern": "{name}%03d.png",
}


def _chunk(name: bytes, content: bytes) -> bytes:
    """A RIFF chunk."""
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _box(name: bytes, content: bytes) -> bytes:
    """An MP4 box."""
    return struct.pack(">I", 8 + len(content)) + name + content


def _read(name: str) -> bytes:
    return (MEDIA / name).read_bytes()


def _gab2(content: bytes) -> bytes:
    """An AVI whose second stream is a subtitle file (CVE-2017-9993): its first packet becomes a GAB2 block."""
    data = _read("mpeg4.avi").replace(b"auds", b"txts", 1)
    at = data.index(b"01wb", data.index(b"movi"))
    size = struct.unpack_from("<I", data, at + 4)[0]
    block = b"GAB2\0" + struct.pack("<HI", 2, 2) + b"x\0" + struct.pack("<HI", 4, len(content)) + content
    assert len(block) <= size
    return data[: at + 8] + block.ljust(size, b"\0") + data[at + 8 + size :]


def _elsewhere(reference: bytes) -> bytes:
    """A QuickTime film whose samples lie in another file: the data reference of each track is replaced."""
    data = _read("talking_face.mp4")
    for _ in range(2):
        at = data.index(b"\0\0\0\x0curl \0\0\0\1")
        data = data[:at] + reference[:12].ljust(12, b"\0") + data[at + 12 :]
    return data


def _reference_film(url: str) -> bytes:
    """A QuickTime reference film: nothing but the address of another one."""
    pointer = _box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", len(url)) + url.encode())
    return _box(b"ftyp", b"qt  \0\0\0\0qt  ") + _box(b"moov", _box(b"rmra", _box(b"rmda", pointer)))


def _alias(path: str) -> bytes:
    """The data reference of a classic Mac alias, with volume and absolute path, in a film that is otherwise whole."""
    record = bytes(4) + bytes(150) + struct.pack(">HH", 2, len(path)) + path.encode() + b"\0" * (len(path) % 2)
    record += struct.pack(">HH", 0xFFFF, 0)
    whole = _box(b"dref", bytes(4) + struct.pack(">I", 1) + _box(b"alis", record))
    data = _read("one_frame.mp4")
    at = data.index(b"dref") - 4
    old = struct.unpack_from(">I", data, at)[0]
    grown = len(whole) - old
    data = data[:at] + whole + data[at + old :]
    for parent in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = data.rindex(parent, 0, at) - 4
        data = data[:place] + struct.pack(">I", struct.unpack_from(">I", data, place)[0] + grown) + data[place + 4 :]
    return data


def _tagged(frame: bytes, content: bytes) -> bytes:
    """Sound behind an ID3 tag that refers to a picture elsewhere."""
    body = frame + struct.pack(">I", len(content)) + b"\0\0" + content
    size = bytes((len(body) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + body


def _files(url: str, path: str) -> dict[str, bytes]:
    playlist = ENTRY.format(url).encode()
    film, picture = _read("one_frame.mp4"), _read("face.png")
    link = f"<x:xmpmeta><img src='{url}'/></x:xmpmeta>".encode()
    return {
        "gab2 with a playlist": _gab2(playlist),
        "gab2 with a list of files": _gab2(b"ffconcat version 1.0\nfile " + path.encode()[:60]),
        "gab2 with a subtitle": _gab2(b"1\n00:00:00,000 --> 00:00:01,000\nx\n"),
        "samples elsewhere by url": _elsewhere(b"\0\0\0\x0curl \0\0\0\0"),
        "samples elsewhere by alias": _elsewhere(b"\0\0\0\x0calis\0\0\0\0"),
        "samples elsewhere by path": _alias(path),
        "samples elsewhere by relative path": _alias("/" + path.rsplit("/", 1)[-1]),
        "reference film by url": _reference_film(url),
        "reference film by path": _reference_film("file://" + path),
        "film in a film's name": _box(b"ftyp", b"isom\0\0\0\0isom") + _box(b"free", playlist) + film,
        "playlist before a film": playlist + film,
        "playlist behind a film": film + playlist,
        "playlist in a comment": film + _box(b"udta", _box(b"\xa9cmt", b"\0\0\0\0" + playlist)),
        "playlist with a tag": _tagged(b"PRIV", b"x\0") + playlist,
        "cover elsewhere": _tagged(b"APIC", b"\0-->\0\3\0" + url.encode()) + _read("audio_only.wav"),
        "picture elsewhere in a wave file": _chunk(
            b"RIFF",
            b"WAVE"
            + _chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8))
            + _chunk(b"LIST", b"INFO" + _chunk(b"IPRD", url.encode()))
            + _chunk(b"data", bytes(8000)),
        ),
        "png with text": picture[:33] + struct.pack(">I", len(link)) + b"iTXt" + link + bytes(4) + picture[33:],
        "jpeg with metadata": _read("face.jpg")[:2]
        + b"\xff\xe1"
        + struct.pack(">H", len(link) + 2)
        + link
        + _read("face.jpg")[2:],
        "webp with metadata": _chunk(b"RIFF", b"WEBP" + _chunk(b"XMP ", link) + _read("face.webp")[12:]),
    }


def playlists(canary: Path, port: int) -> dict[str, bytes]:
    """Every variant by name, for a canary file and a port that listens."""
    values = {"file": str(canary), "name": canary.name, "port": port}
    scripts = {name: text.format(**values).encode() for name, text in SCRIPTS.items()}
    wide = {f"{name} in 16 bits": scripts[name].decode().encode("utf-16") for name in ("hls file", "dash file")}
    return scripts | wide | _files(HTTP.format(port=port), str(canary))
