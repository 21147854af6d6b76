"""Files in, answers out: the whole path in one process, for the command line, notebooks and benchmarks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aura_model.ahead import ahead
from aura_model.analysis import analyse
from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.errors import MediaError
from aura_model.explanation import explain
from aura_model.reply import Analysis
from aura_model.sandbox import Sandbox
from aura_model.scores import ClipScore
from aura_model.stopwatch import Stopwatch

if TYPE_CHECKING:
    from aura_model.scoring import Scorer


@dataclass(frozen=True, eq=False)
class Prediction:
    """What became of one file."""

    clips: Clips
    scores: Sequence[ClipScore]
    """One for each clip, in the same order."""
    analysis: Analysis


class Predictor:
    """Files in, answers out: decode children and one model. A context manager.

    With heat-maps the answer tells for each face where it looks forged, with a picture of it.

    Raises:
        ConfigError: the device is not there, or the backbone or the face detector cannot be had.
        CheckpointError: the checkpoint is missing, damaged or foreign.
    """

    def __init__(self, config: Config, *, children: int = 1, with_heatmaps: bool = False) -> None:
        self._scorer = load_scorer(config)
        self._config = self._scorer.loaded.config
        self._children = children
        self._with_heatmaps = with_heatmaps
        self._sandbox = Sandbox(self._config, children=children)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decode children; a file that is being decoded is waited for."""
        self._sandbox.close()

    def predict(self, path: Path) -> Analysis:
        """Answer for one file.

        Raises:
            MediaError: the media is at fault.
            OSError: the path cannot be opened.
            DecoderError: no decode child can be had.
        """
        return self._judge(self._decode(path)).analysis

    def predict_all(self, paths: Iterable[Path]) -> Iterator[Prediction | MediaError | OSError]:
        """Answer for each file, in order; the next files are decoded while one is scored."""
        for decoded in ahead(self._try_decode, paths, self._children):
            yield decoded if isinstance(decoded, MediaError | OSError) else self._judge(decoded)

    def _try_decode(self, path: Path) -> "_Decoded | MediaError | OSError":
        try:
            return self._decode(path)
        except (MediaError, OSError) as error:
            return error

    def _decode(self, path: Path) -> "_Decoded":
        watch = Stopwatch()
        clips = self._sandbox.load_clips(path)
        watch.lap("load")
        return _Decoded(clips, watch.seconds["load"])

    def _judge(self, decoded: "_Decoded") -> Prediction:
        watch = Stopwatch()
        scores = self._scorer.score(decoded.clips.clips)
        watch.lap("score")
        heatmaps = None
        if self._with_heatmaps:
            heatmaps = explain(decoded.clips, scores, self._config.dataset.face)
            watch.lap("explain")
        timings = watch.seconds | {"total": decoded.seconds + sum(watch.seconds.values())}
        analysis = analyse(decoded.clips, scores, self._scorer.loaded.info, self._config, timings, heatmaps=heatmaps)
        return Prediction(decoded.clips, scores, analysis)


@dataclass(frozen=True, eq=False)
class _Decoded:
    clips: Clips
    seconds: float


def load_scorer(config: Config, passes: int = 1) -> "Scorer":
    """The model that `config.inference` names, ready to score in so many forward passes side by side.

    Raises:
        ConfigError: the device is not there, or the backbone cannot be had.
        CheckpointError: the checkpoint is missing, damaged or foreign.
    """
    # Imported here, so that a wrong argument is told at once: torch takes seconds.
    from aura_model.model_loading import load_for_inference
    from aura_model.scoring import Scorer

    device = config.inference.device
    return Scorer(load_for_inference(config.inference.checkpoint_file, config, device), device, passes)
