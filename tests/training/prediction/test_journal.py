import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aura_model.config import Config
from aura_model.reply import ModelInfo
from training.data.manifest import Sample
from training.prediction.journal import Journal, JournalError, JournalHeader, journal_path, open_journal
from training.prediction.model_facts import ModelFacts
from training.prediction.rows import PredictionRow, VideoError

HEADER = JournalHeader(model="v-1", settings="s")


def row(video_id: str, said: str = "said", path: str = "") -> PredictionRow:
    error = VideoError(code="empty_file", title="The file has no bytes.", detail=said)
    return PredictionRow(
        video_id=video_id, path=path or f"/videos/{video_id}.mp4", columns={}, analysis=None, error=error
    )


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "sub" / "out.jsonl"


@pytest.fixture
def samples(make_sample: Callable[..., Sample]) -> list[Sample]:
    return [make_sample(name) for name in "abcd"]


@contextmanager
def journal(output: Path, header: JournalHeader = HEADER, restart: bool = False) -> Iterator[Journal]:
    with open_journal(output, header, restart=restart) as opened:
        yield opened


def names(samples: list[Sample]) -> str:
    return "".join(sample.video_id for sample in samples)


def test_a_later_run_goes_on_where_an_earlier_one_was(output: Path, samples: list[Sample]) -> None:
    with journal(output) as first:
        assert names(first.missing(samples)) == "abcd"
        first.add(row("b"))
        first.add(row("a"))
    with journal(output) as second:
        assert len(second) == 2
        assert names(second.missing(samples)) == "cd"
        for name in "dc":
            second.add(row(name))
        assert second.missing(samples) == []
        assert list(second.rows(samples)) == [row(name) for name in "abcd"]
    assert len(journal_path(output).read_text().splitlines()) == 5


def test_a_row_is_in_the_file_as_soon_as_it_is_added(output: Path) -> None:
    with journal(output) as opened:
        opened.add(row("a"))
        header, line = journal_path(output).read_text().splitlines()
    assert JournalHeader.model_validate_json(header) == HEADER
    assert PredictionRow.model_validate_json(line) == row("a")


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_torn_last_line_is_cut_off(output: Path, samples: list[Sample], cut: int) -> None:
    with journal(output) as first:
        first.add(row("a"))
        first.add(row("b"))
    content = journal_path(output).read_bytes()
    journal_path(output).write_bytes(content[:-cut])
    with journal(output) as second:
        assert names(second.missing(samples)) == "bcd"
        second.add(row("b"))
    assert journal_path(output).read_bytes() == content


@pytest.mark.parametrize("tail", [b"\0" * 300, b"\0\n", b"{}\n", b'{"video_id": "b"}\n'])
def test_what_is_no_row_is_cut_off_with_all_that_follows(output: Path, samples: list[Sample], tail: bytes) -> None:
    with journal(output) as first:
        first.add(row("a"))
    good = journal_path(output).read_bytes()
    journal_path(output).write_bytes(good + tail + row("c").model_dump_json().encode() + b"\n")
    with journal(output) as second:
        assert names(second.missing(samples)) == "bcd"
    assert journal_path(output).read_bytes() == good


def test_a_torn_first_line_is_no_journal_yet(output: Path) -> None:
    with journal(output) as first:
        first.add(row("a"))
    journal_path(output).write_bytes(journal_path(output).read_bytes()[:20])
    with journal(output) as second:
        second.add(row("b"))
    with journal(output) as third:
        assert len(third) == 1


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (JournalHeader(model="v-2", settings="s"), "holds predictions of the model v-1, and this one is v-2"),
        (JournalHeader(model="v-1", settings="t"), "made with other settings"),
    ],
)
def test_predictions_of_another_kind_are_not_mixed(output: Path, header: JournalHeader, said: str) -> None:
    with journal(output) as first:
        first.add(row("a"))
    before = journal_path(output).read_bytes()
    with pytest.raises(JournalError, match=said) as caught, journal(output, header):
        pass
    assert caught.value.code == "journal_foreign"
    assert caught.value.detail.endswith("use --restart to begin anew")
    assert journal_path(output).read_bytes() == before
    with journal(output, header, restart=True) as anew:
        assert len(anew) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("my notes\n", "is no journal of predictions"),
        ("{}", "is no journal of predictions"),
        ('{"format":"aura-predictions-9"}\n' + row("a").model_dump_json() + "\n", "is of another release"),
    ],
)
def test_a_file_that_is_no_journal_of_ours_is_left_as_it_is(output: Path, content: str, said: str) -> None:
    output.parent.mkdir()
    journal_path(output).write_text(content)
    with pytest.raises(JournalError, match=said), journal(output):
        pass
    assert journal_path(output).read_text() == content


def test_only_one_run_at_a_time(output: Path) -> None:
    with journal(output) as first:
        first.add(row("a"))
        with pytest.raises(JournalError, match="another run is writing"), journal(output, restart=True):
            pass
    with journal(output) as after:
        assert len(after) == 1


def test_a_journal_without_rows_leaves_nothing(output: Path) -> None:
    with journal(output):
        assert journal_path(output).exists()
    assert list(output.parent.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot write") as caught, journal(tmp_path / "file" / "out.jsonl"):
        pass
    assert caught.value.code == "journal_unwritable"


def test_input_that_changed_meanwhile(output: Path, make_sample: Callable[..., Sample]) -> None:
    with journal(output) as first:
        for name in "abc":
            first.add(row(name))
    now = [make_sample("new"), make_sample("c", note="later"), make_sample("a", path="/elsewhere/a.mp4")]
    with journal(output) as second:
        assert names(second.missing(now)) == "newa"
        second.add(row("new"))
        second.add(row("a", "of the other file", "/elsewhere/a.mp4"))
        rows = list(second.rows(now))
    assert [one.video_id for one in rows] == ["new", "c", "a"]
    assert [one.columns for one in rows] == [{}, {"note": "later"}, {}]
    assert rows[2] == row("a", "of the other file", "/elsewhere/a.mp4")
    with journal(output) as third:
        assert third.missing(now) == []


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("training.epochs=3", True),
        ("dataset.data_root=/elsewhere", True),
        ("inference.batch_clips=3", True),
        ("inference.uncertain_band=[0.1, 0.9]", False),
        ("inference.operating_point=strict", False),
        ("inference.restoration.most_noise=null", False),
        ("dataset.video.clips_per_video.eval=2", False),
        ("dataset.face.threshold=0.5", False),
        ("limits.max_seconds=5", False),
        ("model.fusion.hidden_dim=24", False),
    ],
)
def test_the_header_follows_what_predictions_depend_on(
    make_config: Callable[..., Config], override: str, same: bool
) -> None:
    info = ModelInfo(name="multimodal_v1", version="v-1", trained=True, calibrated=False)
    one, other = (JournalHeader.of(ModelFacts(info, make_config(*overrides))) for overrides in ((), (override,)))
    assert (one == other) is same
    assert json.loads(one.model_dump_json())["model"] == "v-1"
