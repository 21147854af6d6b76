import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aura_model.analysis import analyse
from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.errors import MEDIA_ERRORS, ConfigError
from aura_model.reply import Analysis, ModelInfo
from aura_model.scores import ClipScore
from training.data.manifest import Sample
from training.prediction.model_facts import ModelFacts
from training.prediction.rows import (
    ROW_GROUP,
    SCHEMA,
    TITLES,
    PredictionRow,
    check_output,
    prediction_row,
    write_predictions,
)
from training.prediction.scoring import SCORING_FAILED, ScoredClip, ScoredVideo
from training.rows import NO_CLIPS

MakeVideo = Callable[..., ScoredVideo]


@pytest.fixture
def model(config: Config) -> ModelFacts:
    return ModelFacts(ModelInfo(name="multimodal_v1", version="v-1", trained=True, calibrated=True), config)


@pytest.fixture
def make_video(make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]) -> MakeVideo:
    """A scored video, or one with an error."""

    def build(video_id: str = "a", error: str = "", decoded: bool = True, **columns: str) -> ScoredVideo:
        clips = make_clips(*() if error else (make_clip(0), make_clip(1, video=False)), notes=("truncated",))
        scores = (ClipScore(2.0, 1.0, None), ClipScore(-1.0, None, -1.0))
        scored = [ScoredClip(clip, score, b"") for clip, score in zip(clips.clips, scores, strict=False)]
        sample = Sample(video_id, -1, "test", f"/videos/{video_id}.mp4", columns)
        detail = f"it is {error}" if error else ""
        bare = clips.without_samples() if decoded else None
        return ScoredVideo(sample, bare, tuple(scored), error, detail, 0.25)

    return build


def test_a_scored_video_has_the_analysis_of_the_service(make_video: MakeVideo, model: ModelFacts) -> None:
    video = make_video("a", group="studio")
    assert video.clips is not None
    row = prediction_row(video, model)
    assert row.analysis == analyse(video.clips, video.scores, model.info, model.config, {"score": 0.25})
    assert row.analysis is not None
    assert (row.analysis.verdict, row.analysis.reasons) == ("fake", ("truncated",))
    assert row.analysis.timings["score"] == 250.0
    assert (row.video_id, row.path, row.columns) == ("a", "/videos/a.mp4", {"group": "studio"})
    assert row.error is None


def test_nothing_to_judge_is_an_answer(make_video: MakeVideo, model: ModelFacts) -> None:
    row = prediction_row(make_video(error=NO_CLIPS), model)
    assert row.analysis is not None
    assert row.analysis.verdict == "not_applicable"
    assert row.error is None


@pytest.mark.parametrize(
    ("code", "decoded", "title"),
    [
        ("empty_file", False, MEDIA_ERRORS["empty_file"]),
        ("unreadable_file", False, "The file cannot be opened."),
        (SCORING_FAILED, True, "The model cannot score a clip of this video."),
        ("of_tomorrow", False, "The video cannot be used."),
    ],
)
def test_an_unusable_video_has_an_error(
    make_video: MakeVideo, model: ModelFacts, code: str, decoded: bool, title: str
) -> None:
    row = prediction_row(make_video(error=code, decoded=decoded), model)
    assert row.analysis is None
    assert row.error is not None
    assert row.error.model_dump() == {"code": code, "title": title, "detail": f"it is {code}"}


def test_every_error_has_a_title() -> None:
    assert {*MEDIA_ERRORS, SCORING_FAILED, "unreadable_file"} == set(TITLES)


@pytest.fixture
def rows(make_video: MakeVideo, model: ModelFacts) -> list[PredictionRow]:
    """One fake, one not applicable, one broken."""
    videos = [
        make_video("a", group="studio", note="näh"),
        make_video("b", NO_CLIPS),
        make_video("c", "corrupt_video", decoded=False),
    ]
    return [prediction_row(video, model) for video in videos]


def test_json_lines_hold_the_rows(tmp_path: Path, rows: list[PredictionRow]) -> None:
    write_predictions(tmp_path / "out.jsonl", rows)
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [PredictionRow.model_validate_json(line) for line in lines] == rows
    broken = json.loads(lines[2])
    assert list(broken) == ["video_id", "path", "columns", "analysis", "error"]
    assert broken["analysis"] is None
    assert list(broken["error"]) == ["code", "title", "detail"]


def test_parquet_holds_flat_columns(tmp_path: Path, rows: list[PredictionRow]) -> None:
    write_predictions(tmp_path / "out.parquet", rows)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.equals(SCHEMA)
    fake, empty, broken = table.to_pylist()
    answer = rows[0].analysis
    assert answer is not None
    assert Analysis.model_validate_json(fake.pop("analysis")) == answer
    assert fake == {
        "video_id": "a",
        "path": "/videos/a.mp4",
        "verdict": "fake",
        "fake_probability": answer.fake_probability,
        "reasons": ["truncated"],
        "video_probability": answer.modalities.video,
        "audio_probability": answer.modalities.audio,
        "duration": 2.0,
        "sha256": "0" * 64,
        "model_version": "v-1",
        "error_code": None,
        "error_detail": None,
        "columns": [("group", "studio"), ("note", "näh")],
    }
    assert (empty["verdict"], empty["fake_probability"], empty["error_code"]) == ("not_applicable", None, None)
    assert {name: value for name, value in broken.items() if value not in (None, [])} == {
        "video_id": "c",
        "path": "/videos/c.mp4",
        "error_code": "corrupt_video",
        "error_detail": "it is corrupt_video",
    }


def test_many_rows_do_not_wait_in_memory_for_the_last_one(tmp_path: Path, rows: list[PredictionRow]) -> None:
    many = [rows[0].model_copy(update={"video_id": str(number)}) for number in range(ROW_GROUP + 1)]
    write_predictions(tmp_path / "out.parquet", many)
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert file.num_row_groups == 2
    assert file.read(["video_id"]).column(0).to_pylist() == [row.video_id for row in many]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_a_file_is_whole_or_as_before(tmp_path: Path, rows: list[PredictionRow], name: str) -> None:
    (tmp_path / name).write_text("before")

    def failing() -> Any:
        yield rows[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(tmp_path / name, failing())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "before")]


@pytest.mark.parametrize(("name", "good"), [("a.jsonl", True), ("a.PARQUET", True), ("a.csv", False), ("a", False)])
def test_the_ending_says_the_format(name: str, good: bool) -> None:
    if good:
        check_output(Path(name))
    else:
        with pytest.raises(ConfigError, match=r"must end in \.jsonl or \.parquet"):
            check_output(Path(name))
