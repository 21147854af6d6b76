import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from loguru import logger

from aura_model import predict, stopwatch
from aura_model import predictor as predictor_module
from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.contact_sheet import draw_sheet
from aura_model.errors import CheckpointError, ConfigError, MediaError
from aura_model.logging import get_logger
from aura_model.media import MediaInfo
from aura_model.predict import Problem, main
from aura_model.predictor import Prediction, Predictor
from aura_model.reply import Analysis, ModelInfo
from aura_model.scores import ClipScore
from aura_model.settings import parse_config
from tests.operating_points import make_points

MEDIA = Path(__file__).parent.parent / "media"
CONFIG = parse_config()
INFO = ModelInfo(name="m", version="1", trained=True, calibrated=True)
WAIT = 20.0
"""Seconds after which an event that never comes fails a test."""


def clips_of(path: Path, *, count: int = 1) -> Clips:
    """Clips that carry the file's name in `container`."""
    clip = Clip(
        times=np.array([0.0, 0.5]),
        seconds=1.0,
        frames=np.zeros((2, 32, 32, 3), np.uint8),
        boxes=np.zeros((2, 4), np.float32),
        landmarks=None,
        track_id=0,
        wave=None,
    )
    info = MediaInfo(
        sha256="0" * 64,
        bytes=1,
        container=path.name.encode(errors="replace").decode(),
        duration=4.0,
        width=64,
        height=64,
        fps=25.0,
        rotation=0,
        video_codec="h264",
        audio_codec=None,
    )
    notes = ("no_audio",) if count else ("no_face", "no_audio")
    return Clips((clip,) * count, info, notes, {"open": 0.001, "decode": 0.002, "faces": 0.003, "sound": 0.0})


@dataclass
class FakeSandbox:
    """Stands in for the decode children."""

    config: Config
    children: int
    opened: list[str] = field(default_factory=list)
    closed: bool = False
    hook: ClassVar[Callable[[Path], None]]
    last: ClassVar["FakeSandbox"]

    def __post_init__(self) -> None:
        FakeSandbox.last = self

    def load_clips(self, path: Path) -> Clips:
        self.opened.append(path.name)
        FakeSandbox.hook(path)
        path.open("rb").close()
        if path.name.startswith("bad"):
            raise MediaError("invalid_video", "Not media.")
        if path.name.startswith("large"):
            raise MediaError("file_too_large", "Too large.")
        return clips_of(path, count=0 if path.name.startswith("nobody") else 1)

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeLoaded:
    config: Config
    info: ModelInfo = INFO


@dataclass
class FakeScorer:
    """Says fake to everything, everywhere."""

    loaded: FakeLoaded
    hook: ClassVar[Callable[[Sequence[Clip]], None]]

    def score(self, clips: Sequence[Clip]) -> list[ClipScore]:
        FakeScorer.hook(clips)
        return [ClipScore(3.0, 3.0, None, np.full((len(clip.times), 6, 6), 0.8, np.float32)) for clip in clips]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor_module, "Sandbox", FakeSandbox)
    monkeypatch.setattr(predictor_module, "load_scorer", lambda config: FakeScorer(FakeLoaded(config)))
    monkeypatch.setattr(FakeSandbox, "hook", lambda path: None, raising=False)
    monkeypatch.setattr(FakeScorer, "hook", lambda clips: None, raising=False)


@pytest.fixture(autouse=True)
def logs_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Undo `setup_logging`, and keep the settings of whoever runs the tests out."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AURA_")]:
        monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logger.remove()
    logger.configure(patcher=lambda record: None)
    root.handlers, root.level = handlers, level


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[str]]:
    def make(*names: str) -> list[str]:
        for name in names:
            (tmp_path / name).write_bytes(b"media")
        return [str(tmp_path / name) for name in names]

    return make


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, list[dict[str, Any]]]:
    code = main(["--json", *argv])
    return code, json.loads(capsys.readouterr().out)


Files = Callable[..., list[str]]


# --- Predictor


@pytest.mark.usefixtures("fakes")
def test_predict_answers_for_one_file(files: Files) -> None:
    with Predictor(CONFIG) as predictor:
        answer = predictor.predict(Path(files("a.mp4")[0]))
    assert isinstance(answer, Analysis)
    assert (answer.verdict, answer.media.container, answer.model) == ("fake", "a.mp4", INFO)
    assert set(answer.timings) == {"open", "decode", "faces", "sound", "score", "total"}
    assert FakeSandbox.last.closed


