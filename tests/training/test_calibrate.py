"""The command line of the calibration."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aura_model.calibration import Calibration
from aura_model.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from aura_model.config import Config
from aura_model.model import MultimodalModel
from aura_model.model_loading import load_for_inference
from tests.operating_points import make_points
from training import calibrate
from training.calibrate import main, overrides_of, parser
from training.calibration import CalibrationError, HeldOut, fit, sigmoid
from training.command_line import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from training.data.manifest import Sample
from training.evaluation.evaluation import evaluate
from training.evaluation.provenance import CheckpointFacts, Provenance, digest_of
from training.evaluation.results import Results, write_results
from training.evaluation.score_table import ClipLine, VideoLines, write_scores
from training.pairing import pair_scores
from training.pairing.pair_scores import PairScore, ScoredPairs

OPTIONS = {
    "--help",
    "--checkpoint",
    "--output",
    "--config",
    "--data-root",
    "--manifest",
    "--auto-split",
    "--from-csv",
    "--split",
    "--bias",
    "--num-workers",
    "--set",
}
SCALE = 0.4
"""The calibration that the log-odds of the tests need."""


def log_odds_of(count: int, seed: int = 0) -> tuple[list[float], list[int]]:
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0, 6, count)
    return log_odds.tolist(), (rng.random(count) < sigmoid(SCALE * log_odds)).astype(int).tolist()


def video(number: int, label: int, *clips: ClipLine, identity: str = "") -> VideoLines:
    columns = {"identity": identity} if identity else {}
    return VideoLines(f"v{number}", label, "val", f"v{number}.mp4", columns, clips)


def line(clip: int, logit: float, track: int = 0) -> ClipLine:
    return ClipLine(clip=clip, track_id=track, start=clip, end=clip + 1, logit=logit)


def table_of(path: Path, videos: Sequence[VideoLines]) -> Path:
    write_scores(path, videos)
    return path


@pytest.fixture
def videos() -> list[VideoLines]:
    """A thousand videos of one face with two clips, whose mean is the log-odds."""
    log_odds, labels = log_odds_of(1000)
    pairs = zip(log_odds, labels, strict=True)
    return [video(n, label, line(0, odds - 1), line(1, odds + 1)) for n, (odds, label) in enumerate(pairs)]


@pytest.fixture
def table(tmp_path: Path, videos: list[VideoLines]) -> Path:
    return table_of(tmp_path / "predictions.csv", videos)


@pytest.fixture
def checkpoint(tmp_path: Path, config: Config) -> Path:
    path = tmp_path / "trained.pth"
    save_checkpoint(path, MultimodalModel(config.model), config, 3, {"val_auc": 0.75}, training_state={"steps": 9})
    return path


@pytest.fixture(autouse=True)
def logs_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "setup_logging", lambda _: None)


def run(checkpoint: Path, output: Path, *more: object) -> int:
    return main(["--checkpoint", str(checkpoint), "--output", str(output), *map(str, more)])


# --- from a table of scores


def test_a_table_calibrates_a_checkpoint(
    table: Path, checkpoint: Path, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "calibrated.pth"
    assert run(checkpoint, output, "--from-csv", table) == 0
    before, after = read_checkpoint(checkpoint), read_checkpoint(output)
    assert after.calibration is not None
    assert after.calibration.scale == pytest.approx(SCALE, rel=0.2)
    assert after.calibration.bias == 0
    assert after.operating_points is not None
    assert after.operating_points.balanced.false_positive_rate <= 0.05
    assert after.operating_points.balanced.reals + after.operating_points.balanced.fakes == 1000
    assert (after.epoch, after.metrics, after.config) == (before.epoch, before.metrics, before.config)
    assert after.training_state_dict == {"steps": 9}
    said = capsys.readouterr().out
    assert f"temperature {1 / after.calibration.scale:.4f}" in said
    assert all(name in said for name in ("screening", "balanced", "strict", "ECE", "FPR", "calibrated.pth"))
    assert max(map(len, said.splitlines()[3:-1])) <= 80


def test_what_was_written_serves(table: Path, checkpoint: Path, config: Config, tmp_path: Path) -> None:
    assert run(checkpoint, tmp_path / "new.pth", "--from-csv", table) == 0
    loaded = load_for_inference(tmp_path / "new.pth", config, "cpu")
    assert loaded.info.calibrated
    assert loaded.info.operating_points == read_checkpoint(tmp_path / "new.pth").operating_points
    assert loaded.info.version != load_for_inference(checkpoint, config, "cpu").info.version


def test_the_same_table_gives_the_same_figures(table: Path, checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        assert run(checkpoint, tmp_path / name, "--from-csv", table) == 0
    a, b = (read_checkpoint(tmp_path / name) for name in ("a.pth", "b.pth"))
    assert (a.calibration, a.operating_points) == (b.calibration, b.operating_points)


def test_the_output_may_be_the_checkpoint(table: Path, checkpoint: Path) -> None:
    assert run(checkpoint, checkpoint, "--from-csv", table) == 0
    assert read_checkpoint(checkpoint).calibration


def test_a_bias_is_fitted_where_it_is_asked_for(
    videos: list[VideoLines], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = [replace(one, clips=tuple(line(clip.clip, clip.logit + 5) for clip in one.clips)) for one in videos]
    table = table_of(tmp_path / "moved.csv", moved)
    assert run(checkpoint, tmp_path / "a.pth", "--from-csv", table, "--bias") == 0
    calibration = read_checkpoint(tmp_path / "a.pth").calibration
    assert calibration is not None
    assert calibration.apply(5.0) == pytest.approx(0, abs=0.3)
    assert f"bias {calibration.bias:+.4f}" in capsys.readouterr().out


def read(path: Path) -> Checkpoint:
    return read_checkpoint(path)


def test_videos_are_joined_as_in_service(checkpoint: Path, tmp_path: Path) -> None:
    """The mean over the clips of a face, then the highest face; persons are clusters; no score, no sample."""
    reals = [video(n, 0, line(0, -n), line(1, -n - 2), line(2, -99, track=1), identity=f"p{n}") for n in range(99)]
    reals += [video(99, 0, line(0, -99.5), identity="p0")]
    fakes = [video(200 + n, 1, line(0, float(n))) for n in range(19)]
    broken = VideoLines("broken", 0, "val", "x.mp4", {}, (), "too_long", "11 minutes")
    held_out = calibrate.held_out_videos(table_of(tmp_path / "a.csv", [*reals, broken, *fakes]), read(checkpoint))
    assert held_out.log_odds.tolist() == [*(-n - 1.0 for n in range(99)), -99.5, *map(float, range(19))]
    assert held_out.labels.tolist() == [0] * 100 + [1] * 19
    assert len(set(held_out.clusters[:100])) == 99
    assert len(set(held_out.clusters[100:])) == 19


def test_many_videos_of_a_few_people_are_too_few(
    videos: list[VideoLines], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often one is seen, nobody knows how the next one scores."""
    few = [replace(one, columns={"identity": f"p{n % 40}"}) for n, one in enumerate(videos)]
    assert run(checkpoint, tmp_path / "a.pth", "--from-csv", table_of(tmp_path / "few.csv", few)) == EXIT_REFUSED
    assert "99 people" in capsys.readouterr().err
    assert not (tmp_path / "a.pth").exists()


