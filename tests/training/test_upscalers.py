from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from training.upscalers import UPSCALERS, Network, Upscaler, UpscalerError

DOUBLE = "Interp up 1 1 data output 0=1 1=2.0 2=2.0"
"""A layer that repeats each pixel twice each way."""
GREEDY = """\
Interp up 1 1 data wide 0=1 1=2.0 2=2.0
Crop cut 1 1 wide output 0=8 1=8 2=0 3=-233 4=-233 5=-233 6=8 7=8 8=0"""
"""The same, and eight pixels less at each side, as after convolutions without padding."""

Carrier = Callable[[str], Upscaler]


@pytest.fixture
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Carrier:
    """A network of these layers in a package of its own, which must not be imported."""

    def build(layers: str) -> Upscaler:
        lines = layers.splitlines()
        folder = tmp_path / "carrier"
        folder.mkdir()
        (folder / "__init__.py").write_text("raise AssertionError('imported')")
        text = f"7767517\n{len(lines) + 1} {len(lines) + 1}\nInput in 0 1 data\n{layers}\n"
        (folder / "tiny.param").write_text(text)
        (folder / "tiny.bin").write_bytes(b"")
        return Upscaler("carrier", "tiny", 2, (8, 16), 1.0)

    monkeypatch.syspath_prepend(tmp_path)
    return build


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (9, 14, 3), np.uint8)


@pytest.mark.parametrize("layers", [DOUBLE, GREEDY], ids=["whole", "uses up the padding"])
def test_a_network_enlarges_the_picture_in_place(layers: str, carried: Carrier, picture: np.ndarray) -> None:
    drawn = Network(carried(layers), 1)(picture)
    np.testing.assert_array_equal(drawn, picture.repeat(2, 0).repeat(2, 1))


def test_a_picture_is_drawn_the_same_again(carried: Carrier, picture: np.ndarray) -> None:
    network = Network(carried(DOUBLE), 1)
    first, other, again = network(picture), network(255 - picture), network(picture)
    assert first.dtype == np.uint8
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_a_package_that_is_not_installed_is_told() -> None:
    advice = r"no_such_package.*is not installed; .*pip install -e '\.\[redraw\]'"
    with pytest.raises(UpscalerError, match=advice) as caught:
        Network(Upscaler("no_such_package", "tiny", 2, (8, 16), 1.0), 1)
    assert caught.value.code == "upscaler_unusable"


def test_ncnn_that_is_not_installed_is_told(carried: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.upscalers.find_spec", {"carrier": object()}.get)
    with pytest.raises(UpscalerError, match=r"ncnn.* is not installed; .*redraw"):
        Network(carried(DOUBLE), 1)


@pytest.mark.parametrize("damage", ["missing", "not a network"])
def test_files_that_are_no_network_are_told(damage: str, carried: Carrier, tmp_path: Path) -> None:
    upscaler = carried(DOUBLE)
    path = tmp_path / "carrier" / "tiny.param"
    path.unlink() if damage == "missing" else path.write_text("no network")
    with pytest.raises(UpscalerError, match=r"tiny\.param of carrier cannot be read"):
        Network(upscaler, 1)


@pytest.mark.parametrize("name", UPSCALERS)
def test_each_network_draws_what_it_was_given(name: str) -> None:
    """Smooth shades come back as they were: the padding, the order of the channels and the range fit."""
    upscaler = UPSCALERS[name]
    if find_spec(upscaler.package) is None:
        pytest.skip("the extra aura[redraw] is not installed")
    across, down = np.meshgrid(np.linspace(40, 200, 48), np.linspace(200, 60, 40))
    shades = np.stack([across, down, np.full_like(across, 90)], -1).round().astype(np.uint8)
    drawn = Network(upscaler, 1)(shades)
    assert drawn.shape == (40 * upscaler.scale, 48 * upscaler.scale, 3)
    step = upscaler.scale
    means = drawn.reshape(40, step, 48, step, 3).mean((1, 3))
    assert np.abs(means - shades)[4:-4, 4:-4].mean() < 15
