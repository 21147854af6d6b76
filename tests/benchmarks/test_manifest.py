"""Manifests as people keep them."""

import json
from pathlib import Path

import pytest
from manifest import Entry, parse_expected, read_manifest

EXPECTED = [
    ("200", 200, {"real"}, True),
    ("200", 422, {"no_video_stream"}, False),
    ("ok", 200, {"fake"}, True),
    ("OK", 200, {"fake"}, True),
    ("422 corrupt_video", 422, {"corrupt_video"}, True),
    ("422 corrupt_video", 422, {"invalid_video"}, False),
    ("422 corrupt_video", 413, {"corrupt_video"}, False),
    ("422", 422, {"anything"}, True),
    ("4xx", 413, {"file_too_large"}, True),
    ("4xx", 500, {"internal"}, False),
    ("no_video_stream", 422, {"no_video_stream"}, True),
    ("no_video_stream", 422, {"invalid_video"}, False),
    ("200|422 no_video_stream", 200, {"not_applicable", "no_face"}, True),
    ("200|422 no_video_stream", 422, {"no_video_stream"}, True),
    ("200|422 no_video_stream", 422, {"empty_file"}, False),
    ("200 or 422 no_video_stream", 422, {"no_video_stream"}, True),
    ("200, 413 file_too_large", 413, {"file_too_large"}, True),
    ("200 no_face", 200, {"not_applicable", "no_face"}, True),
    ("200 no_face", 200, {"real"}, False),
]


@pytest.mark.parametrize(("text", "status", "words", "agrees"), EXPECTED)
def test_what_is_expected(text: str, status: int, words: set[str], agrees: bool) -> None:
    assert Entry("a.mp4", Path("a.mp4"), text).agrees(status, words) is agrees


def test_where_nothing_is_known_nothing_is_judged() -> None:
    assert parse_expected("") == []
    assert Entry("a.mp4", Path("a.mp4"), "").agrees(200, {"real"}) is None


ROWS = [("a b,c.mp4", "200"), ("sub/имя 🎬.mp4", "422 invalid_video")]
FORMS = {
    "manifest.csv": 'file,bytes,expected\n"a b,c.mp4",5,200\nsub/имя 🎬.mp4,7,422 invalid_video\n',
    "manifest.tsv": "path\texpected\na b,c.mp4\t200\nsub/имя 🎬.mp4\t422 invalid_video\n",
    "manifest.json": json.dumps([{"filename": file, "expected": text} for file, text in ROWS]),
    "manifest.jsonl": "".join(json.dumps({"name": file, "outcome": text}) + "\n" for file, text in ROWS),
}


@pytest.mark.parametrize(("name", "content"), FORMS.items())
def test_all_forms_say_the_same(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_manifest(tmp_path) == [Entry(file, tmp_path / file, text) for file, text in ROWS]


@pytest.mark.parametrize(
    "content",
    [
        {"files": [{"file": "a.mp4", "expected": "422 too_long"}]},
        {"a.mp4": "422 too_long"},
        {"a.mp4": {"status": 422, "code": "too_long"}},
        [{"file": "a.mp4", "expected_status": 422, "expected_code": "too_long"}],
        [{"file": "a.mp4", "expected": {"status": 422, "code": "too_long"}}],
        [{"File": "a.mp4", " Expected ": ["200 real", "422 too_long"]}],
    ],
)
def test_shapes_of_json(tmp_path: Path, content: object) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    (entry,) = read_manifest(tmp_path)
    assert entry.file == "a.mp4"
    assert entry.agrees(422, {"too_long"})
    assert not entry.agrees(422, {"empty_file"})


def test_a_byte_order_mark_and_a_line_break_in_a_field_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text('\ufefffile,odd,expected\na.mp4,"two\nlines",200\n')
    assert [(entry.file, entry.text) for entry in read_manifest(tmp_path)] == [("a.mp4", "200")]


def test_a_file_counts_once(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,expected\na.mp4,200\na.mp4,422\n")
    assert [(entry.file, entry.text) for entry in read_manifest(tmp_path)] == [("a.mp4", "422")]


def test_a_manifest_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,expected\na.mp4,200\n")
    (entry,) = read_manifest(tmp_path / "media", tmp_path / "list.csv")
    assert entry.path == tmp_path / "media" / "a.mp4"


def test_without_a_manifest_every_file_counts(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.mp4", "sub/a.mp4"):
        (tmp_path / name).write_bytes(b"")
    assert [(entry.file, entry.text) for entry in read_manifest(tmp_path)] == [("b.mp4", ""), ("sub/a.mp4", "")]


def test_a_row_without_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("thing,expected\na.mp4,200\n")
    with pytest.raises(ValueError, match="names no file"):
        read_manifest(tmp_path)
