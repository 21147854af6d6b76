import csv
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from aura_model.checkpoint import save_checkpoint
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.errors import CheckpointError
from aura_model.model import MultimodalModel
from aura_model.scores import ClipScore
from aura_model.settings import load_config
from training import evaluate
from training.command_line import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from training.data.manifest import Sample
from training.evaluate import main, overrides_of, parser
from training.evaluation.thumbnails import JPEG_MAGIC
from training.plan import PlanError
from training.prediction.model_facts import ModelFacts
from training.prediction.scoring import ScoredClip, ScoredVideo, ScoringError

OPTIONS = {
    "--help",
    "--checkpoint",
    "--from-csv",
    "--config",
    "--data-root",
    "--manifest",
    "--auto-split",
    "--split",
    "--aggregation",
    "--group-by",
    "--output",
    "--save-csv",
    "--num-workers",
    "--device",
    "--set",
}


@dataclass
class Cluster:
    """A cluster that is none: what was asked of it, and what it answers."""

    score: Callable[[Sample], ScoredVideo]
    started: int = 0
    asked: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    refusal: BaseException | None = None


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, make_clip: Callable[..., Clip]) -> Cluster:
    """Videos score 3 to -3 for fakes and the reverse for reals, by the number in their id; `broken` cannot be used."""

    def score(sample: Sample) -> ScoredVideo:
        if "broken" in sample.video_id:
            return ScoredVideo(sample, None, (), "too_long", "11 minutes", 0.0)
        logit = (1 if sample.label else -1) * (3.0 - int(sample.video_id[-1]))
        thumbnail = JPEG_MAGIC + sample.video_id.encode()
        clips = tuple(ScoredClip(make_clip(n), ClipScore(logit + n, logit, None), thumbnail) for n in range(2))
        return ScoredVideo(sample, None, clips, "", "", 0.1)

    found = Cluster(score)

    @contextmanager
    def connect(local: bool) -> Iterator[None]:
        assert not local
        found.started += 1
        yield

    def score_samples(samples: Sequence[Sample], model: ModelFacts, extractors: int | None) -> Iterator[ScoredVideo]:
        found.asked = {"samples": samples, "model": model, "extractors": extractors}
        if found.refusal:
            raise found.refusal
        return answers(samples)

    def answers(samples: Sequence[Sample]) -> Iterator[ScoredVideo]:
        for sample in samples:
            yield found.score(sample)
            if found.error:
                raise found.error

    monkeypatch.setattr("training.run.ray_cluster", connect)
    monkeypatch.setattr("training.prediction.scoring.score_samples", score_samples)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in ("roc_plot", "precision_recall_plot", "reliability_plot", "histogram_plot"):
        monkeypatch.setattr(f"training.evaluation.report.{name}", lambda *_: "<svg></svg>")
    return found


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, config: Config) -> Path:
    path = tmp_path_factory.mktemp("model") / "best.pth"
    save_checkpoint(path, MultimodalModel(config.model), config, 3, {})
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of ten test videos and two others; the working folder is beside it."""
    rows = ["video_id,label,split,path,identity,method"]
    for number in range(10):
        (tmp_path / f"v{number}.mp4").write_bytes(b"%d" % number)
        method = ("swap", "puppet")[number % 4 // 2] if number % 2 else ""
        rows.append(f"v{number},{number % 2},test,v{number}.mp4,p{number},{method}")
    rows += ["t0,0,train,t0.mp4,q,", "t1,1,val,t1.mp4,r,"]
    for name in ("t0", "t1"):
        (tmp_path / f"{name}.mp4").write_text(name)
    (tmp_path / "faces.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "faces.csv"


@pytest.fixture
def scored(cluster: Cluster, checkpoint: Path, data: Path) -> Path:
    """The results of an evaluation."""
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data)]) == 0
    return data.parent / "results"


def results(folder: Path) -> Any:
    return json.loads((folder / "eval_results.json").read_text())


def test_the_options_are_these() -> None:
    found = {name for action in parser()._actions for name in action.option_strings if name.startswith("--")}
    assert found == OPTIONS


def test_options_reach_the_configuration() -> None:
    arguments = parser().parse_args(
        ["--checkpoint", "a: b.pth", "--data-root", "here", "--device", "cuda", "--set", "seed=9"]
    )
    config = load_config(env={}, overrides=overrides_of(arguments))
    assert config.inference.checkpoint == Path("a: b.pth")
    assert (config.dataset.data_root, config.dataset.manifest) == (Path("here"), None)
    assert (config.inference.device, config.seed) == ("cuda", 9)


def test_an_evaluation_leaves_its_files(scored: Path, cluster: Cluster) -> None:
    assert sorted(str(path.relative_to(scored)) for path in scored.rglob("*") if path.is_file()) == sorted(
        [
            "eval_results.json",
            "predictions.csv",
            "report.html",
            "skipped.csv",
            *(str(path.relative_to(scored)) for path in scored.glob("worst/*.jpg")),
        ]
    )
    assert [sample.video_id for sample in cluster.asked["samples"]] == [f"v{number}" for number in range(10)]
    found = results(scored)
    assert (found["videos"]["n"], found["clips"]["n"], found["videos"]["positives"]) == (10, 20, 5)
    assert found["provenance"]["checkpoint"]["name"] == "best.pth"
    assert (found["provenance"]["data"], found["provenance"]["split"]) == ("faces.csv", "test")
    assert found["videos"]["clusters"] == 10


def test_no_file_names_the_machine_but_the_tables(scored: Path) -> None:
    place = str(scored.parent)
    assert place not in (scored / "eval_results.json").read_text()
    assert place not in (scored / "report.html").read_text()
    assert place in (scored / "predictions.csv").read_text()


def test_the_command_in_the_report_names_no_place_of_the_machine(
    cluster: Cluster, checkpoint: Path, data: Path
) -> None:
    places = ["--output", str(data.parent / "out"), "--save-csv", str(data.parent / "deep" / "x.csv")]
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data), *places]) == 0
    page = (data.parent / "out" / "report.html").read_text()
    assert "--from-csv x.csv --output out " in page
    assert str(data.parent) not in page


def test_the_worst_errors_have_their_pictures_in_the_report(scored: Path) -> None:
    wrong = results(scored)["worst"]
    assert [one["video_id"] for one in wrong[:2]] == ["v8", "v9"]  # 5.5 and -5.5
    assert len(list((scored / "worst").iterdir())) == len(wrong)
    assert (scored / "report.html").read_text().count("data:image/jpeg") == len(wrong)


def test_the_model_decides_how_clips_are_cut(scored: Path, cluster: Cluster, config: Config, checkpoint: Path) -> None:
    asked: Config = cluster.asked["model"].config
    assert asked.model == config.model
    assert asked.dataset.face.size == 64
    assert asked.inference.checkpoint == checkpoint
    assert cluster.asked["extractors"] is None


def test_the_console_shows_a_short_table(
    cluster: Cluster, checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data)]) == 0
    said = capsys.readouterr().out
    found = results(data.parent / "results")
    row = next(line for line in said.splitlines() if line.strip().startswith("AUC"))
    for level in (found["videos"], found["clips"]):
        low, high = level["intervals"]["auc"]["low"], level["intervals"]["auc"]["high"]
        assert f"{level['auc']:.3f}   {low:.3f} to {high:.3f}" in row
    assert {"10 videos", "n = 10 videos, 20 clips", "wrote results/report.html"} <= {
        line.strip() for line in said.splitlines()
    }
    assert "of 5 real videos" in said
    assert max(len(line) for line in said.splitlines() if "TPR at" not in line) <= 80


def test_the_console_says_why_a_figure_is_missing(
    cluster: Cluster, checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data), "--split", "val"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["AUC", "\N{EN DASH}", "no", "real", "samples", "\N{EN DASH}", "no", "real", "samples"] in rows
    assert [row[3] for row in rows if row[:1] == ["Brier"]] == ["none"]


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (["--aggregation", "max"], ("aggregation",), "max"),
        (["--set", "seed=7"], ("seed",), 7),
        (["--split", "val"], ("videos", "n"), 1),
    ],
)
def test_an_option_changes_the_results(
    cluster: Cluster, checkpoint: Path, data: Path, arguments: list[str], key: tuple[str, ...], value: Any
) -> None:
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data), *arguments]) == 0
    found = results(data.parent / "results")
    for part in key:
        found = found[part]
    assert found == value


def test_groups_places_and_workers_are_as_asked(cluster: Cluster, checkpoint: Path, data: Path) -> None:
    assert (
        main(
            f"--checkpoint {checkpoint} --manifest {data} --group-by method --group-by identity --num-workers 3 "
            "--output out/deep --save-csv elsewhere/scores.csv".split()
        )
        == 0
    )
    assert set(results(data.parent / "out" / "deep")["groups"]) == {"method", "identity"}
    assert (data.parent / "elsewhere" / "scores.csv").is_file()
    assert not (data.parent / "out" / "deep" / "predictions.csv").exists()
    assert cluster.asked["extractors"] == 3


@pytest.mark.parametrize(
    "options", [[], ["--group-by", "method"], ["--aggregation", "topk", "--set", "seed=5"], ["--save-csv", "x y.csv"]]
)
def test_the_command_in_the_report_makes_it_again_without_ray(
    cluster: Cluster, checkpoint: Path, data: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data), *options]) == 0
    folder = data.parent / "results"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    page = (folder / "report.html").read_text()
    assert "data:image/jpeg" in page
    command = page[page.index("<pre>") + 5 : page.index("</pre>")].replace("&#x27;", "'")
    program, script, *arguments = shlex.split(command)
    assert (program, script) == ("python", "training/evaluate.py")
    for name in set(before) - {"predictions.csv"}:
        (folder / name).unlink() if name != "eval_results.json" else None
    assert main(arguments) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert cluster.started == 1


def test_a_table_alone_is_enough_and_its_model_is_not_known(
    scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "alone").mkdir()
    table = (scored / "predictions.csv").rename(tmp_path / "alone" / "table.csv")
    assert main(["--from-csv", str(table), "--output", "again"]) == 0
    again = results(tmp_path / "again")
    assert again["provenance"]["checkpoint"] is None
    assert again["videos"] == results(scored)["videos"]
    assert "not known" in capsys.readouterr().out
    assert "no picture" in (tmp_path / "again" / "report.html").read_text()


def test_videos_that_cannot_be_used_are_listed(cluster: Cluster, checkpoint: Path, data: Path) -> None:
    data.write_text(data.read_text().replace("v3,", "broken3,", 1).replace("v4,", "broken4,", 1))
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data)]) == 0
    with (data.parent / "results" / "skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["video_id"], row["code"]) for row in rows] == [("broken3", "too_long"), ("broken4", "too_long")]
    assert results(data.parent / "results")["unusable"] == [{"code": "too_long", "real": 1, "fake": 1}]


@pytest.mark.parametrize(
    ("broken", "allowed", "status"), [(2, 0.2, 0), (3, 0.2, EXIT_FAILED), (10, 1.0, EXIT_FAILED), (0, 0.0, 0)]
)
def test_too_many_unusable_videos_fail_after_all_is_written(
    cluster: Cluster,
    checkpoint: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    broken: int,
    allowed: float,
    status: int,
) -> None:
    text = data.read_text()
    for number in range(broken):
        text = text.replace(f"\nv{number},", f"\nbroken{number},", 1)
    data.write_text(text)
    arguments = ["--checkpoint", str(checkpoint), "--manifest", str(data), "--set", f"dataset.max_skipped={allowed}"]
    assert main(arguments) == status
    assert (data.parent / "results" / "report.html").is_file()
    said = f"{broken} of 10 videos could not be scored: see results/skipped.csv"
    assert (said in capsys.readouterr().err) == bool(status)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--checkpoint", "gone.pth"], "gone.pth"),
        (["--checkpoint", "faces.csv"], "faces.csv"),
        (["--checkpoint", "{model}", "--split", "train", "--group-by", "age"], "there are: identity"),
        (["--checkpoint", "{model}", "--device", "tpu"], "inference.device"),
        (["--checkpoint", "{model}", "--device", "cuda"], "no CUDA device"),
        (["--checkpoint", "{model}", "--set", "inference.checkpoint=null"], "name the checkpoint"),
        (["--checkpoint", "{model}", "--set", "dataset.max=1"], "unknown key"),
        (["--checkpoint", "{model}", "--config", "gone.yaml"], "gone.yaml"),
        (["--checkpoint", "{model}", "--output", "faces.csv"], "--output faces.csv"),
        (["--checkpoint", "{model}", "--save-csv", "."], ". cannot be written: Is a directory"),
        (["--from-csv", "gone.csv"], "gone.csv"),
        (["--from-csv", "faces.csv"], "no table of scores"),
        (["--from-csv", "table.csv", "--group-by", "age"], "--group-by age"),
        (["--from-csv", "table.csv", "--output", "faces.csv"], "--output faces.csv"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(
    cluster: Cluster,
    checkpoint: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    evaluate.write_scores(Path("table.csv"), [])
    manifest = [] if "--from-csv" in arguments else ["--manifest", "faces.csv"]
    assert main([*(part.format(model=checkpoint) for part in arguments), *manifest]) == EXIT_REFUSED
    assert said in capsys.readouterr().err
    assert cluster.started == 0
    assert not Path("results/report.html").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--split", "test"],
        ["--data-root", "x"],
        ["--manifest", "x"],
        ["--auto-split"],
        ["--save-csv", "x"],
        ["--num-workers", "2"],
        ["--device", "cpu"],
    ],
)
def test_options_of_scoring_do_not_go_with_a_table(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["--from-csv", "table.csv", *arguments]) == EXIT_REFUSED
    assert f"{arguments[0]} does not go with --from-csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required"),
        (["--checkpoint", "a", "--from-csv", "b"], "not allowed with"),
        (["--checkpoint", "a", "--split", "dev"], "invalid choice"),
        (["--checkpoint", "a", "--aggregation", "sum"], "invalid choice"),
        (["--checkpoint", "a", "--num-workers", "0"], "not a number from 1"),
        (["--checkpoint", "a", "--num-workers", "x"], "not a number from 1"),
        (["--checkpoint", "a", "--data-root", "b", "--manifest", "c"], "not allowed with"),
    ],
)
def test_bad_usage_is_told(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == EXIT_REFUSED
    assert said in capsys.readouterr().err


def test_a_table_that_could_not_be_written_is_told_before_any_video_is_scored(
    cluster: Cluster, checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--manifest", str(data)]
    assert main([*arguments, "--save-csv", str(data / "scores.csv")]) == EXIT_REFUSED
    assert "scores.csv cannot be written" in capsys.readouterr().err
    assert not cluster.asked
    assert main([*arguments, "--save-csv", str(data.parent / "new" / "scores.csv")]) == 0
    assert (data.parent / "new" / "scores.csv").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("t0.mp4,q", "v0.mp4,q", "have the same content"), ("t0.mp4,q", "t0.mp4,p3", "the identity 'p3' is in")],
)
def test_what_is_in_two_splits_is_refused(
    cluster: Cluster, checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    data.write_text(data.read_text().replace(old, new))
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data)]) == EXIT_REFUSED
    assert said in capsys.readouterr().err
    assert not cluster.asked


STORED = ("--set", "dataset.preprocessing.mode=preextracted", "--set", "dataset.preprocessing.store=clips")


def test_a_store_that_is_not_there_is_refused_before_ray_starts(
    cluster: Cluster, checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data), *STORED]) == EXIT_REFUSED
    assert f"{data.parent / 'clips'} holds no clips" in " ".join(capsys.readouterr().err.split())
    assert cluster.started == 0


def test_the_actors_are_told_of_a_store_by_its_absolute_path(
    cluster: Cluster, checkpoint: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster they run in another folder."""
    monkeypatch.setattr("training.store.clip_store.ClipStore", lambda location, config: None)
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data), *STORED]) == 0
    assert cluster.asked["model"].config.dataset.preprocessing.store == str(data.parent / "clips")


