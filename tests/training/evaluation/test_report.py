import re
from collections.abc import Sequence
from functools import cache
from html import unescape
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from training.evaluation import plots
from training.evaluation.evaluation import evaluate
from training.evaluation.provenance import CheckpointFacts, Provenance
from training.evaluation.report import FIGURES, render_report
from training.evaluation.score_table import ClipLine, VideoLines
from training.evaluation.thumbnails import JPEG_MAGIC

FACTS = CheckpointFacts(name="best_0.9.pth", sha256="ab" * 32, epoch=3, trained=True, debug=False)
PROVENANCE = Provenance(
    checkpoint=FACTS,
    data="faces.csv",
    split="test",
    scored_at="2026-01-01T00:00:00+00:00",
    versions={"torch": "2.11.0"},
    table_sha256="cd" * 32,
)
COMMAND = "python training/evaluate.py --from-csv results/predictions.csv --output results"
HOSTILE = "<script>alert(1)</script>\"'&<img src=http://evil/x onerror=y>\n\N{RIGHT-TO-LEFT OVERRIDE}\udcff"
PLOTS = ("roc_plot", "precision_recall_plot", "reliability_plot", "coverage_risk_plot", "histogram_plot")
VOID = {"meta", "img", "br", "path", "use", "rect"}


def video(video_id: str, label: int, *logits: float, error: str = "", **columns: str) -> VideoLines:
    clips = tuple(ClipLine(clip=n, track_id=0, start=n, end=n + 1, logit=logit) for n, logit in enumerate(logits))
    return VideoLines(video_id, label, "test", "/data/x.mp4", columns, clips, error, "why")


def some(count: int = 60) -> list[VideoLines]:
    rng = np.random.default_rng(0)
    return [
        video(
            f"v{n}", n % 2, *rng.normal(2 * (n % 2) - 1, 2.0, 2).tolist(), **({"method": f"m{n % 3}"} if n % 2 else {})
        )
        for n in range(count)
    ]


def report(
    videos: Sequence[VideoLines], group_by: Sequence[str] = (), provenance: Provenance = PROVENANCE, **pictures: bytes
) -> str:
    return render_report(evaluate(videos, group_by=group_by), provenance, pictures, COMMAND)


@pytest.fixture(autouse=True)
def _quick_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plots have tests of their own; here only `usual` draws them."""
    for name in PLOTS:
        monkeypatch.setattr(f"training.evaluation.report.{name}", lambda *_: "<svg></svg>")


@cache
def usual() -> str:
    with pytest.MonkeyPatch.context() as patch:
        for name in PLOTS:
            patch.setattr(f"training.evaluation.report.{name}", getattr(plots, name))
        return usual_report()


def usual_report() -> str:
    return report([*some(), video("broken", 1, error="too_long")], ("method",))


class Page(HTMLParser):
    """The tags, the text and every address of a page; fails on tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_the_page_is_whole_and_loads_nothing() -> None:
    page = Page(usual())
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert page.tags.count("svg") == 5
    assert [link for link in page.links if not link.startswith(("#", "data:image/jpeg;base64,"))] == []
    assert "default-src 'none'" in unescape(usual())
    assert "url(http" not in usual()
    assert "@import" not in usual()


def test_every_figure_is_there_per_video_and_per_clip_with_its_interval() -> None:
    found = evaluate(some())
    words = Page(usual()).text
    assert set(FIGURES) == set(found.videos.intervals)
    for name, (label, meaning, _) in FIGURES.items():
        assert label in words
        assert meaning in words
        for level in (found.videos, found.clips):
            interval = level.intervals[name]
            assert f"{level.figures[name]:.3f}" in words
            assert f"{interval.low:.3f} to {interval.high:.3f}" in words
    assert "per video, n = 60" in words
    assert "per clip, n = 120" in words


def test_the_video_comes_before_the_clip() -> None:
    assert usual().index("per video") < usual().index("per clip")


@pytest.mark.parametrize(
    "said",
    [
        "Evaluation of best_0.9.pth",
        "60 of 61 videos scored of faces.csv, split test: 30 real, 30 fake; 120 clips.",
        "the mean over the clips of a face",
        "1 of 61 videos could not be scored.",
        "1000 bootstrap resamples of the 60 videos (seed 0)",
        "n = 30 real and 30 fake videos",
        "too_long",
        "called real",
        "best_0.9.pth, epoch 3",
        "ab" * 32,
        "cd" * 32,
        "torch 2.11.0",
        "2026-01-01T00:00:00+00:00",
        COMMAND,
    ],
)
def test_the_page_says(said: str) -> None:
    assert said in Page(usual()).text


def test_coverage_and_risk_are_told_beside_the_curve() -> None:
    videos = [
        video(f"{n}", 1, -0.1 - 0.01 * n if n < 2 else 3.0 + n) for n in range(10)
    ]  # the two least sure are wrong
    words = Page(report(videos)).text
    assert "Wrong: 20.0% of the surest 100%, 11.1% of the surest 90%, 0.0% of the surest 80%" in words


