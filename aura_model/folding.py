"""Batch normalisation folded into the convolution before it: the same function in evaluation, with less to compute."""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Net = TypeVar("Net", bound=nn.Module)

TOLERANCE = 1e-3
"""Largest difference of an output that still counts as rounding, as a share of the largest output."""


def fold_batch_norms(model: Net, example: Tensor) -> Net:
    """A copy of `model` without the batch normalisations that follow a convolution directly, for evaluation only.

    Which ones do is seen while the model runs on a random input of the shape of `example`. A network that also uses
    such a convolution's output elsewhere would compute something else then: its output tells, and it stays as it was.
    """
    example = torch.rand(example.shape, generator=torch.Generator().manual_seed(0))
    folded = deepcopy(model)
    for conv, norm in _pairs(folded, example):
        _fold(folded, conv, norm)
    with torch.no_grad():
        before, after = model(example), folded.eval()(example)
    return folded if bool((before - after).abs().max() <= TOLERANCE * before.abs().max()) else model


def _pairs(model: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each batch normalisation whose input is the very output of a convolution, with that convolution."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Forward hook: note a convolution's output, or a normalisation that takes one in."""
        if isinstance(module, nn.Conv2d):
            outputs[id(output)] = module, output  # kept, so that no other tensor gets its id
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], module))

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return pairs


def _fold(model: nn.Module, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    if norm.running_mean is None or norm.running_var is None:
        return
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    name = next(name for name, module in model.named_modules() if module is norm)
    model.set_submodule(name, getattr(norm, "act", nn.Identity()))  # timm's normalisations carry their activation
