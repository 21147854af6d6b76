from typing import Any

import pytest
import torch
from torch import nn

from aura_model.backbone import Backbone
from aura_model.config import FreezeConfig
from aura_model.errors import ConfigError
from training.optim.freezing import Freeze, stem

STEM = ("conv_stem.", "bn1.", "blocks.0.")
"""How the parameters of `test_efficientnet` before its second stage begin."""


@pytest.fixture(scope="module")
def shared() -> Backbone:
    torch.manual_seed(0)
    return Backbone("test_efficientnet", pretrained=False)


@pytest.fixture
def backbone(shared: Backbone) -> Backbone:
    """In training mode and wholly trainable."""
    shared.requires_grad_(True)
    return shared.train()


def freeze(backbone: Backbone, part: Any, epochs: int | None = None) -> Freeze:
    return Freeze(backbone, FreezeConfig(part=part, epochs=epochs))


def still(backbone: Backbone) -> set[str]:
    return {name for name, parameter in backbone.net.named_parameters() if not parameter.requires_grad}


def norms(backbone: Backbone) -> dict[str, nn.Module]:
    return {name: one for name, one in backbone.net.named_modules() if isinstance(one, nn.BatchNorm2d)}


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("test_efficientnet", STEM),
        ("tf_efficientnet_lite0", STEM),
        ("resnet18", ("conv1.", "bn1.", "layer1.")),
        ("convnext_atto", ("stem.", "stages.0.")),
        ("test_vit", ("cls_token", "pos_embed", "patch_embed.", "blocks.0.")),
    ],
)
def test_the_stem_is_all_before_the_second_stage(name: str, prefixes: tuple[str, ...]) -> None:
    net = Backbone(name, pretrained=False).net
    assert stem(net) == {one for one, _ in net.named_parameters() if one.startswith(prefixes)}


class Nameless(nn.Module):
    """A network of which nobody tells the stages."""

    def __init__(self, matcher: dict[str, Any] | None) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 2)
        if matcher is not None:
            self.group_matcher = lambda coarse: matcher


@pytest.mark.parametrize("matcher", [None, {}, {"blocks": "last"}, {"stem": "first"}])
def test_a_backbone_without_a_known_stem_is_refused(matcher: dict[str, Any] | None) -> None:
    backbone = Backbone("test_efficientnet", pretrained=False)
    backbone.net = Nameless(matcher)
    with pytest.raises(ConfigError, match=r"training\.freeze\.part: Nameless has no stem"):
        freeze(backbone, "stem")
    freeze(backbone, "backbone").begin_epoch(1)
    assert still(backbone) == {name for name, _ in backbone.net.named_parameters()}


@pytest.mark.parametrize(("part", "prefixes"), [("none", ()), ("stem", STEM), ("backbone", ("conv", "bn", "blocks."))])
def test_what_is_frozen_wants_no_gradient(backbone: Backbone, part: str, prefixes: tuple[str, ...]) -> None:
    one = freeze(backbone, part)
    assert still(backbone) == set()
    one.begin_epoch(1)
    assert still(backbone) == {name for name, _ in backbone.net.named_parameters() if name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, [True, False, False]), (2, [True, True, False]), (None, [True] * 3)]
)
def test_it_is_let_go_after_its_epochs(backbone: Backbone, epochs: int | None, expected: list[bool]) -> None:
    one, found = freeze(backbone, "stem", epochs), []
    for epoch in (1, 2, 3):
        one.begin_epoch(epoch)
        backbone.train()
        one.hold()
        assert bool(still(backbone)) is not norms(backbone)["bn1"].training
        found.append(bool(still(backbone)))
    assert found == expected


def test_a_resumed_run_may_begin_after_the_frozen_epochs(backbone: Backbone) -> None:
    one = freeze(backbone, "backbone", 2)
    one.begin_epoch(3)
    one.hold()
    assert still(backbone) == set()
    assert all(norm.training for norm in norms(backbone).values())


@pytest.mark.parametrize(("part", "prefixes"), [("stem", ("bn1", "blocks.0.")), ("backbone", ("bn", "blocks."))])
def test_frozen_normalisation_keeps_its_statistics(backbone: Backbone, part: str, prefixes: tuple[str, ...]) -> None:
    one = freeze(backbone, part)
    one.begin_epoch(1)
    one.hold()
    before = {name: buffer.clone() for name, buffer in backbone.net.named_buffers()}
    backbone(torch.rand(2, 3, 64, 64))
    same = {name for name, buffer in backbone.net.named_buffers() if torch.equal(buffer, before[name])}
    assert same == {name for name in before if name.startswith(prefixes)}
