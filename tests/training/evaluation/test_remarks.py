import pytest

from training.evaluation.evaluation import evaluate
from training.evaluation.provenance import CheckpointFacts, Provenance
from training.evaluation.remarks import warnings_of
from training.evaluation.score_table import ClipLine, VideoLines

GOOD = CheckpointFacts(name="best.pth", sha256="ab", epoch=3, trained=True, debug=False)


def warned(checkpoint: CheckpointFacts | None = GOOD, reals: int = 100, fakes: int = 20, broken: int = 0) -> list[str]:
    clips = (ClipLine(clip=0, start=0, end=1, logit=0.0),)
    videos = [VideoLines(f"{n}", int(n >= reals), "test", "p", {}, clips) for n in range(reals + fakes)]
    videos += [VideoLines(f"b{n}", 0, "test", "p", {}, (), "too_long", "") for n in range(broken)]
    return warnings_of(evaluate(videos), Provenance(checkpoint=checkpoint, table_sha256="cd"))


def test_a_sound_evaluation_needs_no_warning() -> None:
    assert warned() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trained": False, "epoch": 0}, "The model is untrained. These figures mean nothing"),
        ({"debug": True}, "The checkpoint is of a debug run. These figures mean nothing"),
    ],
)
def test_a_model_that_means_nothing_is_told(changes: dict[str, object], said: str) -> None:
    (warning,) = warned(GOOD.model_copy(update=changes))
    assert warning.startswith(said)


def test_an_unknown_model_is_told() -> None:
    (warning,) = warned(None)
    assert warning.startswith("Which model gave these scores is not known")


def test_videos_that_were_left_out_are_told() -> None:
    assert warned(broken=5) == ["5 of 125 videos could not be scored. The figures are over the rest."]


def test_nothing_scored_is_told() -> None:
    assert warned(reals=0, fakes=0, broken=5) == ["No video could be scored, so there is no figure."]


def test_few_real_videos_are_told() -> None:
    assert warned(reals=99) == [
        "TPR at 1 % FPR: of 99 real videos, 1 % is less than one, so none is accused at that TPR."
    ]


def test_of_one_class_that_is_not_told() -> None:
    assert warned(reals=0) == []
