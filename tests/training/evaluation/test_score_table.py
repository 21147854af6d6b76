import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation import score_table
from training.evaluation.score_table import COLUMNS, ClipLine, ScoreTableError, VideoLines, read_scores, write_scores

HEADER = ",".join(COLUMNS)


def clip(number: int = 0, **changes: Any) -> ClipLine:
    return ClipLine(**{"clip": number, "track_id": 0, "start": 0.0, "end": 1.0, "logit": 0.5, **changes})


def video(video_id: str = "a", **changes: Any) -> VideoLines:
    return VideoLines(
        **{"video_id": video_id, "label": 1, "split": "test", "path": "/data/a.mp4", "clips": (clip(),), **changes}
    )


VIDEOS = [
    video("plain", clips=(clip(0, video_logit=0.25, audio_logit=-1e-9), clip(1, track_id=None, logit=-3.5))),
    video("broken", label=0, clips=(), error="corrupt_video", detail='a "quoted", detail\r\nin two lines'),
    video("=1+1", columns={"identity": "p1", "method": "Face, Swap"}),
    video(" <b>\N{RIGHT-TO-LEFT OVERRIDE}\N{SNOWMAN}\r", columns={"clip": "a name that the table has too"}),
]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A table with these rows under the usual header and these further columns."""

    def build(*rows: str, more: str = "") -> Path:
        path = tmp_path / "table.csv"
        path.write_text("\n".join([HEADER + more, *rows]) + "\n", encoding="utf-8")
        return path

    return build


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_scores(tmp_path / "new" / "table.csv", VIDEOS)
    assert read_scores(tmp_path / "new" / "table.csv") == VIDEOS
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.csv"]


def test_no_videos_are_a_header(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_scores(path, [])
    assert path.read_text().strip() == HEADER
    assert read_scores(path) == []


def test_any_spreadsheet_program_reads_it(tmp_path: Path) -> None:
    write_scores(tmp_path / "table.csv", VIDEOS)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["video_id"] for row in rows] == ["plain", "plain", *[one.video_id for one in VIDEOS[1:]]]
    assert list(rows[0]) == [*COLUMNS, "column:identity", "column:method", "column:clip"]
    assert (rows[0]["logit"], rows[0]["audio_logit"], rows[1]["track_id"], rows[1]["video_logit"]) == (
        "0.5",
        "-1e-09",
        "",
        "",
    )
    assert (rows[2]["clip"], rows[2]["logit"], rows[2]["error"]) == ("", "", "corrupt_video")


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False), st.text(min_size=1)),
        unique_by=lambda item: item[0],
        max_size=5,
    )
)
def test_any_text_and_any_number_come_back(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, float, str]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    videos = [video(name, clips=(clip(logit=logit),), columns={"note": note}) for name, logit, note in items]
    write_scores(path, videos)
    assert read_scores(path) == videos


def test_a_name_that_utf8_cannot_hold_is_escaped(tmp_path: Path) -> None:
    write_scores(tmp_path / "table.csv", [video("a\udcff", path="/x/\udcfe.mp4")])
    (found,) = read_scores(tmp_path / "table.csv")
    assert (found.video_id, found.path) == ("a\\udcff", "/x/\\udcfe.mp4")


def test_a_failed_write_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    write_scores(path, VIDEOS)

    def fail(*_: object) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(score_table, "_rows", fail)
    with pytest.raises(OSError, match="No space"):
        write_scores(path, VIDEOS)
    assert read_scores(path) == VIDEOS
    assert list(tmp_path.iterdir()) == [path]


def test_clips_may_come_in_any_order_and_apart(write: Callable[..., Path]) -> None:
    path = write("a,1,test,p,1,0,1,2,0.5,,,,", "b,0,test,p,0,,0,1,-1,,,,", "a,1,test,p,0,0,0,1,0.25,,,,", more="")
    first, second = read_scores(path)
    assert [one.clip for one in first.clips] == [0, 1]
    assert [one.logit for one in first.clips] == [0.25, 0.5]
    assert (second.video_id, second.clips[0].track_id) == ("b", None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,2,test,p,0,0,0,1,0.5,,,,", "line 2: label"),
        ("a,real,test,p,0,0,0,1,0.5,,,,", "line 2: label"),
        ("a,,test,p,0,0,0,1,0.5,,,,", "line 2: label"),
        (",1,test,p,0,0,0,1,0.5,,,,", "line 2: video_id"),
        ("a,1,dev,p,0,0,0,1,0.5,,,,", "line 2: split"),
        ("a,1,test,p,-1,0,0,1,0.5,,,,", r"line 2: clip\.clip"),
        ("a,1,test,p,0,-1,0,1,0.5,,,,", r"line 2: clip\.track_id"),
        ("a,1,test,p,0,x,0,1,0.5,,,,", r"line 2: clip\.track_id"),
        ("a,1,test,p,0,0,-1,1,0.5,,,,", r"line 2: clip\.start"),
        ("a,1,test,p,0,0,2,1,0.5,,,,", "line 2: a clip ends before it starts"),
        ("a,1,test,p,0,0,0,1,nan,,,,", r"line 2: clip\.logit"),
        ("a,1,test,p,0,0,0,1,inf,,,,", r"line 2: clip\.logit"),
        ("a,1,test,p,0,0,0,1,,,,,", r"line 2: clip\.logit"),
        ("a,1,test,p,0,0,0,1,0.5,-inf,,,", r"line 2: clip\.video_logit"),
        ("a,1,test,p,0,0,0,1,0.5,,,too_long,", "line 2: a row has either numbers or an error"),
        ("a,1,test,p,,,,,,,,,", r"line 2: clip\.clip"),
        ("a,1,test,p,0,0,0,1,0.5,,,", "line 2: not as many cells"),
        ("a,1,test,p,0,0,0,1,0.5,,,,,", "line 2: not as many cells"),
        ("a,1,tes", "line 2: not as many cells"),
        ('a,1,test,p,0,0,0,1,0.5,,,,"open', "line 1: unexpected end of data"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused_with_its_line(write: Callable[..., Path], row: str, said: str) -> None:
    with pytest.raises(ScoreTableError, match=said) as error:
        read_scores(write(row))
    assert error.value.code == "table_invalid"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a,1,test,p,0,0,0,1,0.5,,,,", "a,1,test,p,0,0,1,2,0.5,,,,"], "line 3: 'a' has clip 0 twice"),
        (["a,1,test,p,0,0,0,1,0.5,,,,", "a,0,test,p,1,0,1,2,0.5,,,,"], "line 3: the rows of 'a' differ"),
        (["a,1,test,p,0,0,0,1,0.5,,,,", "a,1,test,q,1,0,1,2,0.5,,,,"], "line 3: the rows of 'a' differ"),
        (["a,1,test,p,0,0,0,1,0.5,,,,", "a,1,test,p,,,,,,,,too_long,"], "line 3: the rows of 'a' differ"),
    ],
)
def test_rows_of_a_video_that_contradict_each_other_are_refused(
    write: Callable[..., Path], rows: list[str], said: str
) -> None:
    with pytest.raises(ScoreTableError, match=said):
        read_scores(write(*rows))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "lacks video_id"),
        (HEADER.replace(",logit", ""), "lacks logit"),
        (f"{HEADER},identity", r"strange, double or too many columns \['identity'\]"),
        (f"{HEADER},column:a,column:a", "double"),
        (f"{HEADER},{','.join(f'column:{n}' for n in range(500))}", "too many"),
    ],
)
def test_another_table_is_refused(tmp_path: Path, header: str, said: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{header}\n")
    with pytest.raises(ScoreTableError, match=said):
        read_scores(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe\x00", "not UTF-8"), (b"\x00" * 10, "lacks"), (HEADER.encode() + b"\n" + b"x" * 200_000, "line ")],
)
def test_bytes_that_are_no_table_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ScoreTableError, match=said):
        read_scores(path)


def test_a_byte_order_mark_is_no_part_of_the_header(write: Callable[..., Path]) -> None:
    path = write("a,1,test,p,0,0,0,1,0.5,,,,")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_scores(path)[0].video_id == "a"


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScoreTableError, match="No such file") as error:
        read_scores(tmp_path / "gone.csv")
    assert error.value.code == "table_missing"


@pytest.mark.parametrize(("bound", "said"), [("MAX_ROWS", "more than 1 rows"), ("MAX_BYTES", "larger than 1 bytes")])
def test_a_table_is_bounded(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, bound: str, said: str) -> None:
    path = write("a,1,test,p,0,0,0,1,0.5,,,,", "a,1,test,p,1,0,0,1,0.5,,,,")
    monkeypatch.setattr(score_table, bound, 1)
    with pytest.raises(ScoreTableError, match=said):
        read_scores(path)


def test_a_video_belongs_to_its_identity_where_that_is_known() -> None:
    assert video("a", columns={"identity": "b"}).cluster == ("identity", "b")
    assert video("b").cluster == ("video", "b")
