"""The scores of pseudo-fake pairs, without Ray: made and scored in a few processes, so that only numbers travel.

A pair is a genuine clip and its forgery, see `training.pairing.pairs`. Here each counts once and as it was rendered,
for `training/calibrate.py` to fit to; `benchmarks/robustness.py` scores pairs that it changes, in processes of its own.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache
from itertools import repeat
from multiprocessing import get_context

from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.predictor import load_scorer
from aura_model.scores import ClipScore
from aura_model.settings import parse_config
from training.calibration import CalibrationError
from training.data.manifest import Sample
from training.extraction import training_source
from training.rows import Row, RowSource, clip_from_row, path_row

NICE = 10
Score = Callable[[Sequence[Clip]], Sequence[ClipScore]]


@dataclass(frozen=True)
class PairScore:
    """One clip of a pair."""

    video_id: str
    """What the pair was made of."""
    variant: str
    """Which clip of which pair: `#0` the genuine one, `#0 self_blend` its forgery."""
    label: int
    """0 = real, 1 = fake."""
    log_odds: float
    """Of fake, without the calibration that the checkpoint may have."""


@dataclass(frozen=True)
class ScoredPairs:
    """All pairs of one video or picture."""

    sample: Sample
    scores: tuple[PairScore, ...]
    error: str = ""
    """Why there is none."""


def score_pairs(samples: Sequence[Sample], config: Config, processes: int) -> Iterator[ScoredPairs]:
    """Make and score `dataset.pseudo_fakes.pairs.eval` pairs of each sample, in order.

    The pairs are those of validation: the same for any number of processes, and in every run.

    Args:
        samples: genuine ones.
        config: with pseudo-fakes switched on, and the checkpoint under `inference`.
        processes: so many children, each with a model and a decode child of its own.

    Raises:
        CalibrationError: scoring_failed: a process died.
        CheckpointError, ConfigError: as `load_scorer` and `training_source`.
    """
    text, threads = json.dumps(config.plain()), max(1, len(os.sched_getaffinity(0)) // processes)
    pool = ProcessPoolExecutor(processes, get_context("spawn"))
    try:
        yield from pool.map(_score_in_child, repeat(text), repeat(threads), samples)
    except BrokenProcessPool:
        raise CalibrationError("scoring_failed", "a process that made pairs died; is there enough memory?") from None
    finally:
        pool.shutdown(cancel_futures=True)


def scores_of(sample: Sample, rows: RowSource, score: Score) -> ScoredPairs:
    """The scores of one sample's pairs, whose rows come from `rows`."""
    made = rows(path_row(sample))
    if made[0]["error"]:
        return ScoredPairs(sample, (), str(made[0]["error"]))
    scores = score([clip_from_row(row) for row in made])
    return ScoredPairs(sample, tuple(_pair_score(row, one) for row, one in zip(made, scores, strict=True)))


def _pair_score(row: Row, score: ClipScore) -> PairScore:
    return PairScore(str(row["video_id"]), str(row["variant"]), int(row["label"]), score.fake)


def _score_in_child(config: str, threads: int, sample: Sample) -> ScoredPairs:
    return scores_of(sample, *_tools(config, threads))


@cache
def _tools(config: str, threads: int) -> tuple[RowSource, Score]:
    """What this process makes and scores pairs with."""
    import torch  # takes seconds, in the children alone

    from aura_model.scoring import Scorer

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends its children
    os.nice(NICE)
    torch.set_num_threads(threads)
    calibrated = load_scorer(parse_config(json.loads(config)))
    scorer = Scorer(replace(calibrated.loaded, calibration=None), calibrated.device)
    return training_source(scorer.loaded.config), scorer.score
