"""Rows of a video: decoded anew or read from a store, and an error row for whatever cannot be used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.errors import AuraError, MediaError
from training.data.debugset import MEDIA
from training.data.manifest import Sample
from training.extraction import MediaRows, clip_source, training_source
from training.pairing.loose import loose
from training.pairing.pairs import PairSource
from training.rows import EVALUATION, ClipShape, Row, rows_of
from training.store.files import StoreFiles
from training.store.writer import write_videos


class FakeSource:
    """Answers with what was prepared for each path, and remembers the seeds."""

    def __init__(self, answers: dict[str, Clips | Exception]) -> None:
        self.answers = answers
        self.seeds: list[int | None] = []

    def load_clips(self, source: Path | bytes, *, seed: int | None = None) -> Clips:
        self.seeds.append(seed)
        answer = self.answers[str(source)]
        if isinstance(answer, Exception):
            raise answer
        return answer


def path_row(path: str, epoch: int = EVALUATION, video_id: str = "one", split: str = "train") -> Row:
    return {"video_id": video_id, "path": path, "label": 1, "split": split, "epoch": epoch, "slot": 5}


@pytest.fixture
def clips(make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]) -> Clips:
    return make_clips(make_clip(0), make_clip(1, audio=False), make_clip(2, video=False))


def media_rows(config: Config, **answers: Clips | Exception) -> MediaRows:
    """Answers for the paths `NAME.mp4`."""
    return MediaRows(config, lambda _: FakeSource({f"{name}.mp4": answer for name, answer in answers.items()}))


def test_a_video_gives_a_row_for_each_clip(config: Config, clips: Clips) -> None:
    rows = media_rows(config, a=clips)(path_row("a.mp4", epoch=2))
    assert [(row["clip"], row["has_video"], row["has_audio"]) for row in rows] == [
        (0, True, True), (1, True, False), (2, False, True),
    ]  # fmt: skip
    facts = {"video_id": "one", "path": "a.mp4", "label": 1, "split": "train", "epoch": 2, "slot": 5, "error": ""}
    assert all({name: row[name] for name in facts} == facts for row in rows)


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (MediaError("corrupt_video", "The video stream cannot be decoded."), "corrupt_video", "cannot be decoded"),
        (MediaError("decode_crashed", "The decoder ended with SIGSEGV."), "decode_crashed", "SIGSEGV"),
        (FileNotFoundError(2, "No such file", "a.mp4"), "unreadable_file", "No such file"),
        (PermissionError(13, "Permission denied", "a.mp4"), "unreadable_file", "Permission denied"),
    ],
)
def test_a_bad_file_is_one_row_with_the_error(
    config: Config, clips: Clips, answer: Exception, code: str, said: str
) -> None:
    rows = media_rows(config, a=answer, b=clips)
    (row,) = rows(path_row("a.mp4", epoch=1, split="val"))
    assert (row["error"], row["video_id"], row["path"], row["label"]) == (code, "one", "a.mp4", 1)
    assert (row["split"], row["epoch"], row["slot"], row["clip"]) == ("val", 1, 5, -1)
    assert said in row["detail"]
    assert [row["error"] for row in rows(path_row("b.mp4"))] == ["", "", ""]


def test_a_video_without_face_and_speech_is_one_row_with_the_error(
    config: Config, make_clips: Callable[..., Clips]
) -> None:
    (row,) = media_rows(config, a=make_clips(notes=("no_face",)))(path_row("a.mp4"))
    assert (row["error"], row["notes"]) == ("no_clips", "no_face")


def test_a_place_that_is_not_there_is_one_row_with_the_error(config: Config, tmp_path: Path) -> None:
    (row,) = media_rows(config)(path_row(f"file://{tmp_path}/nothing.mp4"))
    assert (row["error"], row["clip"]) == ("unreadable_file", -1)


def test_a_fault_of_the_program_is_not_blamed_on_the_file(config: Config) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        media_rows(config, a=RuntimeError("a bug"))(path_row("a.mp4"))


def seeds_of(config: Config, clips: Clips, *drawn: tuple[str, int]) -> list[int | None]:
    source = FakeSource({"a.mp4": clips, "b.mp4": clips})
    rows = MediaRows(config, lambda _: source)
    for number, (video_id, epoch) in enumerate(drawn):
        rows(path_row("ab"[number % 2] + ".mp4", epoch, video_id))  # where the file lies must not matter
    return source.seeds


def test_training_draws_by_seed_epoch_and_video_and_evaluation_does_not_draw(
    make_config: Callable[..., Config], clips: Clips
) -> None:
    config, other = make_config(), make_config("seed=1")
    first, again, next_epoch, next_video, evaluation = seeds_of(
        config, clips, ("one", 1), ("one", 1), ("one", 2), ("two", 1), ("one", EVALUATION)
    )
    assert first == again
    assert evaluation is None
    assert len({first, next_epoch, next_video, *seeds_of(other, clips, ("one", 1))}) == 4


def test_on_the_fly_decodes_the_file(make_config: Callable[..., Config]) -> None:
    config = make_config("dataset.face.detect=false", "dataset.audio.enabled=false")
    rows = clip_source(config)
    shown = rows(path_row(str(MEDIA / "video_only.mp4")))
    assert len(shown) == config.dataset.video.clips_per_video.eval
    assert all(row["has_video"] and row["frames"].any() for row in shown)
    (broken,) = rows(path_row(str(MEDIA / "not_a_video.mp4")))
    assert broken["error"] == "invalid_video"


def test_preextracted_reads_the_store(make_config: Callable[..., Config], clips: Clips, tmp_path: Path) -> None:
    config = make_config("dataset.preprocessing.mode=preextracted", f"dataset.preprocessing.store={tmp_path}")
    stored = rows_of(clips, path_row("/elsewhere/one.mp4"), ClipShape.of(config))
    list(write_videos(StoreFiles(str(tmp_path)), config, [Sample("one", 1, "train", "/elsewhere/one.mp4")], [stored]))
    rows = clip_source(config)(path_row("/elsewhere/one.mp4"))  # there is no such file any more
    assert [(row["clip"], row["has_video"], row["has_audio"]) for row in rows] == [
        (row["clip"], row["has_video"], row["has_audio"]) for row in stored
    ]


@pytest.mark.parametrize("store", ["nothing_there", "s3:/wrong"])
def test_a_store_that_is_not_there_is_refused(make_config: Callable[..., Config], tmp_path: Path, store: str) -> None:
    overrides: Any = ("dataset.preprocessing.mode=preextracted", f"dataset.preprocessing.store={tmp_path / store}")
    with pytest.raises(AuraError):
        clip_source(make_config(*overrides))


PAIRS = (
    "dataset.pseudo_fakes={enabled: true, size: 128, margin: 0.5}",
    "dataset.face.detect=false",
    "training.batch_size=2",
    "dataset.pseudo_fakes.pairs={train: 2, eval: 1}",
)


def test_training_takes_the_clips_as_they_are_or_pairs_made_of_them(make_config: Callable[..., Config]) -> None:
    place = path_row(str(MEDIA / "face.jpg"), epoch=1) | {"label": 0}
    as_they_are = training_source(make_config("dataset.face.detect=false"))
    assert not isinstance(as_they_are, PairSource)
    assert {row["variant"] for row in as_they_are(place)} == {""}
    rows = training_source(make_config(*PAIRS))(place)
    assert [row["variant"] for row in rows] == ["#0", "#0 self_blend", "#1", "#1 self_blend"]
    assert {row["frames"].shape for row in rows} == {(2, 64, 64, 3)}


def test_clips_as_they_are_stay_so_whatever_training_makes_of_them(make_config: Callable[..., Config]) -> None:
    """Evaluation and bulk prediction ask for these."""
    config, plain = make_config(*PAIRS), make_config("dataset.face.detect=false")
    place = path_row(str(MEDIA / "face.jpg"))
    (row,), (expected,) = clip_source(config)(place), clip_source(plain)(place)
    assert (row["variant"], row["has_places"]) == ("", False)
    assert row["frames"].tobytes() == expected["frames"].tobytes()


def test_pairs_are_made_of_a_store_of_loose_crops(make_config: Callable[..., Config], tmp_path: Path) -> None:
    config = make_config(*PAIRS, "dataset.preprocessing.mode=preextracted", f"dataset.preprocessing.store={tmp_path}")
    place = path_row(str(MEDIA / "face.jpg"), epoch=1) | {"label": 0}
    decoded = clip_source(loose(make_config(*PAIRS)))(place)
    assert {row["frames"].shape for row in decoded} == {(2, 128, 128, 3)}
    sample = Sample("one", 0, "train", str(MEDIA / "face.jpg"))
    list(write_videos(StoreFiles(str(tmp_path)), loose(config), [sample], [decoded]))
    rows = training_source(config)(place)
    assert [(row["variant"], row["label"]) for row in rows] == [
        ("#0", 0), ("#0 self_blend", 1), ("#1", 0), ("#1 self_blend", 1),
    ]  # fmt: skip
    with pytest.raises(AuraError, match=r"dataset\.face\.(margin|size)"):
        clip_source(config)  # the store holds loose crops, which no model was trained on
