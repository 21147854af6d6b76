import dataclasses
import json
from collections import OrderedDict
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from aura_model.redaction import (
    API_KEYS,
    MAX_DEPTH,
    MAX_TEXT,
    REDACTED,
    is_secret_name,
    redact,
    redact_text,
)

CANARY = "c4n4ryValue"


@pytest.mark.parametrize(
    "name",
    [
        *["password", "passwd", "token", "access_token", "secret", "client_secret", "api_key", "x-api-key"],
        *["authorization", "cookie", "set-cookie", "signature", "credential", "credentials", "private_key"],
        *["file_content", "image_bytes", "raw_data"],
        *["Password", "PASSWORD", "X-API-Key", "APIKEY", "apiKey", "APIKey", "accessToken", "Set-Cookie", "privateKey"],
        *["db_password", "AURA_API_KEY", "X-Amz-Signature", "x_amz_security_token", "proxy-authorization", "api.key"],
        *["aws_secret_access_key", "api_key_2", "sig"],
    ],
)
def test_a_secret_name_is_known_in_any_spelling(name: str) -> None:
    assert is_secret_name(name)
    assert redact({name: CANARY}) == {name: REDACTED}


@pytest.mark.parametrize(
    "name",
    [
        *["key", "keys", "monkey", "keypoints", "keyframe", "key_frame_index", "turkey", "hockey_score", "bucket"],
        *["token_count", "tokens", "tokenizer", "secretary", "signature_version", "cookies_enabled", "password_policy"],
        *["design", "signal", "author", "authorized", "raw", "data", "bytes", "video_url", "primary_key", "", "1", "_"],
    ],
)
def test_a_harmless_name_is_left(name: str) -> None:
    assert not is_secret_name(name)
    assert redact({name: "some value"}) == {name: "some value"}


HARMLESS = {
    "keypoints": [1, 2, 3],
    "monkey": "see, monkey do",
    "keyframe": 12,
    "error": "KeyError: face_boxes",
    "detail": 'missing required key "video_url"',
    "bucket": "s3 bucket with a keyboard",
    "socket": "closed by a turkey",
    "key": "dataset.video.frame_rate",
    "token_count": 77,
    "tokenizer": "the tokenizer has 3 secrets and no password",
    "design": "signature of f(x) and authorization by design",
}


def test_harmless_fields_with_key_in_name_or_value_stay() -> None:
    assert len(HARMLESS) == 11
    assert redact(HARMLESS) == HARMLESS
    for text in HARMLESS.values():
        assert redact_text(str(text)) == str(text)


@dataclasses.dataclass
class Login:
    user: str
    password: str
    child: Any = None


class LoginTuple(NamedTuple):
    user: str
    api_key: str


class Request(BaseModel):
    video_url: str
    client_secret: str
    inner: Login | None = None
    hidden: SecretStr = SecretStr("")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"b": [{"password": CANARY}]}}, {"a": {"b": [{"password": REDACTED}]}}),
        (OrderedDict(token=CANARY, n=1), {"token": REDACTED, "n": 1}),
        ([("authorization", CANARY), ("accept", "*/*")], [["authorization", REDACTED], ["accept", "*/*"]]),
        (Login("eve", CANARY), {"user": "eve", "password": REDACTED, "child": None}),
        (
            Login("e", CANARY, [LoginTuple("a", CANARY)]),
            {"user": "e", "password": REDACTED, "child": [{"user": "a", "api_key": REDACTED}]},
        ),
        (
            Request(video_url=f"https://h/v.mp4?t={CANARY}", client_secret=CANARY, inner=Login("e", CANARY)),
            {
                "video_url": f"https://h/v.mp4?{REDACTED}",
                "client_secret": REDACTED,
                "inner": {"user": "e", "password": REDACTED, "child": None},
                "hidden": "",
            },
        ),
        ({"values": {CANARY.upper()}}, {"values": [CANARY.upper()]}),
        ({"token": {"nested": CANARY}}, {"token": REDACTED}),
        ({"token": None, "secret": False}, {"token": None, "secret": False}),
        ({f"https://h/?{CANARY}": 1, 2: 3}, {f"https://h/?{REDACTED}": 1, "2": 3}),
    ],
)
def test_containers_are_followed(value: object, expected: object) -> None:
    assert redact(value) == expected


