"""Parts of the frame backbone that keep their start values for the first epochs."""

from typing import Any, Literal

from timm.models import group_parameters
from torch import nn

from aura_model.backbone import Backbone
from aura_model.config import FreezeConfig
from aura_model.errors import ConfigError


class Freeze:
    """Holds a part of the backbone still: no gradient, and its batch normalisation by the running statistics."""

    def __init__(self, backbone: Backbone, config: FreezeConfig) -> None:
        """Prepare to freeze `config.part`; nothing is frozen before `begin_epoch`.

        Raises:
            ConfigError: the stem is to be frozen and the backbone has none that timm knows of.
        """
        self._epochs = config.epochs
        self._parameters = _part(backbone.net, config.part)
        self._modules = _wholly_inside(backbone.net, self._parameters)
        self._frozen = False

    def begin_epoch(self, epoch: int) -> None:
        """Freeze, or let go after the last frozen epoch; `epoch` counts from 1.

        Call it after a data-parallel wrapper was made: that one leaves out for ever what is frozen then.
        """
        self._frozen = self._epochs is None or epoch <= self._epochs
        for parameter in self._parameters:
            parameter.requires_grad_(not self._frozen)

    def hold(self) -> None:
        """Put what is frozen back into evaluation mode; to be called when the model went into training mode."""
        if self._frozen:
            for module in self._modules:
                module.eval()


def stem(net: Any) -> set[str]:
    """The names of a timm model's parameters before its second stage: the first convolution and the first stage.

    Raises:
        ConfigError: timm does not tell the stages of this model.
    """
    matcher = net.group_matcher(coarse=True) if hasattr(net, "group_matcher") else {}
    stages = group_parameters(net, matcher)
    if "stem" not in matcher or len(stages) < 3:
        raise ConfigError(
            f"training.freeze.part: {type(net).__name__} has no stem that could be frozen; allowed: none, backbone"
        )
    return {*stages[0], *stages[1]}


def _part(net: nn.Module, part: Literal["none", "stem", "backbone"]) -> list[nn.Parameter]:
    match part:
        case "none":
            return []
        case "stem":
            names = stem(net)
            return [parameter for name, parameter in net.named_parameters() if name in names]
        case "backbone":
            return list(net.parameters())


def _wholly_inside(net: nn.Module, parameters: list[nn.Parameter]) -> list[nn.Module]:
    """The modules that have parameters, all of them among `parameters`."""
    inside = {id(parameter) for parameter in parameters}
    owned = [(module, [id(parameter) for parameter in module.parameters()]) for module in net.modules()]
    return [module for module, own in owned if own and inside.issuperset(own)]
