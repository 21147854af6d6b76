"""An evaluation on a real Ray cluster: real videos, a model of milliseconds, every file that comes out."""

import csv
import json
from pathlib import Path

import pytest

from aura_model.checkpoint import save_checkpoint
from aura_model.config import Config
from aura_model.model import MultimodalModel
from training.data.debugset import make_debug_set
from training.evaluate import main

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # Ray Data's own settings
]


def test_an_untrained_model_is_evaluated_and_the_report_says_what_that_is_worth(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rows = [[one.video_id, one.label, one.split, one.path, "debug"] for one in make_debug_set(tmp_path / "data")]
    with (tmp_path / "faces.csv").open("w", newline="") as file:
        header = ["video_id", "label", "split", "path", "method"]
        csv.writer(file).writerows([header, *rows, ["broken", 1, "val", "broken.mp4", "none"]])
    save_checkpoint(tmp_path / "tiny.pth", MultimodalModel(config.model), config, 0, {})

    arguments = ["--checkpoint", "tiny.pth", "--manifest", "faces.csv", "--split", "val", "--device", "cpu"]
    arguments += ["--group-by", "method"]
    assert main([*arguments, "--set", "dataset.video.clips_per_video={train: 1, eval: 2}"]) == 0

    results = json.loads((tmp_path / "results" / "eval_results.json").read_text())
    assert (results["videos"]["n"], results["videos"]["positives"]) == (4, 2)
    assert results["clips"]["n"] >= 4
    assert results["unusable"] == [{"code": "invalid_video", "real": 0, "fake": 1}]
    assert (results["provenance"]["data"], results["provenance"]["checkpoint"]["trained"]) == ("faces.csv", False)
    assert "untrained" in results["warnings"][0]
    assert "The model is untrained" in capsys.readouterr().out

    assert [group["value"] for group in results["groups"]["method"]] == ["debug"]

    with (tmp_path / "results" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["video_id"] for row in rows}) == 5
    assert all(row["logit"] or row["error"] for row in rows)

    page = (tmp_path / "results" / "report.html").read_text()
    assert page.count("<svg") == 5
    assert page.count("data:image/jpeg") == len(list((tmp_path / "results" / "worst").iterdir())) == results["wrong"]
    assert main(["--from-csv", "results/predictions.csv", "--group-by", "method"]) == 0
    assert (tmp_path / "results" / "report.html").read_text() == page