def test_the_confusion_matrix_counts_each_video() -> None:
    videos = [video(f"{n}", n % 2, 1.0 if n < 5 else -1.0) for n in range(12)]  # called fake: 3 real, 2 fake
    words = Page(report(videos)).text
    assert "real 3 (50.0%) 3 (50.0%) 6 fake 4 (66.7%) 2 (33.3%) 6" in words


def test_groups_say_which_reals_they_are_judged_against() -> None:
    words = Page(usual()).text
    assert "By method" in words
    assert words.count("all 30 reals of the set") == 3
    assert "(blank) 0 30 its own 30 reals" in words
    assert "\N{EN DASH} no fake samples" in words
    aucs = [float(found) for found in re.findall(r"of the set (0\.\d{3})", words)]
    assert len(aucs) == 3
    assert aucs == sorted(aucs)


def test_an_identity_is_what_is_resampled_where_it_is_known() -> None:
    named = [
        VideoLines(one.video_id, one.label, "test", "p", {"identity": "x" + one.video_id[:2]}, one.clips)
        for one in some()
    ]
    assert "resamples of the 10 identities (seed" in Page(report(named)).text
    assert "identities, or videos (seed" in Page(report([*named[:-1], some()[-1]])).text


def test_worst_errors_are_shown_with_picture_label_and_score() -> None:
    jpeg = JPEG_MAGIC + b"pixels"
    page = report([video("bad", 0, 3.0), video("worse", 1, -4.0), video("good", 1, 2.0)], bad=jpeg)
    words = Page(page).text
    assert "2 of 3 scored videos on the wrong side" in words
    assert "worse is fake , scored 0.0180" in words
    assert "bad is real , scored 0.9526" in words
    assert page.index('title="worse"') < page.index('title="bad"')
    assert "good is" not in words
    assert page.count("data:image/jpeg;base64,") == 1
    assert words.count("no picture") == 1


def test_no_error_at_all_is_said() -> None:
    assert "None among 2 scored videos." in Page(report([video("a", 0, -1.0), video("b", 1, 1.0)])).text
    assert "None: every video was scored." in Page(report([video("a", 0, -1.0)])).text


def test_text_from_outside_stays_text() -> None:
    said = HOSTILE.replace("\udcff", "")
    hostile = Provenance(checkpoint=FACTS.model_copy(update={"name": said}), data=said, split=said, table_sha256=said)
    videos = [video(HOSTILE, 0, 3.0, method=HOSTILE), video("b", 1, 1.0), video("c", 1, error=HOSTILE)]
    page = render_report(evaluate(videos, group_by=["method"]), hostile, {HOSTILE: JPEG_MAGIC}, HOSTILE)
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert parsed.tags.count("img") == 1
    assert parsed.text.count("<script>alert(1)</script>") >= 7
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page
    assert page.encode()


@pytest.mark.parametrize(
    ("videos", "drawn", "said"),
    [
        ([], 0, "Not drawn: no samples."),
        ([video("a", 1, error="too_long")], 0, "No video could be scored"),
        ([video("a", 1, 1.0), video("b", 1, -1.0)], 3, "Not drawn: no real samples."),
        ([video("a", 0, 1.0)], 3, "\N{EN DASH} no fake samples"),
        ([video("a", 0, 1.0)], 3, "No interval for any figure: only 1 independent samples"),
        ([video("a", 0, 1.0), video("b", 1, -1.0)], 5, "No interval for any figure: only 2 independent samples"),
    ],
)
def test_a_poor_table_makes_a_page_that_says_what_is_missing(videos: list[VideoLines], drawn: int, said: str) -> None:
    page = Page(report(videos))
    assert page.tags.count("svg") == drawn
    assert said in page.text


def test_a_few_figures_may_lack_an_interval() -> None:
    videos = [video(f"{n}", int(n == 0), float(n) - 20) for n in range(40)]
    assert "No interval for AUC, AP," in Page(report(videos)).text.replace("TPR at 1 % FPR, ", "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checkpoint": None}, "Evaluation of an unknown model"),
        ({"checkpoint": FACTS.model_copy(update={"debug": True})}, "of a debug run. These figures mean nothing"),
        ({"checkpoint": FACTS.model_copy(update={"trained": False})}, "untrained. These figures mean nothing"),
    ],
)
def test_a_model_that_means_nothing_is_told_at_the_top(changes: dict[str, Any], said: str) -> None:
    words = Page(report([video("a", 0, 1.0)], provenance=PROVENANCE.model_copy(update=changes))).text
    assert said in words
    assert words.index(said) < words.index("what it is")


def test_the_same_evaluation_gives_the_same_page() -> None:
    assert usual_report() == usual_report()