def test_a_gpu_of_a_cluster_elsewhere_is_not_looked_for_here(
    cluster: Cluster, checkpoint: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "ray-head:6379")
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data), "--device", "cuda"]) == 0
    assert cluster.asked["model"].config.inference.device == "cuda"


def test_the_split_is_drawn_as_in_training_where_that_is_asked_for(
    cluster: Cluster, checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a warning says so where training took the data set's own splits."""
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data), "--auto-split", "0,0,1"]) == 0
    assert {"t0", "t1"} < {sample.video_id for sample in cluster.asked["samples"]}
    assert "trained with dataset.auto_split=null" in capsys.readouterr().out
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data)]) == 0
    assert "auto_split" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ScoringError("failed", "an actor died [1]"), EXIT_FAILED, "the evaluation failed: an actor died [1]"),
        (OSError(28, "No space left on device"), EXIT_FAILED, "No space left on device"),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "interrupted"),
    ],
)
def test_the_exit_status_says_how_it_ended(
    cluster: Cluster,
    checkpoint: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    cluster.error = error
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data)]) == status
    assert said in capsys.readouterr().err
    assert list((data.parent / "results").iterdir()) == []


@pytest.mark.parametrize(
    "refusal", [PlanError("gpus_missing", "no GPU"), CheckpointError("checkpoint_foreign", "not ours")]
)
def test_what_the_cluster_cannot_hold_is_refused(
    cluster: Cluster, checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str], refusal: Any
) -> None:
    cluster.refusal = refusal
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data)]) == EXIT_REFUSED
    assert refusal.detail in capsys.readouterr().err