def test_a_secret_type_stays_masked() -> None:
    assert CANARY not in json.dumps(redact({"x": SecretStr(CANARY)}))


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (b"abcd", 4),
        (bytearray(5), 5),
        (memoryview(b"abc"), 3),
        (np.zeros((2, 3), np.float32), 24),
        (torch.zeros(3, dtype=torch.uint8), 3),
    ],
)
@pytest.mark.parametrize("name", ["frame", "image_bytes"])
def test_bytes_become_their_count(value: object, size: int, name: str) -> None:
    assert redact({name: [value]} if name == "frame" else {name: value}) in (
        {name: [f"<bytes {size}>"]},
        {name: f"<bytes {size}>"},
    )


class Colour(str, Enum):  # noqa: UP042
    RED = "red"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError(CANARY)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(7), 7),
        (torch.tensor(1.5), 1.5),
        (Colour.RED, "red"),
        (Path("a/b.mp4"), "a/b.mp4"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.float64("inf"), "inf"),
        (True, True),
        (None, None),
        (1 + 2j, "(1+2j)"),
        (Broken(), "<Broken that cannot be shown>"),
        (Login, "<class"),
    ],
)
def test_plain_values(value: object, expected: object) -> None:
    result = redact(value)
    json.dumps(result, allow_nan=False)
    assert result == expected or (isinstance(result, str) and result.startswith("<class"))


def test_depth_is_bounded_so_cycles_end() -> None:
    cycle: dict[str, Any] = {"password": CANARY}
    cycle["self"] = cycle
    text = json.dumps(redact(cycle))
    assert text.count('"self"') == MAX_DEPTH
    assert CANARY not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h.example/a/b.mp4?X-Amz-Signature=S&x=1", "https://h.example/a/b.mp4?<redacted>"),
        ("got https://h/v?sig=S, then", "got https://h/v?<redacted> then"),
        ("'https://h/v?sig=S'", "'https://h/v?<redacted>'"),
        ('{"u":"https://h/v?sig=S","n":1}', '{"u":"https://h/v?<redacted>","n":1}'),
        ("<https://h/v?sig=S>", "<https://h/v?<redacted>>"),
        ("https://h/it's?sig=S", "https://h/it's?<redacted>"),
        ("https://h/v?a='S'S\"S", "https://h/v?<redacted>"),
        ("https://h/v#access_token=S", "https://h/v?<redacted>"),
        ("https://h?S", "https://h?<redacted>"),
        ("https://eve:S@h.example:8443/v", "https://h.example:8443/v"),
        ("https://S@h/v?S", "https://h/v?<redacted>"),
        ("postgresql+psycopg://aura:S@db/aura", "postgresql+psycopg://db/aura"),
        ("s3://bucket/key.mp4", "s3://bucket/key.mp4"),
        ("https://h/path/@handle", "https://h/path/@handle"),
        ("HTTPS://H/V?S", "HTTPS://H/V?<redacted>"),
        (str(Path("https://eve:S@h/best.pth?sig=S")), "https:/h/best.pth?<redacted>"),
        ("C:/videos/a b.mp4 and 10:/x", "C:/videos/a b.mp4 and 10:/x"),
        ("a://b?S c://d?S", "a://b?<redacted> c://d?<redacted>"),
        ('"GET /predict?x=S HTTP/1.1" 200', '"GET /predict?<redacted> HTTP/1.1" 200'),
        ("data:video/mp4;base64,SSSS end", "data:<redacted> end"),
        ("https://h/my video.mp4?sig=S", "https://h/my video.mp4?sig=<redacted>"),
        ("who? me/you? 3/4?", "who? me/you? 3/4?"),
    ],
)
def test_urls_keep_scheme_host_and_path(text: str, expected: str) -> None:
    assert redact_text(text) == expected
    assert redact_text(expected) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=S", "password=<redacted>"),
        ("db_password = S, n=1", "db_password = <redacted>, n=1"),
        ("{'api_key': 'S S', 'n': 1}", "{'api_key': <redacted>, 'n': 1}"),
        ('{"token": "S", "n": 1}', '{"token": <redacted>, "n": 1}'),
        ("Authorization: Bearer S-token", "Authorization: <redacted>"),
        ("Authorization: Basic U1M=", "Authorization: <redacted>"),
        ("sent Bearer abcd1234SSSS on", "sent Bearer <redacted> on"),
        ("Cookie: a=S; b=S\nnext", "Cookie: <redacted>\nnext"),
        ("{'set-cookie': 'a=S; b=S', 'n': 1}", "{'set-cookie': <redacted>, 'n': 1}"),
        ("url: password=S", "url: password=<redacted>"),
        ("Login(user='e', password='S')", "Login(user='e', password=<redacted>)"),
        ("AccountKey=x;sig=S;n=1", "AccountKey=x;sig=<redacted>;n=1"),
        ("eyJhbGciOi.eyJzdWIi.SSS-S end", "<redacted> end"),
        ("id AKIAIOSFODNN7EXAMPLE", "id <redacted>"),
        ("clip_AKIAIOSFODNN7EXAMPLE.mp4", "clip_<redacted>.mp4"),
        ("clip_eyJhbGciOi.eyJzdWIi.S-S_S", "clip_<redacted>"),
        ("xAKIAIOSFODNN7EXAMPLE AKIAIOSFODNN7EXAMPLES", "xAKIAIOSFODNN7EXAMPLE AKIAIOSFODNN7EXAMPLES"),
        ("the bearer of good news", "the bearer of good news"),
        ("a basic introduction", "a basic introduction"),
        ("keypoints=5 monkey=1", "keypoints=5 monkey=1"),
    ],
)
def test_secrets_in_text(text: str, expected: str) -> None:
    assert redact_text(text) == expected
    assert redact_text(expected) == expected


