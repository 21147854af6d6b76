"""The files of an evaluation beside its table of scores: results as JSON, the videos without a score, the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura_model.atomic import replacing
from aura_model.metrics import save_metrics_json
from training.evaluation.evaluation import Evaluation
from training.evaluation.provenance import RESULTS, Provenance
from training.evaluation.remarks import warnings_of
from training.evaluation.report import render_report
from training.evaluation.score_table import VideoLines
from training.watch.run_files import SkipsFile

REPORT = "report.html"
SKIPPED = "skipped.csv"


@dataclass(frozen=True, eq=False)
class Results:
    """All that an evaluation has to tell."""

    evaluation: Evaluation
    provenance: Provenance
    videos: Sequence[VideoLines]
    pictures: Mapping[str, bytes]
    """JPEG by video_id, of the worst errors."""
    command: str
    """Makes all this again from the table of scores."""

    @property
    def warnings(self) -> list[str]:
        """See `training.evaluation.remarks.warnings_of`."""
        return warnings_of(self.evaluation, self.provenance)

    def plain(self) -> dict[str, Any]:
        """As plain types."""
        return {"provenance": self.provenance.model_dump(), "warnings": self.warnings, **self.evaluation.plain()}


def write_results(folder: Path, results: Results) -> None:
    """Write the three files, each whole or not at all.

    Raises:
        OSError: a file cannot be written.
    """
    save_metrics_json(results.plain(), folder / RESULTS)
    _write_skipped(folder / SKIPPED, results.videos)
    page = render_report(results.evaluation, results.provenance, results.pictures, results.command)
    with replacing(folder / REPORT, ".report-") as file:
        file.write(page.encode(errors="backslashreplace"))


def _write_skipped(path: Path, videos: Sequence[VideoLines]) -> None:
    path.unlink(missing_ok=True)  # what an earlier evaluation skipped is no part of this one
    skips = SkipsFile(path)
    for video in videos:
        if video.error:
            skips.hear(
                {
                    "kind": "skip",
                    "video_id": video.video_id,
                    "path": video.path,
                    "split": video.split,
                    "code": video.error,
                    "detail": video.detail,
                }
            )
    skips.close()