@pytest.mark.usefixtures("fakes")
def test_the_total_is_decoding_and_scoring(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 13.0, 20.0, 20.5])
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    with Predictor(CONFIG) as predictor:
        timings = predictor.predict(Path(files("a.mp4")[0])).timings
    assert (timings["score"], timings["total"], timings["decode"]) == (500.0, 3500.0, 2.0)


@pytest.mark.usefixtures("fakes")
def test_heat_maps_are_drawn_where_they_are_asked_for(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 13.0, 20.0, 20.5, 20.75])
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    with Predictor(CONFIG, with_heatmaps=True) as predictor:
        answer = predictor.predict(Path(files("a.mp4")[0]))
    heatmap = answer.faces[0].heatmap
    assert heatmap is not None
    assert heatmap.peak.probability == 0.8
    assert (answer.timings["score"], answer.timings["explain"], answer.timings["total"]) == (500.0, 250.0, 3750.0)


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(("name", "error"), [("bad.mp4", MediaError), ("missing.mp4", FileNotFoundError)])
def test_predict_raises_what_is_wrong_with_the_file(
    files: Files, tmp_path: Path, name: str, error: type[Exception]
) -> None:
    files("bad.mp4")
    with Predictor(CONFIG) as predictor, pytest.raises(error):
        predictor.predict(tmp_path / name)


@pytest.mark.usefixtures("fakes")
def test_clips_are_prepared_as_the_checkpoint_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    trained_on = parse_config({"dataset": {"video": {"temporal_window": 4}}})
    monkeypatch.setattr(predictor_module, "load_scorer", lambda config: FakeScorer(FakeLoaded(trained_on)))
    with Predictor(CONFIG):
        assert FakeSandbox.last.config is trained_on