def test_what_was_trained_on_and_scores_of_no_known_model_are_told(
    videos: list[VideoLines], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = table_of(tmp_path / "a.csv", videos)
    write_provenance(tmp_path, videos, table, read(checkpoint).sha256)
    assert run(checkpoint, tmp_path / "a.pth", "--from-csv", table) == 0
    assert capsys.readouterr().err == ""
    trained = table_of(tmp_path / "trained.csv", [*videos[:-1], replace(videos[-1], split="train")])
    assert run(checkpoint, tmp_path / "a.pth", "--from-csv", trained) == 0
    said = capsys.readouterr().err
    assert "split train are not held out" in said
    assert "which model gave these scores is not known" in said


def test_calibrating_again_gives_the_same(
    table: Path, videos: list[VideoLines], checkpoint: Path, tmp_path: Path
) -> None:
    """The scores of a calibrated checkpoint are calibrated ones."""
    assert run(checkpoint, tmp_path / "first.pth", "--from-csv", table) == 0
    first = read(tmp_path / "first.pth")
    assert first.calibration is not None
    calibrated = [
        replace(one, clips=tuple(line(clip.clip, first.calibration.apply(clip.logit)) for clip in one.clips))
        for one in videos
    ]
    again = table_of(tmp_path / "again.csv", calibrated)
    assert run(tmp_path / "first.pth", tmp_path / "second.pth", "--from-csv", again) == 0
    second = read(tmp_path / "second.pth")
    assert second.calibration is not None
    assert second.calibration.scale == pytest.approx(first.calibration.scale, rel=1e-6)
    assert first.operating_points is not None
    assert second.operating_points is not None
    assert second.operating_points.strict.band == pytest.approx(first.operating_points.strict.band)


def write_provenance(folder: Path, videos: list[VideoLines], table: Path, sha256: str) -> None:
    scorer = CheckpointFacts(name="other.pth", sha256=sha256, epoch=3, trained=True, debug=False)
    provenance = Provenance(checkpoint=scorer, table_sha256=digest_of(table))
    write_results(folder, Results(evaluate(videos), provenance, videos, {}, "python training/evaluate.py"))


def test_scores_of_another_checkpoint_are_refused(
    table: Path, videos: list[VideoLines], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_provenance(tmp_path, videos, table, "0" * 64)
    assert run(checkpoint, tmp_path / "a.pth", "--from-csv", table) == EXIT_REFUSED
    assert "another checkpoint, other.pth" in capsys.readouterr().err
    assert not (tmp_path / "a.pth").exists()
    write_provenance(tmp_path, videos, table, read(checkpoint).sha256)
    assert run(checkpoint, tmp_path / "a.pth", "--from-csv", table) == 0


# --- what is refused


@pytest.mark.parametrize(
    ("labels", "turn", "said"),
    [
        ([0] * 98 + [1] * 50, 1, "reals of 99 people or videos and fakes of 19; there are 98 and 50"),
        ([0] * 200 + [1] * 200, -1, "do not rise from real to fake"),
    ],
)
def test_scores_that_allow_no_calibration(
    labels: list[int], turn: int, said: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [video(n, label, line(0, turn * (label - 0.5 + n / 1000))) for n, label in enumerate(labels)]
    table = table_of(tmp_path / "a.csv", found)
    assert run(checkpoint, tmp_path / "new.pth", "--from-csv", table) == EXIT_REFUSED
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new.pth").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--from-csv", "missing.csv"], "missing.csv"),
        (["--from-csv", "predictions.csv", "--split", "val"], "--split does not go with --from-csv"),
        (["--from-csv", "predictions.csv", "--num-workers", "2"], "--num-workers does not go with --from-csv"),
        (["--from-csv", "predictions.csv", "--auto-split"], "--auto-split does not go with --from-csv"),
        ([], "dataset.pseudo_fakes.enabled is false"),
        (["--set", "inference.colour=red", "--from-csv", "predictions.csv"], "inference.colour"),
        (["--from-csv", "predictions.csv", "--set", "inference.checkpoint=null"], "inference.checkpoint is null"),
        (["--from-csv", "predictions.csv", "--set", "inference.checkpoint=no.pth"], "no.pth"),
    ],
)
@pytest.mark.usefixtures("table")
def test_what_cannot_be_done_is_told_before_any_work(
    more: list[str],
    said: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(checkpoint, tmp_path / "a.pth", *more) == EXIT_REFUSED
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a.pth").exists()


def test_a_place_that_cannot_be_written_is_told(
    table: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any work: pairs take hours."""
    for output in (table / "a.pth", tmp_path):
        assert run(checkpoint, output, "--from-csv", table) == EXIT_REFUSED
        assert f"{output} cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--checkpoint", "a.pth"],
        ["--checkpoint", "a.pth", "--output", "b.pth", "--from-csv", "c.csv", "--manifest", "d.csv"],
        ["--checkpoint", "a.pth", "--output", "b.pth", "--num-workers", "0"],
        ["--checkpoint", "a.pth", "--output", "b.pth", "--split", "all"],
    ],
)
def test_wrong_usage(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == EXIT_REFUSED


# --- from pairs


def scored(number: int, log_odds: tuple[float, float], identity: str = "") -> ScoredPairs:
    sample = Sample(f"v{number}", 0, "val", f"/v{number}.png", {"identity": identity} if identity else {})
    real = PairScore(sample.video_id, "#0", 0, log_odds[0])
    return ScoredPairs(sample, (real, PairScore(sample.video_id, "#0 self_blend", 1, log_odds[1])))


class Pairs:
    """Stands in for the scoring of pairs: each is told apart, with one in ten the wrong way round."""

    def __init__(self) -> None:
        self.asked: tuple[Sequence[Sample], Config, int] | None = None
        self.failing: frozenset[str] = frozenset()
        self.error: BaseException | None = None

    def __call__(self, samples: Sequence[Sample], config: Config, processes: int) -> Iterator[ScoredPairs]:
        self.asked = samples, config, processes
        for number, sample in enumerate(samples):
            if self.error:
                raise self.error
            yield self.score(number, sample)

    def score(self, number: int, sample: Sample) -> ScoredPairs:
        if sample.video_id in self.failing:
            return ScoredPairs(sample, (), "no_face")
        wrong = -1 if number % 10 == 0 else 1
        return replace(scored(number, (-wrong * (2 + number / 100), wrong * (2 + number / 100))), sample=sample)


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> Pairs:
    found = Pairs()
    monkeypatch.setattr(pair_scores, "score_pairs", found)
    return found


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A manifest of 240 genuine faces of 120 people to validate with, one fake among them, and one to train with."""
    for name in ("a", "f", "t"):
        (tmp_path / f"{name}.png").write_bytes(b"not looked at " + name.encode())
    rows = [*(f"v{n},0,val,a.png,p{n // 2}" for n in range(240)), "f,1,val,f.png,q", "t,0,train,t.png,r"]
    path = tmp_path / "faces.csv"
    path.write_text("\n".join(["video_id,label,split,path,identity", *rows]) + "\n")
    return path


PSEUDO = ("--set", "dataset.pseudo_fakes.enabled=true")


def test_pairs_calibrate_a_checkpoint(
    pairs: Pairs, faces: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.pth"
    assert run(checkpoint, output, "--manifest", faces, "--num-workers", 3, *PSEUDO) == 0
    assert pairs.asked is not None
    samples, config, processes = pairs.asked
    assert [sample.video_id for sample in samples] == [f"v{n}" for n in range(240)]
    assert config.inference.checkpoint == checkpoint
    assert config.dataset.pseudo_fakes.enabled
    assert processes == 3
    after = read(output)
    expected = HeldOut.of(
        [0, 1] * 240,
        [one.log_odds for n, sample in enumerate(samples) for one in pairs.score(n, sample).scores],
        [f"p{n // 4}" for n in range(480)],
    )
    assert (after.calibration, after.operating_points) == (fit(expected).calibration, fit(expected).points)
    assert "held out: 240 reals, 240 fakes" in capsys.readouterr().out


def test_the_clusters_of_pairs_are_people(pairs: Pairs) -> None:
    samples = [Sample(f"v{n}", 0, "val", "/a.png", {"identity": f"p{n % 5}"} if n < 50 else {}) for n in range(150)]
    found = calibrate.held_out_pairs(samples, calibrate.load_config(env={}), 1)
    assert len(set(found.clusters)) == 5 + 100
    assert found.labels.tolist() == [0, 1] * 150


def test_a_few_faces_may_give_no_pair(pairs: Pairs, faces: Path, checkpoint: Path, tmp_path: Path) -> None:
    pairs.failing = frozenset({"v3"})
    arguments = ("--manifest", faces, *PSEUDO, "--set", "dataset.max_skipped=0.02")
    assert run(checkpoint, tmp_path / "a.pth", *arguments) == 0
    points = read(tmp_path / "a.pth").operating_points
    assert points is not None
    assert points.strict.reals == 239


def test_many_faces_without_a_pair_are_an_error(
    pairs: Pairs, faces: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs.failing = frozenset({"v3", "v4", "v5", "v6", "v7"})
    arguments = ("--manifest", faces, *PSEUDO, "--set", "dataset.max_skipped=0.02")
    assert run(checkpoint, tmp_path / "a.pth", *arguments) == EXIT_FAILED
    assert "5 of 240 gave no pair, such as v3: no_face" in capsys.readouterr().err
    assert not (tmp_path / "a.pth").exists()


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), EXIT_INTERRUPTED), (CalibrationError("scoring_failed", "a process died"), EXIT_FAILED)],
)
def test_a_run_that_stops_writes_nothing(
    error: BaseException, status: int, pairs: Pairs, faces: Path, checkpoint: Path, tmp_path: Path
) -> None:
    pairs.error = error
    assert run(checkpoint, tmp_path / "a.pth", "--manifest", faces, *PSEUDO) == status
    assert not (tmp_path / "a.pth").exists()


