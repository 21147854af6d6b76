import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from aura_model.config import Config
from aura_model.settings import load_config
from training import redraw
from training.data.manifest import Sample, partners_of, read_samples
from training.redraw import Redrawer, Version, main, pictures, resized
from training.upscalers import UPSCALERS, Upscaler, UpscalerError


class Brush:
    """Enlarges by repeating pixels, and remembers the sizes that it was given."""

    seen: list[tuple[int, int]]

    def __init__(self, upscaler: Upscaler, threads: int) -> None:
        assert threads >= 1
        self._scale = upscaler.scale

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        Brush.seen.append((picture.shape[0], picture.shape[1]))
        return picture.repeat(self._scale, 0).repeat(self._scale, 1)


@pytest.fixture(autouse=True)
def brush(monkeypatch: pytest.MonkeyPatch) -> None:
    Brush.seen = []
    monkeypatch.setattr(redraw, "Network", Brush)


@pytest.fixture
def config() -> Config:
    return load_config(env={})


def save(path: Path, height: int = 200, width: int = 160) -> Path:
    rng = np.random.default_rng([height, width])
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), 4)
    cv2.imwrite(str(path), np.clip(128 + 400 * smooth, 0, 255).astype(np.uint8))
    return path


def sample(path: Path, video_id: str = "anna", label: int = 0) -> Sample:
    return Sample(video_id, label, "train", str(path), {})


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two genuine pictures, a genuine video and a fake picture."""
    save(tmp_path / "anna.png")
    save(tmp_path / "ben.jpg", 90, 300)
    (tmp_path / "film.mp4").write_bytes(b"not read")
    save(tmp_path / "drawn.png", 64, 64)
    rows = ["anna,real,train,anna.png,p1,", "ben,real,val,ben.jpg,p2,", "film,real,train,film.mp4,,"]
    text = "\n".join(["video_id,label,split,path,identity,pair", *rows, "drawn,fake,train,drawn.png,,anna"])
    (tmp_path / "faces.csv").write_text(text)
    return tmp_path / "faces.csv"


def run(manifest: Path, folder: Path, *options: str) -> int:
    return main(["--manifest", str(manifest), "--output", str(folder), *options])


# One picture


def test_a_picture_comes_back_at_its_size_by_way_of_a_small_one(tmp_path: Path, config: Config) -> None:
    path = save(tmp_path / "a.png", 200, 160)
    drawn = Redrawer(config, 1)(Version(sample(path), 0))
    (small,) = Brush.seen
    before = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    assert small[0] < 200
    assert drawn.dtype == np.uint8
    assert max(drawn.shape) <= 200
    again = cv2.resize(drawn, (160, 200), interpolation=cv2.INTER_LINEAR)
    assert np.abs(again.astype(int) - before).mean() < 8


def test_the_sizes_are_those_of_the_networks(tmp_path: Path, config: Config) -> None:
    redrawer = Redrawer(config, 1)
    path = save(tmp_path / "a.png", 180, 240)
    for number in range(60):
        redrawer(Version(sample(path), number))
    shorter = [min(size) for size in Brush.seen]
    least, most = min(one.sides[0] for one in UPSCALERS.values()), max(one.sides[1] for one in UPSCALERS.values())
    assert least - 1 <= min(shorter) < max(shorter) <= most + 1
    assert max(shorter) - min(shorter) > 40


def test_a_version_follows_from_seed_picture_and_number(tmp_path: Path, config: Config) -> None:
    path = save(tmp_path / "a.png")
    redrawer, other = Redrawer(config, 1), Redrawer(load_config(env={}, overrides=["seed=9"]), 1)
    drawn = [
        redrawer(Version(sample(path), 0)),
        redrawer(Version(sample(path), 1)),
        redrawer(Version(sample(path, "ben"), 0)),
        other(Version(sample(path), 0)),
    ]
    assert len({picture.tobytes() for picture in drawn}) == len(drawn)
    assert drawn[0].tobytes() == Redrawer(config, 1)(Version(sample(path), 0)).tobytes()


def test_a_large_picture_is_bounded(tmp_path: Path, config: Config) -> None:
    drawn = Redrawer(config, 1)(Version(sample(save(tmp_path / "a.png", 700, 1400)), 0))
    assert max(drawn.shape) <= redraw.LONGEST


@pytest.mark.parametrize(("height", "width", "expected"), [(10, 40, (5, 20)), (40, 10, (20, 5)), (1, 90, (1, 20))])
def test_a_picture_is_made_smaller_and_never_larger(height: int, width: int, expected: tuple[int, int]) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    assert resized(picture, 20, cv2.INTER_AREA).shape[:2] == expected
    assert resized(picture, 100, cv2.INTER_AREA) is picture


# A data set


def test_a_large_genuine_picture_stands_beside_its_fakes_in_their_size(tmp_path: Path, config: Config) -> None:
    large, small = sample(save(tmp_path / "a.png", 700, 1400)), sample(save(tmp_path / "b.png", 200, 160), "ben")
    (tmp_path / "out").mkdir()
    copy = redraw.bounded(large, tmp_path / "out", config)
    assert cv2.imread(copy.path).shape == (256, 512, 3)
    assert (copy.video_id, copy.label, copy.split) == (large.video_id, 0, large.split)
    Path(large.path).unlink()  # a second run does not read it again
    assert redraw.bounded(large, tmp_path / "out", config) == copy
    assert redraw.bounded(small, tmp_path / "out", config) == small
    assert redraw.bounded(sample(tmp_path / "none.png", "eve"), tmp_path / "out", config).path.endswith("none.png")


def test_only_genuine_pictures_are_redrawn(tmp_path: Path) -> None:
    names = ["a.png", "b.JPEG", "c.mp4", "d.webp", "e.png"]
    samples = [sample(tmp_path / name, name, label=int(name == "e.png")) for name in names]
    assert [one.video_id for one in pictures(samples)] == ["a.png", "b.JPEG", "d.webp"]


def test_the_manifest_names_all_and_each_fakes_partner(manifest: Path, tmp_path: Path, config: Config) -> None:
    assert run(manifest, tmp_path / "out", "--versions", "2") == 0
    dataset = config.dataset.model_copy(update={"manifest": tmp_path / "out" / "manifest.csv"})
    samples = read_samples(dataset)
    assert [one.video_id for one in samples[:4]] == ["anna", "ben", "film", "drawn"]
    assert [one.identity for one in samples] == ["p1", "p2", None, None, *["p1", "p2"] * 2]
    fakes = samples[4:]
    assert [(one.video_id, one.split) for one in fakes] == [
        ("anna-redrawn-0", "train"), ("ben-redrawn-0", "val"), ("anna-redrawn-1", "train"), ("ben-redrawn-1", "val"),
    ]  # fmt: skip
    partners = partners_of(samples)
    assert [partners[one.video_id].video_id for one in fakes] == ["anna", "ben"] * 2
    shapes = [cv2.imread(one.path).shape[:2] for one in fakes]
    assert all(height <= 200 and width <= 300 for height, width in shapes)
    assert not list((tmp_path / "out").glob(".*"))


def test_a_picture_of_nobody_known_and_its_fakes_are_of_one_person(manifest: Path, tmp_path: Path) -> None:
    """Else intervals would take them for two, and a leak between splits would not be seen."""
    manifest.write_text(manifest.read_text().replace(",p1,", ",,"))
    run(manifest, tmp_path / "out", "--versions", "2")
    with (tmp_path / "out" / "manifest.csv").open() as file:
        people = {row["video_id"]: row["identity"] for row in csv.DictReader(file)}
    assert people["anna"] == people["anna-redrawn-0"] == people["anna-redrawn-1"] == "anna"
    assert people["film"] == ""


def test_pictures_can_be_split_by_hash_as_they_are_where_they_are_trained_on(manifest: Path, tmp_path: Path) -> None:
    lines = [",".join(line.split(",")[:2] + line.split(",")[3:]) for line in manifest.read_text().splitlines()]
    manifest.write_text("\n".join(lines))
    assert run(manifest, tmp_path / "refused") == 2
    assert run(manifest, tmp_path / "out", "--auto-split", "0,1,0") == 0
    with (tmp_path / "out" / "manifest.csv").open() as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"val"}


def test_a_second_run_makes_what_is_missing_alone(manifest: Path, tmp_path: Path) -> None:
    run(manifest, tmp_path / "out")
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    next((tmp_path / "out").glob("*.jpg")).unlink()
    Brush.seen.clear()
    run(manifest, tmp_path / "out")
    assert len(Brush.seen) == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first


def test_a_picture_that_cannot_be_read_is_told_and_left_out(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ben.jpg").write_bytes(b"\xff\xd8\xff no picture")
    assert run(manifest, tmp_path / "out") == 0
    with (tmp_path / "out" / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["video_id"] for row in rows] == ["anna", "ben", "film", "drawn", "anna-redrawn-0"]
    said = capsys.readouterr().out
    assert "skipped" in said
    assert "ben.jpg" in said
    assert "4 videos, and 1 redrawn pictures" in said


def test_a_picture_that_may_not_be_read_is_told_and_left_out(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: str, _: Config) -> Path:
        if path.endswith("ben.jpg"):
            raise PermissionError(13, "Permission denied")
        return Path(path)

    monkeypatch.setattr(redraw, "open_media_source", refused)
    assert run(manifest, tmp_path / "out", "--set", "dataset.max_skipped=0.4") == 1
    said, why = capsys.readouterr()
    assert "50 % of the pictures cannot be used (dataset.max_skipped)" in why
    assert "unreadable_file" in said
    assert "4 videos, and 1 redrawn pictures" in said


# The command line


def test_a_network_that_is_not_there_ends_the_run_before_a_manifest(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object) -> Brush:
        raise UpscalerError("upscaler_unusable", "it is not installed")

    monkeypatch.setattr(redraw, "Network", missing)
    assert run(manifest, tmp_path / "out") == 2
    assert "it is not installed" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_an_interrupted_run_says_how_to_go_on(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(redraw, "redraw", interrupted)
    assert run(manifest, tmp_path / "out") == 130
    assert "run it again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--manifest", "missing.csv", "--output", "out"], "missing.csv"),
        (["--manifest", "{manifest}", "--output", "{manifest}"], "cannot write"),
    ],
)
def test_what_cannot_be_used_is_refused(
    options: list[str], said: str, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([option.format(manifest=manifest) for option in options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("versions", ["0", "two"])
def test_versions_are_a_number_from_1(versions: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--output", "out", "--versions", versions])
    assert "is not a number from 1" in capsys.readouterr().err


def test_it_is_a_script() -> None:
    script = Path(redraw.__file__)
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
    assert "python training/redraw.py" in done.stdout
