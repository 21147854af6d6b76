import csv
import json
from pathlib import Path

import pytest

from training.evaluation.evaluation import evaluate
from training.evaluation.provenance import Provenance, provenance_of_table
from training.evaluation.results import Results, write_results
from training.evaluation.score_table import ClipLine, VideoLines, write_scores

CLIPS = (ClipLine(clip=0, start=0, end=1, logit=1.0),)
GOOD = VideoLines("good", 1, "test", "/data/good.mp4", {}, CLIPS)
BROKEN = [
    VideoLines(name, 0, "test", f"/data/{name}.mp4", {}, (), "too_long", "11 minutes") for name in ("z", "a", "m")
]


@pytest.fixture(autouse=True)
def _quick_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("roc_plot", "precision_recall_plot", "reliability_plot", "coverage_risk_plot", "histogram_plot"):
        monkeypatch.setattr(f"training.evaluation.report.{name}", lambda *_: "<svg></svg>")


def results(*videos: VideoLines, digest: str = "cd", command: str = "the command") -> Results:
    return Results(evaluate(videos), Provenance(data="faces", split="test", table_sha256=digest), videos, {}, command)


def test_three_files_are_written(tmp_path: Path) -> None:
    write_results(tmp_path / "out", results(GOOD, *BROKEN))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "eval_results.json",
        "report.html",
        "skipped.csv",
    ]
    assert "the command" in (tmp_path / "out" / "report.html").read_text()


def test_the_results_are_json(tmp_path: Path) -> None:
    write_results(tmp_path, results(GOOD, *BROKEN))
    found = json.loads((tmp_path / "eval_results.json").read_text())
    assert found["provenance"]["data"] == "faces"
    assert found["warnings"][-1] == "3 of 4 videos could not be scored. The figures are over the rest."
    assert (found["videos"]["n"], found["videos"]["recall"], found["videos"]["auc"]) == (1, 1.0, None)
    assert found["videos"]["undefined"]["auc"] == "no real samples"
    assert (found["aggregation"], found["seed"], found["resamples"]) == ("mean", 0, 1000)


def test_skipped_videos_are_those_of_this_evaluation(tmp_path: Path) -> None:
    write_results(tmp_path, results(*BROKEN))
    write_results(tmp_path, results(GOOD, *BROKEN[:2]))
    with (tmp_path / "skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["video_id"] for row in rows] == ["a", "z"]
    assert rows[0] == {
        "video_id": "a",
        "path": "/data/a.mp4",
        "split": "test",
        "code": "too_long",
        "detail": "11 minutes",
    }
    write_results(tmp_path, results(GOOD))
    assert (tmp_path / "skipped.csv").read_text().strip() == "video_id,path,split,code,detail"


def test_results_tell_the_next_reader_of_the_table_where_it_is_from(tmp_path: Path) -> None:
    table = tmp_path / "predictions.csv"
    write_scores(table, [GOOD])
    digest = provenance_of_table(table, []).table_sha256
    write_results(tmp_path, results(GOOD, digest=digest))
    assert provenance_of_table(table, [tmp_path]).data == "faces"


def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_results(tmp_path / name, results(GOOD, *BROKEN))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_report_that_cannot_be_made_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results(tmp_path, results(GOOD))
    before = (tmp_path / "report.html").read_bytes()

    def fail(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.evaluation.results.render_report", fail)
    with pytest.raises(OSError, match="No space"):
        write_results(tmp_path, results(*BROKEN))
    assert (tmp_path / "report.html").read_bytes() == before