@pytest.mark.usefixtures("fakes")
def test_many_files_are_answered_in_order_though_decoded_out_of_order(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = threading.Event()

    def hook(path: Path) -> None:
        if path.name == "0.mp4":
            assert second.wait(WAIT)
        if path.name == "1.mp4":
            second.set()

    monkeypatch.setattr(FakeSandbox, "hook", hook)
    paths = [Path(file) for file in files("0.mp4", "1.mp4", "2.mp4")]
    with Predictor(CONFIG, children=2) as predictor:
        results = [result for result in predictor.predict_all(paths) if isinstance(result, Prediction)]
    assert [result.clips.media.container for result in results] == ["0.mp4", "1.mp4", "2.mp4"]
    assert all(len(result.scores) == len(result.clips.clips) for result in results)


@pytest.mark.usefixtures("fakes")
def test_the_next_file_is_decoded_while_one_is_scored(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    second, overlapped = threading.Event(), []
    monkeypatch.setattr(FakeSandbox, "hook", lambda path: second.set() if path.name == "1.mp4" else None)
    monkeypatch.setattr(FakeScorer, "hook", lambda clips: overlapped.append(second.wait(WAIT)))
    with Predictor(CONFIG) as predictor:
        results = list(predictor.predict_all(Path(file) for file in files("0.mp4", "1.mp4")))
    assert overlapped[0]
    assert len(results) == 2


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("children", [1, 3])
def test_only_a_few_files_are_decoded_ahead(files: Files, monkeypatch: pytest.MonkeyPatch, children: int) -> None:
    taken = 0

    def paths() -> Iterator[Path]:
        nonlocal taken
        for file in files(*(f"{index}.mp4" for index in range(12))):
            taken += 1
            yield Path(file)

    ahead: list[int] = []
    with Predictor(CONFIG, children=children) as predictor:
        for number, _ in enumerate(predictor.predict_all(paths()), 1):
            ahead.append(taken - number)
    assert max(ahead) <= children + 1
    assert taken == 12


@pytest.mark.usefixtures("fakes")
def test_a_fault_of_the_program_is_not_hidden(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(FakeSandbox, "hook", fail)
    with Predictor(CONFIG) as predictor, pytest.raises(KeyError, match="bug"):
        list(predictor.predict_all([Path(files("0.mp4")[0])]))


# --- the command line: what comes out


@pytest.mark.usefixtures("fakes")
def test_json_is_one_list_in_the_order_of_the_arguments(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    names = files("b.mp4", "a.mp4", "nobody.mp4")
    code, answers = run_json(capsys, *names)
    assert code == 0
    assert [answer["file"] for answer in answers] == names
    assert [answer["verdict"] for answer in answers] == ["fake", "fake", "not_applicable"]
    for answer in answers:
        del answer["file"]
        Analysis.model_validate(answer)


@pytest.mark.usefixtures("fakes")
def test_a_bad_file_does_not_stop_the_rest(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, large = files("a.mp4", "bad.mp4", "large.mp4")
    missing, folder = str(tmp_path / "missing.mp4"), str(tmp_path)
    code, answers = run_json(capsys, bad, missing, folder, large, f"{good}/b.mp4", good)
    assert code == 1
    assert [answer.get("code") for answer in answers] == [
        "invalid_video", "file_missing", "file_unreadable", "file_too_large", "file_missing", None,
    ]  # fmt: skip
    assert [answer.get("status") for answer in answers] == [422, 404, 422, 413, 404, None]
    assert answers[5]["verdict"] == "fake"
    assert answers[0] == {
        "file": bad,
        "type": "urn:problem-type:aura:invalid_video",
        "title": "The bytes are not a readable media file.",
        "status": 422,
        "code": "invalid_video",
        "detail": "Not media.",
    }


def test_a_file_that_may_not_be_read_has_its_own_code() -> None:
    problem = Problem.of(PermissionError(13, "Permission denied"))
    assert (problem.code, problem.status) == ("file_unreadable", 422)
    assert "Permission denied" in problem.detail


@pytest.mark.usefixtures("fakes")
def test_the_table_tells_each_file(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, nobody = files("a.mp4", "bad.mp4", "nobody.mp4")
    assert main([good, bad, nobody]) == 1
    lines = capsys.readouterr().out.splitlines()
    head, *rows = [" ".join(line.split()) for line in lines if line.strip() and "─" not in line]
    assert head == "file verdict fake faces seconds reasons"
    text = " ".join(rows)
    assert "fake 0.953 1 0." in text
    assert "failed invalid_video: Not media." in text
    assert "not_applicable 0 0.00 no_face, no_audio" in text


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[red]a[bold].mp4", "[red]a[bold].mp4"),
        ("a\udcff.mp4", "a\\udcff.mp4"),
        ("a\x1b[31m.mp4", "a\\x1b[31m.mp4"),
        ("a\nb.mp4", "a\\nb.mp4"),
        ("猫.mp4", "猫.mp4"),
    ],
)
def test_any_file_name_can_be_shown(files: Files, capsys: pytest.CaptureFixture[str], name: str, shown: str) -> None:
    files(name)
    assert main([name]) == 0
    assert f" {shown} " in capsys.readouterr().out
    code, answers = run_json(capsys, name)
    assert (code, answers[0]["file"]) == (0, name)


@pytest.mark.usefixtures("fakes")
def test_nothing_but_the_answer_is_on_standard_output(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def noisy(clips: Sequence[Clip]) -> None:
        print("a library prints")
        get_logger("aura_model.test").info("a record")
        logging.getLogger("test").warning("a standard record")

    monkeypatch.setattr(FakeScorer, "hook", noisy)
    assert main(["--json", *files("a.mp4")]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 1
    for text in ("a library prints", "a record", "a standard record"):
        assert text in captured.err


@pytest.mark.usefixtures("fakes")
def test_progress_is_shown_for_several_files_on_a_terminal(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes standard error for a terminal
    assert main(["--json", *files("a.mp4")]) == 0
    assert "Analysing" not in capsys.readouterr().err
    assert main(["--json", *files("a.mp4", "b.mp4")]) == 0
    captured = capsys.readouterr()
    assert "Analysing" in captured.err
    assert len(json.loads(captured.out)) == 2


@pytest.mark.usefixtures("fakes")
def test_ctrl_c_prints_what_was_done(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []

    def interrupt(clips: Sequence[Clip]) -> None:
        calls.append(clips)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(FakeScorer, "hook", interrupt)
    names = files("a.mp4", "b.mp4", "c.mp4")
    sheet = tmp_path / "sheet.png"
    code, answers = run_json(capsys, "--contact-sheet", str(sheet), *names)
    assert code == 130
    assert [answer["file"] for answer in answers] == names[:1]
    assert FakeSandbox.last.closed
    assert sheet.is_file()


@pytest.mark.usefixtures("fakes")
def test_ctrl_c_while_the_model_loads(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(config: Config) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor_module, "load_scorer", interrupt)
    assert run_json(capsys, *files("a.mp4")) == (130, [])


@pytest.mark.usefixtures("fakes")
def test_children_follow_the_number_of_files(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    children = []
    for count in (1, 2, 9):
        assert main(files(*(f"{index}.mp4" for index in range(count)))) == 0
        children.append(FakeSandbox.last.children)
    assert children == [1, 2, predict.MOST_CHILDREN]
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert main(files("a.mp4", "b.mp4")) == 0
    assert FakeSandbox.last.children == 1


# --- the command line: settings and wrong usage


@pytest.fixture
def seen(fakes: None, monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    configs: list[Config] = []

    def load(config: Config) -> FakeScorer:
        configs.append(config)
        return FakeScorer(FakeLoaded(config))

    monkeypatch.setattr(predictor_module, "load_scorer", load)
    return configs


def test_options_are_settings(seen: list[Config], files: Files, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("seed: 5\ninference: {device: cuda, batch_clips: 3}\n")
    path = files("a.mp4")[0]
    argv = ["--config", str(tmp_path / "my.yaml"), "--checkpoint", "1: [x].pth", "--device", "cpu", "--set", "seed=7"]
    assert main([*argv, path]) == 0
    config = seen[0]
    assert (config.seed, config.inference.device, config.inference.batch_clips) == (7, "cpu", 3)
    assert config.inference.checkpoint == Path("1: [x].pth")


def test_the_command_line_wins_over_the_environment(
    seen: list[Config], files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURA_INFERENCE__CHECKPOINT", "of-the-environment.pth")
    assert main(["--checkpoint", "mine.pth", *files("a.mp4")]) == 0
    assert main(files("a.mp4")) == 0
    assert [config.inference.checkpoint for config in seen] == [Path("mine.pth"), Path("of-the-environment.pth")]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("setting", "verdict", "band"),
    [
        ("operating_point=balanced", "fake", (0.3, 0.6)),
        ("operating_point=strict", "uncertain", (0.3, 0.99)),
        ("uncertain_band=[0.1, 0.98]", "uncertain", (0.1, 0.98)),
    ],
)
def test_the_operating_point_decides_verdict_and_colours(
    setting: str,
    verdict: str,
    band: tuple[float, float],
    files: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = INFO.model_copy(update={"operating_points": make_points(strict=(0.3, 0.99))})
    monkeypatch.setattr(predictor_module, "load_scorer", lambda config: FakeScorer(FakeLoaded(config, info)))
    bands = []

    def draw(*arguments: Any) -> npt.NDArray[np.uint8]:
        bands.append(arguments[-1])
        return draw_sheet(*arguments)

    monkeypatch.setattr(predict, "draw_sheet", draw)
    sheet = str(tmp_path / "sheet.png")
    _, answers = run_json(capsys, "--contact-sheet", sheet, "--set", f"inference.{setting}", *files("a.mp4"))
    assert (answers[0]["verdict"], bands) == (verdict, [band])


@pytest.mark.usefixtures("fakes")
def test_the_band_decides_the_verdict(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    code, answers = run_json(capsys, "--set", "inference.uncertain_band=[0.1, 0.99]", *files("a.mp4"))
    assert (code, answers[0]["verdict"], answers[0]["reasons"]) == (0, "uncertain", ["near_threshold", "no_audio"])


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--set", "nonsense"], "nonsense"),
        (["--set", "inference.batch_clips=-1"], "inference.batch_clips"),
        (["--set", "inference.colour=red"], "inference.colour"),
        (["--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_wrong_settings_are_told_in_a_sentence(
    files: Files, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert main([*argv, *files("a.mp4")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [CheckpointError("checkpoint_missing", "there is no x.pth"), ConfigError("inference.device: there is no x.pth")],
)
@pytest.mark.usefixtures("fakes")
def test_a_model_that_does_not_load_is_told_in_a_sentence(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(config: Config) -> None:
        raise error

    monkeypatch.setattr(predictor_module, "load_scorer", fail)
    assert main(["--json", *files("a.mp4")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "there is no x.pth" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--json"],
        ["--device", "tpu", "a.mp4"],
        ["--contact-sheet", "out.jpg", "a.mp4"],
        ["--contact-sheet", "no/such/folder/out.png", "a.mp4"],
        ["--unknown", "a.mp4"],
        ["--explain", "a.mp4"],
    ],
)
def test_wrong_usage_ends_with_two(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


def test_the_options_are_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for option in ("VIDEO", "--json", "--explain", "--contact-sheet", "--checkpoint", "--config", "--set", "--device"):
        assert option in text


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("explain", [True, False])
def test_the_json_holds_heat_maps_where_they_are_asked_for(
    files: Files, capsys: pytest.CaptureFixture[str], explain: bool
) -> None:
    _, answers = run_json(capsys, *["--explain"] * explain, *files("a.mp4", "b.mp4", "nobody.mp4"))
    heatmaps = [[face["heatmap"] is not None for face in answer["faces"]] for answer in answers]
    assert heatmaps == [[explain], [explain], []]


# --- the contact sheet


@pytest.mark.usefixtures("fakes")
def test_the_contact_sheet_has_a_block_per_answer(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heights = []
    for names in (["a.mp4"], ["a.mp4", "b.mp4"], ["a.mp4", "bad.mp4", "b.mp4"]):
        main(["--contact-sheet", str(tmp_path / "sheet.png"), *files(*names)])
        image = cv2.imread(str(tmp_path / "sheet.png"))
        assert image is not None
        heights.append(image.shape[0])
    assert heights[1] == heights[2] == 2 * heights[0]


@pytest.mark.usefixtures("fakes")
def test_a_sheet_that_cannot_be_written_is_told_after_the_answers(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sheet.png").mkdir()
    assert main(["--json", "--contact-sheet", str(tmp_path / "sheet.png"), *files("a.mp4")]) == 2
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 1
    assert "sheet.png" in captured.err


# --- end to end, with the real children and an untrained model


@pytest.fixture(scope="module")
def predictor() -> Iterator[Predictor]:
    with Predictor(parse_config({"inference": {"device": "cpu", "checkpoint": None}})) as real:
        yield real


@pytest.mark.parametrize(
    ("name", "verdict", "reasons", "faces"),
    [
        ("talking_face.mp4", "uncertain", ("untrained_model",), 1),
        ("two_faces.mp4", "uncertain", ("untrained_model", "no_audio"), 2),
        ("face.jpg", "uncertain", ("untrained_model", "no_audio"), 1),
        ("audio_only.m4a", "uncertain", ("untrained_model", "no_video"), 0),
        ("no_face_speech.mp4", "uncertain", ("untrained_model", "no_face"), 0),
        ("no_face.mp4", "not_applicable", ("no_face", "no_audio"), 0),
        ("music_only.m4a", "not_applicable", ("no_video", "no_speech"), 0),
    ],
)
def test_real_files(predictor: Predictor, name: str, verdict: str, reasons: tuple[str, ...], faces: int) -> None:
    answer = predictor.predict(MEDIA / name)
    assert (answer.verdict, answer.reasons, len(answer.faces)) == (verdict, reasons, faces)
    assert (answer.fake_probability is None) == (verdict == "not_applicable")
    assert (answer.modalities.video is None) == (faces == 0)
    assert all(entry.end <= answer.media.duration for entry in answer.timeline)
    assert Analysis.model_validate_json(answer.model_dump_json()) == answer


def test_a_real_file_gives_the_same_answer_again(predictor: Predictor) -> None:
    first, second = (predictor.predict(MEDIA / "talking_face.mp4") for _ in range(2))
    assert first.model_copy(update={"timings": {}}) == second.model_copy(update={"timings": {}})


def test_real_broken_media_is_a_media_error(predictor: Predictor) -> None:
    with pytest.raises(MediaError) as caught:
        predictor.predict(MEDIA / "not_a_video.mp4")
    assert caught.value.code == "invalid_video"


def test_the_command_line_itself(tmp_path: Path) -> None:
    names = ["talking_face.mp4", "no_face.mp4", "missing.mp4"]
    done = subprocess.run(
        [sys.executable, "-m", "aura_model.predict", "--json", "--device", "cpu", "--contact-sheet",
         str(tmp_path / "sheet.png"), *(str(MEDIA / name) for name in names)],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    answers = json.loads(done.stdout)
    assert [answer.get("verdict", answer.get("code")) for answer in answers] == [
        "real", "not_applicable", "file_missing",
    ]  # fmt: skip
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "Traceback" not in done.stderr