def test_too_few_faces_are_told_before_any_is_scored(
    pairs: Pairs, faces: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = faces.read_text().splitlines()
    faces.write_text("\n".join(lines[:197]) + "\n")
    assert run(checkpoint, tmp_path / "a.pth", "--manifest", faces, *PSEUDO) == EXIT_REFUSED
    assert "reals of 99 people or videos and fakes of 19; there are 98 and 98" in capsys.readouterr().err
    many_each = ("--set", "dataset.pseudo_fakes.pairs.eval=20")  # of the same people
    assert run(checkpoint, tmp_path / "a.pth", "--manifest", faces, *PSEUDO, *many_each) == EXIT_REFUSED
    assert pairs.asked is None


def test_a_video_in_two_splits_is_refused_before_any_is_scored(
    pairs: Pairs, faces: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces.write_text(faces.read_text().replace("t.png", "a.png"))
    assert run(checkpoint, tmp_path / "a.pth", "--manifest", faces, *PSEUDO) == EXIT_REFUSED
    assert "the same content" in capsys.readouterr().err
    assert pairs.asked is None


def test_pairs_of_people_that_were_trained_on_are_told(
    pairs: Pairs, faces: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces.write_text(faces.read_text().replace(",val,", ",train,"))
    assert run(checkpoint, tmp_path / "a.pth", "--manifest", faces, "--split", "train", *PSEUDO) == 0
    assert "not held out" in capsys.readouterr().err


def test_a_split_without_videos_is_told(
    pairs: Pairs, faces: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--manifest", faces, "--split", "test", *PSEUDO)
    assert run(checkpoint, tmp_path / "a.pth", *arguments) == EXIT_REFUSED
    assert "the split test has no video" in capsys.readouterr().err
    assert pairs.asked is None


@pytest.fixture
def hashed(tmp_path: Path, config: Config) -> Path:
    """A checkpoint of a training that drew the splits itself: all videos were to validate with."""
    dataset = config.dataset.model_copy(update={"auto_split": (0.0, 1.0, 0.0)})
    path = tmp_path / "hashed.pth"
    save_checkpoint(path, MultimodalModel(config.model), config.model_copy(update={"dataset": dataset}), 3, {})
    return path


def test_pairs_can_be_made_of_a_split_by_hash(
    pairs: Pairs, faces: Path, hashed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(hashed, tmp_path / "a.pth", "--manifest", faces, "--auto-split", "0,1,0", *PSEUDO) == 0
    assert pairs.asked is not None
    assert "t" in {sample.video_id for sample in pairs.asked[0]}  # of the split train, if the manifest had its way
    assert "auto_split" not in capsys.readouterr().err


def test_another_split_than_that_of_training_is_told(
    pairs: Pairs, faces: Path, hashed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(hashed, tmp_path / "a.pth", "--manifest", faces, *PSEUDO) == 0
    assert "give --auto-split 0.0,1.0,0.0" in capsys.readouterr().err


# --- the surface


def test_the_options_are_these() -> None:
    assert {name for action in parser()._actions for name in action.option_strings} - {"-h"} == OPTIONS


def test_the_command_line_beats_the_file() -> None:
    arguments = parser().parse_args(
        ["--checkpoint", "a.pth", "--output", "b", "--data-root", "faces", "--set", "seed=3"]
    )
    assert overrides_of(arguments) == [
        "dataset.manifest=null",
        'dataset.data_root="faces"',
        'inference.checkpoint="a.pth"',
        "seed=3",
    ]


def test_the_packages_own_checkpoint_can_be_named() -> None:
    arguments = parser().parse_args(["--checkpoint", "default", "--output", "b"])
    config = calibrate.load_config(env={}, overrides=overrides_of(arguments))
    assert config.inference.checkpoint == "default"


def test_a_calibrated_checkpoint_keeps_nothing_of_the_old_points(table: Path, config: Config, tmp_path: Path) -> None:
    old: dict[str, Any] = {"calibration": Calibration(scale=1.0, bias=0.0), "operating_points": make_points()}
    save_checkpoint(tmp_path / "old.pth", MultimodalModel(config.model), config, 3, {}, **old)
    assert run(tmp_path / "old.pth", tmp_path / "new.pth", "--from-csv", table) == 0
    points = read(tmp_path / "new.pth").operating_points
    assert points is not None
    assert {point.reals + point.fakes for point in points.ordered} == {1000}


def test_help_needs_no_torch_and_no_ray() -> None:
    script = (
        "import sys\nfrom training.calibrate import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    print(*{'torch', 'ray'} & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--from-csv" in done.stdout
    assert done.stderr.strip() == ""