def test_hostile_ids_make_no_markup(
    cluster: Cluster, checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = cluster.score
    hostile = "<script>[red]\x1b[2J1"
    cluster.score = lambda sample: replace(
        usual(sample), sample=replace(sample, video_id=f"{hostile}{sample.video_id}")
    )
    assert main(["--checkpoint", str(checkpoint), "--manifest", str(data)]) == 0
    assert "<script>" not in (data.parent / "results" / "report.html").read_text()
    assert "\x1b[2J" not in capsys.readouterr().out
    with (data.parent / "results" / "predictions.csv").open(newline="") as file:
        assert {row["video_id"][:-2] for row in csv.DictReader(file)} == {hostile}


def test_help_and_a_table_need_neither_ray_nor_torch(scored: Path) -> None:
    script = Path(evaluate.__file__)
    for arguments in (["--help"], ["--from-csv", "results/predictions.csv"]):
        code = (
            f"import sys, runpy; sys.argv = {['evaluate.py', *arguments]!r}; sys.path[0] = {str(script.parent)!r}\n"
            f"try: runpy.run_path({str(script)!r}, run_name='__main__')\n"
            "except SystemExit as end: print(end.code, 'ray' in sys.modules, 'torch' in sys.modules)"
        )
        environment = os.environ | {"MPLBACKEND": "agg"}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        assert result.stdout.splitlines()[-1] == "0 False False"