@pytest.mark.parametrize(
    ("keys", "text", "expected"),
    [
        (None, "a key-of-sixteen-chars", "a key-of-sixteen-chars"),
        ("", "a , b", "a , b"),
        (",a,", "a , b", "a , b"),
        ("bare-key+of/16=chars", "x bare-key+of/16=chars;", "x <redacted>;"),
        (
            "one:first-key-16-chars, two:second-key-16chars",
            "afirst-key-16-charsb second-key-16chars",
            "a<redacted>b <redacted>",
        ),
        ("one:sha256:" + "a" * 64, "a" * 64, "<redacted>"),
        ("one:first-key-16-chars", "one may call", "one may call"),
    ],
)
def test_the_keys_of_this_process_are_known_by_value(
    monkeypatch: pytest.MonkeyPatch, keys: str | None, text: str, expected: str
) -> None:
    monkeypatch.delenv(API_KEYS, raising=False)
    if keys is not None:
        monkeypatch.setenv(API_KEYS, keys)
    assert redact_text(text) == expected
    assert redact({"a": [text]}) == {"a": [expected]}


@pytest.mark.parametrize("name", ["video_url", "videoUrl", "url", "callback-uri", "href"])
@pytest.mark.parametrize("text", ["//h/v?S", "h/v?S", "h/v?a b S", "h/v?a\nS"])
def test_a_url_field_loses_its_query_though_it_has_no_scheme(name: str, text: str) -> None:
    assert redact(text, name=name) == text.partition("?")[0] + "?<redacted>"


def test_long_text_loses_its_middle() -> None:
    result = redact_text("a" * MAX_TEXT + "b" * MAX_TEXT)
    assert len(result) < MAX_TEXT + 50
    assert result.startswith("aaa")
    assert result.endswith("bbb")
    assert f"<{MAX_TEXT} characters>" in result


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit", ["a", "a ", "://", "?", "'", "a=", "token=", "a:", "eyJ.", "-eyJ", "/", "bearer ", "@", "-", ";"]
)
def test_work_grows_with_the_length_alone(unit: str) -> None:
    """Client text of a megabyte must not stall the process: a quadratic pattern needs hours, a linear one a second."""
    assert len(redact_text(unit * (1_000_000 // len(unit)))) < MAX_TEXT + 50


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@given(json_like)
def test_anything_becomes_json_and_is_not_changed_in_place(value: object) -> None:
    before = repr(value)
    json.dumps(redact(value), allow_nan=False)
    assert repr(value) == before


@given(st.text(), st.text(), st.sampled_from(["https://h/v?t=", "password='", "Authorization: Bearer "]))
def test_the_secret_never_survives_its_surroundings(before: str, after: str, marker: str) -> None:
    quote = "'" if marker.endswith("'") else ""
    assert CANARY not in redact_text(f"{before} {marker}{CANARY}{quote} {after}")
