"""Pairs that are made and scored outside Ray."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aura_model.calibration import Calibration
from aura_model.checkpoint import save_checkpoint
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.errors import CheckpointError
from aura_model.model import MultimodalModel
from aura_model.scores import ClipScore
from tests.operating_points import make_points
from training.calibration import CalibrationError
from training.data.manifest import Sample
from training.pairing import pair_scores
from training.pairing.pair_scores import PairScore, ScoredPairs, score_pairs, scores_of
from training.rows import EVALUATION, ClipShape, Row, error_row, rows_of

MEDIA = Path(__file__).parents[2] / "media"
SAMPLE = Sample("v1", 0, "val", "/faces/v1.png", {"identity": "somebody"})
PASS = {"epoch": EVALUATION, "slot": 0}


@pytest.fixture
def pair_rows(
    config: Config, make_clip: Callable[..., Clip], make_clips: Callable[..., Any]
) -> Callable[[Mapping[str, Any]], list[Row]]:
    """The rows of two pairs of any video."""

    def build(source: Mapping[str, Any]) -> list[Row]:
        rows = []
        for variant, label in (("#0", 0), ("#0 self_blend", 1), ("#1", 0), ("#1 mouth_swap", 1)):
            clip = make_clip(seed=len(rows), audio=False)
            row = rows_of(make_clips(clip), source, ClipShape.of(config))[0]
            rows.append(row | {"variant": variant, "label": label})
        return rows

    return build


def test_every_clip_of_every_pair_has_its_score(pair_rows: Callable[..., list[Row]]) -> None:
    seen: list[Clip] = []

    def score(clips: Sequence[Clip]) -> list[ClipScore]:
        seen.extend(clips)
        return [ClipScore(float(number), None, None) for number in range(len(clips))]

    found = scores_of(SAMPLE, pair_rows, score)
    assert found == ScoredPairs(
        SAMPLE,
        (
            PairScore("v1", "#0", 0, 0.0),
            PairScore("v1", "#0 self_blend", 1, 1.0),
            PairScore("v1", "#1", 0, 2.0),
            PairScore("v1", "#1 mouth_swap", 1, 3.0),
        ),
    )
    rows = pair_rows({"video_id": "", "path": "", "label": 0, "split": "", **PASS})
    for clip, row in zip(seen, rows, strict=True):
        np.testing.assert_array_equal(clip.frames, row["frames"])


def test_pairs_are_asked_for_as_in_evaluation(pair_rows: Callable[..., list[Row]]) -> None:
    asked: list[Mapping[str, Any]] = []

    def rows(source: Mapping[str, Any]) -> list[Row]:
        asked.append(source)
        return pair_rows(source)

    scores_of(SAMPLE, rows, lambda clips: [ClipScore(0.0, None, None)] * len(clips))
    assert asked == [{"video_id": "v1", "path": "/faces/v1.png", "label": 0, "split": "val", **PASS}]


def test_what_gives_no_pair_says_why(config: Config) -> None:
    def rows(source: Mapping[str, Any]) -> list[Row]:
        return [error_row("no_face", "nobody", source, ClipShape.of(config))]

    assert scores_of(SAMPLE, rows, lambda _: pytest.fail("scored")) == ScoredPairs(SAMPLE, (), "no_face")


class Pool:
    """Stands in for a pool of processes: works here, and remembers how it was used."""

    last: "Pool"

    def __init__(self, processes: int, context: Any) -> None:
        self.processes, self.cancelled = processes, False
        assert context.get_start_method() == "spawn"  # no fork beside torch's threads
        Pool.last = self

    def map(self, work: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
        return map(work, *arguments)

    def shutdown(self, *, cancel_futures: bool) -> None:
        self.cancelled = cancel_futures


def test_samples_come_back_in_order_and_the_rest_is_cancelled(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [replace(SAMPLE, video_id=f"v{number}") for number in range(5)]
    monkeypatch.setattr(pair_scores, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(pair_scores, "_score_in_child", lambda config, threads, sample: ScoredPairs(sample, ()))
    found = score_pairs(samples, config, 2)
    assert next(found).sample == samples[0]
    assert not Pool.last.cancelled
    assert [one.sample for one in found] == samples[1:]
    assert (Pool.last.processes, Pool.last.cancelled) == (2, True)


def test_an_interrupted_run_ends_its_processes(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> ScoredPairs:
        raise KeyboardInterrupt

    monkeypatch.setattr(pair_scores, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(pair_scores, "_score_in_child", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(score_pairs([SAMPLE], config, 1))
    assert Pool.last.cancelled


def test_the_death_of_a_process_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> ScoredPairs:
        raise BrokenProcessPool

    monkeypatch.setattr(pair_scores, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(pair_scores, "_score_in_child", die)
    with pytest.raises(CalibrationError, match="memory") as caught:
        list(score_pairs([SAMPLE], config, 1))
    assert caught.value.code == "scoring_failed"


# With real processes


def pairs_config(make_config: Callable[..., Config], checkpoint: Path) -> Config:
    return make_config(
        "dataset.pseudo_fakes.enabled=true",
        "dataset.pseudo_fakes.size=128",
        "dataset.pseudo_fakes.pairs.eval=2",
        f"inference.checkpoint={checkpoint}",
    )


def test_faces_and_their_forgeries_are_scored(make_config: Callable[..., Config], tmp_path: Path) -> None:
    """A picture and a video without a face; a calibration that the checkpoint has is left out."""
    path = tmp_path / "a.pth"
    config = pairs_config(make_config, path)
    far: dict[str, Any] = {"calibration": Calibration(scale=1.0, bias=1000.0), "operating_points": make_points()}
    save_checkpoint(path, MultimodalModel(config.model), config, 1, {}, **far)
    samples = [
        Sample("face", 0, "val", str(MEDIA / "face.jpg")),
        Sample("nobody", 0, "val", str(MEDIA / "no_face.mp4")),
    ]
    face, nobody = score_pairs(samples, config, 1)
    assert [(one.variant, one.label) for one in face.scores] == [
        ("#0", 0),
        ("#0 self_blend", 1),
        ("#1", 0),
        ("#1 self_blend", 1),
    ]
    assert all(abs(one.log_odds) < 500 for one in face.scores)
    assert len({one.log_odds for one in face.scores}) == 4
    assert (nobody.scores, bool(nobody.error)) == ((), True)


def test_a_checkpoint_that_is_not_there_is_told(make_config: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        list(score_pairs([SAMPLE], pairs_config(make_config, tmp_path / "no.pth"), 1))
    assert caught.value.code == "checkpoint_missing"
