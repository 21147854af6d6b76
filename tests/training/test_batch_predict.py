import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.reply import ModelInfo
from aura_model.scores import ClipScore
from aura_model.settings import load_config
from training import batch_predict, run
from training.batch_predict import main, overrides_of, parser
from training.command_line import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from training.data.manifest import Sample
from training.plan import PlanError
from training.prediction import scoring
from training.prediction.model_facts import ModelFacts
from training.prediction.scoring import ScoredClip, ScoredVideo, ScoringError

OPTIONS = {
    "--help",
    "--input",
    "--output",
    "--checkpoint",
    "--config",
    "--num-workers",
    "--device",
    "--set",
    "--restart",
}


@dataclass
class Cluster:
    """Stands in for Ray: scores each video unless its name says otherwise."""

    clips: Clips
    trained: bool = True
    version: str = "v-1"
    started: int = 0
    asked: list[list[str]] = field(default_factory=list)
    config: Config | None = None
    extractors: int | None = None
    trouble: BaseException | None = None
    """Raised at a video whose name begins with `stop`."""

    def facts(self, config: Config) -> ModelFacts:
        info = ModelInfo(name="multimodal_v1", version=self.version, trained=self.trained, calibrated=True)
        return ModelFacts(info, config)

    @contextmanager
    def start(self, local: bool) -> Iterator[None]:
        assert not local
        self.started += 1
        yield

    def score(self, samples: Sequence[Sample], model: ModelFacts, extractors: int | None) -> Iterator[ScoredVideo]:
        self.asked.append([sample.video_id for sample in samples])
        self.config, self.extractors = model.config, extractors
        return map(self._judge, samples)

    def _judge(self, sample: Sample) -> ScoredVideo:
        if sample.video_id.startswith("stop") and self.trouble:
            raise self.trouble
        if sample.video_id.startswith("bad"):
            return ScoredVideo(sample, None, (), "invalid_video", "it is bad", 0.0)
        scored = tuple(ScoredClip(clip, ClipScore(3.0, 3.0, None), b"") for clip in self.clips.clips)
        return ScoredVideo(sample, self.clips.without_samples(), scored, "", "", 0.1)


@pytest.fixture
def cluster(
    monkeypatch: pytest.MonkeyPatch, make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]
) -> Cluster:
    fake = Cluster(make_clips(make_clip(0)))
    monkeypatch.setattr(batch_predict, "read_model_facts", fake.facts)
    monkeypatch.setattr(batch_predict, "setup_logging", lambda _: None)
    monkeypatch.setattr(run, "ray_cluster", fake.start)
    monkeypatch.setattr(scoring, "score_samples", fake.score)
    monkeypatch.delenv("AURA_CONFIG", raising=False)
    return fake


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "bad.mp4", "stop.mp4", "z.mp4"):
        (folder / name).write_bytes(b"x")
    return folder


@pytest.fixture
def predict(cluster: Cluster, videos: Path, tmp_path: Path) -> Callable[..., int]:
    """Run the command line on `videos`; the output is `out.jsonl` unless told otherwise."""

    def call(*arguments: str, output: str = "out.jsonl") -> int:
        return main(["--input", str(videos), "--output", str(tmp_path / output), *arguments])

    return call


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def outcome(path: Path) -> list[tuple[str, str]]:
    """The name and the verdict, or the error, of each row."""
    rows = lines(path)
    return [(row["video_id"], row["error"]["code"] if row["error"] else row["analysis"]["verdict"]) for row in rows]


ALL = [("a.mp4", "fake"), ("bad.mp4", "invalid_video"), ("stop.mp4", "fake"), ("z.mp4", "fake")]


def configured(*arguments: str) -> Config:
    given = parser().parse_args(["--input", "in", "--output", "out.jsonl", *arguments])
    return load_config(given.config, env={}, overrides=overrides_of(given))


