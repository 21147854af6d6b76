from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aura_model import export
from aura_model.checkpoint import read_checkpoint, save_checkpoint
from aura_model.config import Config
from aura_model.model import MultimodalModel
from training.command_line import EXIT_REFUSED
from training.export import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, make_config: Callable[..., Config]) -> Path:
    path = tmp_path_factory.mktemp("run") / "best.pth"
    save_checkpoint(path, MultimodalModel(make_config().model), make_config(), 4, {"auc": 0.9})
    return path


def test_it_writes_the_file_and_tells_its_digest(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(checkpoint), str(tmp_path / "default.pth")]) == 0
    said = capsys.readouterr().out
    assert read_checkpoint(tmp_path / "default.pth").sha256 in said
    assert f"{(tmp_path / 'default.pth').stat().st_size:,} bytes" in said
    assert "largest change" not in said


def test_half_is_smaller_and_tells_what_it_changed(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(checkpoint), str(tmp_path / "whole.pth")]) == 0
    assert main([str(checkpoint), str(tmp_path / "half.pth"), "--half"]) == 0
    assert "the largest change of a weight is" in capsys.readouterr().out
    assert (tmp_path / "half.pth").stat().st_size < 0.8 * (tmp_path / "whole.pth").stat().st_size


@pytest.mark.parametrize("frames", [0, -1, 65])
def test_clips_that_no_model_may_have_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: int
) -> None:
    assert main([str(checkpoint), str(tmp_path / "out.pth"), "--frames", str(frames)]) == 2
    assert "temporal_window" in capsys.readouterr().err
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize(("source", "said"), [("gone.pth", "No such file"), ("text.pth", "not a checkpoint")])
def test_what_is_no_checkpoint_is_refused(
    source: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.pth").write_text("text")
    assert main([str(tmp_path / source), str(tmp_path / "b.pth")]) == EXIT_REFUSED
    assert said in capsys.readouterr().err
    assert not (tmp_path / "b.pth").exists()


def test_too_large_a_file_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "MOST_BYTES", 10)
    assert main([str(checkpoint), str(tmp_path / "b.pth")]) == EXIT_REFUSED
    assert "at most 10 are allowed" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([str(checkpoint), str(tmp_path / "file" / "b.pth")]) == EXIT_REFUSED
    assert "cannot write" in capsys.readouterr().err


def test_the_weight_of_places_is_written_and_drops_the_calibration(checkpoint: Path, tmp_path: Path) -> None:
    assert main([str(checkpoint), str(tmp_path / "b.pth"), "--place-weight", "1.5"]) == 0
    written = read_checkpoint(tmp_path / "b.pth")
    assert written.config["model"]["video"]["place_weight"] == 1.5
    assert written.calibration is None


@pytest.mark.parametrize("weight", ["-1", "nan", "inf", "much"])
def test_a_weight_is_a_number_from_0(
    weight: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(checkpoint), str(tmp_path / "b.pth"), f"--place-weight={weight}"])
    assert f"'{weight}' is not a number from 0" in capsys.readouterr().err
    assert not (tmp_path / "b.pth").exists()


def test_weights_are_averaged(checkpoint: Path, tmp_path: Path) -> None:
    assert main([str(checkpoint), str(tmp_path / "b.pth"), "--average", str(checkpoint), str(checkpoint)]) == 0
    averaged, own = read_checkpoint(tmp_path / "b.pth"), read_checkpoint(checkpoint)
    for name, value in own.model_state_dict.items():
        torch.testing.assert_close(averaged.model_state_dict[name], value)
    assert main([str(checkpoint), str(tmp_path / "c.pth"), "--average", str(tmp_path / "gone.pth")]) == EXIT_REFUSED