def test_the_options_are_these() -> None:
    assert {name for action in parser()._actions for name in action.option_strings if name != "-h"} == OPTIONS


def test_options_reach_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("seed: 5\ninference: {batch_clips: 3}\n")
    config = configured(
        "--config", str(tmp_path / "my.yaml"), "--checkpoint", "a: [b].pth", "--device", "cuda", "--set", "seed=9"
    )
    assert config.inference.checkpoint == Path("a: [b].pth")
    assert (config.inference.device, config.inference.batch_clips, config.seed) == ("cuda", 3, 9)


def test_the_videos_are_never_those_of_a_store() -> None:
    config = configured("--set", "dataset.preprocessing.mode=preextracted")
    assert config.dataset.preprocessing.mode == "on_the_fly"


def test_each_video_has_a_row_and_errors_are_rows(
    predict: Callable[..., int], cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("--num-workers", "3", "--set", "inference.batch_clips=5") == 0
    assert outcome(tmp_path / "out.jsonl") == ALL
    assert {path.name for path in tmp_path.iterdir()} == {"videos", "out.jsonl"}
    assert cluster.extractors == 3
    assert cluster.config is not None
    assert cluster.config.inference.batch_clips == 5
    said = capsys.readouterr().out
    assert said.startswith("4 videos\n")
    assert said.endswith("out.jsonl: 4 videos, 1 without an answer (1 invalid_video)\n")
    assert "untrained" not in said


def test_parquet_is_written_as_well(predict: Callable[..., int], tmp_path: Path) -> None:
    assert predict(output="new/folder/out.parquet") == 0
    table = pq.read_table(tmp_path / "new" / "folder" / "out.parquet").to_pylist()
    assert [(row["video_id"], row["error_code"] or row["verdict"]) for row in table] == ALL


def test_a_manifest_gives_ids_and_columns(predict: Callable[..., int], videos: Path, tmp_path: Path) -> None:
    (videos / "list.csv").write_text("path,video_id,group\nz.mp4,last,studio\na.mp4,,\n")
    assert main(["--input", str(videos / "list.csv"), "--output", str(tmp_path / "out.jsonl")]) == 0
    rows = lines(tmp_path / "out.jsonl")
    assert [(row["video_id"], row["path"], row["columns"]) for row in rows] == [
        ("last", str(videos / "z.mp4"), {"group": "studio"}),
        ("a.mp4", str(videos / "a.mp4"), {}),
    ]


def test_an_untrained_model_is_told(
    predict: Callable[..., int], cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.trained = False
    assert predict() == 0
    assert "an untrained model answers, and each verdict is uncertain" in capsys.readouterr().out
    assert ("a.mp4", "uncertain") in outcome(tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("trouble", "status", "said"),
    [
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "interrupted; the same command goes on"),
        (ScoringError("failed", "CUDA error"), EXIT_FAILED, "the run failed: CUDA error; the same command goes on"),
        (OSError(28, "No space left on device"), EXIT_FAILED, "No space left on device; the same command goes on"),
    ],
)
def test_a_run_that_ended_early_goes_on_where_it_was(
    predict: Callable[..., int],
    cluster: Cluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    trouble: BaseException,
    status: int,
    said: str,
) -> None:
    cluster.trouble = trouble
    assert predict() == status
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
    assert (tmp_path / "out.jsonl.partial").exists()
    cluster.trouble = None
    assert predict() == 0
    assert cluster.asked == [["a.mp4", "bad.mp4", "stop.mp4", "z.mp4"], ["stop.mp4", "z.mp4"]]
    assert outcome(tmp_path / "out.jsonl") == ALL
    said = capsys.readouterr().out
    assert "4 videos, 2 of them done before" in said
    assert "1 without an answer" in said
    assert not (tmp_path / "out.jsonl.partial").exists()


def interrupted(predict: Callable[..., int], cluster: Cluster) -> None:
    cluster.trouble = KeyboardInterrupt()
    assert predict() == EXIT_INTERRUPTED
    cluster.trouble = None


def test_input_that_changed_meanwhile(
    predict: Callable[..., int], cluster: Cluster, videos: Path, tmp_path: Path
) -> None:
    interrupted(predict, cluster)
    (videos / "a.mp4").unlink()
    (videos / "b.mp4").write_bytes(b"x")
    assert predict() == 0
    assert cluster.asked[1] == ["b.mp4", "stop.mp4", "z.mp4"]
    assert [name for name, _ in outcome(tmp_path / "out.jsonl")] == ["b.mp4", "bad.mp4", "stop.mp4", "z.mp4"]


def test_a_run_of_which_only_the_end_is_missing_needs_no_cluster(
    predict: Callable[..., int], cluster: Cluster, videos: Path, tmp_path: Path
) -> None:
    interrupted(predict, cluster)
    for name in ("stop.mp4", "z.mp4"):
        (videos / name).unlink()
    started = cluster.started
    assert predict() == 0
    assert cluster.started == started
    assert outcome(tmp_path / "out.jsonl") == ALL[:2]


def test_another_model_does_not_go_on_with_the_work(
    predict: Callable[..., int], cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(predict, cluster)
    cluster.version = "v-2"
    assert predict() == EXIT_REFUSED
    assert "use --restart" in capsys.readouterr().err
    assert cluster.started == 1
    assert predict("--restart") == 0
    assert len(cluster.asked[1]) == 4


def test_a_result_is_replaced_only_when_that_is_asked_for(
    predict: Callable[..., int], cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict() == 0
    before = (tmp_path / "out.jsonl").read_bytes()
    assert predict() == EXIT_REFUSED
    assert "is there already; use --restart to replace it" in capsys.readouterr().err
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert cluster.started == 1
    assert predict("--restart") == 0
    assert cluster.started == 2


def test_a_replacement_that_ended_early_goes_on_without_asking_again(
    predict: Callable[..., int], cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "out.jsonl").write_text("earlier\n")
    cluster.trouble = KeyboardInterrupt()
    assert predict("--restart") == EXIT_INTERRUPTED
    assert (tmp_path / "out.jsonl").read_text() == "earlier\n"
    cluster.trouble = None
    assert predict() == 0
    assert cluster.asked[1] == ["stop.mp4", "z.mp4"]
    assert outcome(tmp_path / "out.jsonl") == ALL


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "out.csv"], "must end in .jsonl or .parquet"),
        (["--output", "."], "must end in"),
        (["--input", "nowhere"], "there is no file or folder nowhere"),
        (["--set", "inference.device=tpu"], "inference.device"),
        (["--set", "no.such=1"], "no: unknown key"),
        (["--config", "nowhere.yaml"], "cannot read nowhere.yaml"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(
    predict: Callable[..., int],
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert predict(*arguments) == EXIT_REFUSED
    assert said in capsys.readouterr().err
    assert cluster.started == 0
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_a_checkpoint_that_is_not_there_is_refused(
    predict: Callable[..., int],
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.undo()
    assert predict("--checkpoint", "nowhere.pth") == EXIT_REFUSED
    assert "nowhere.pth: No such file or directory" in capsys.readouterr().err


def test_a_cluster_that_is_too_small_is_refused_and_leaves_nothing(
    predict: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PlanError("gpus_missing", "cuda is asked for, and the cluster has 0 GPUs")

    monkeypatch.setattr(scoring, "score_samples", refuse)
    assert predict() == EXIT_REFUSED
    assert "the cluster has 0 GPUs" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_a_folder_is_no_output(predict: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out.jsonl").mkdir()
    assert predict("--restart") == EXIT_REFUSED
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5"])
def test_a_number_of_workers_is_a_number(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(["--input", "in", "--output", "out.jsonl", "--num-workers", count])
    assert caught.value.code == EXIT_REFUSED
    assert "is not a number from 1" in capsys.readouterr().err
