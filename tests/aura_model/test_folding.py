import pytest
import timm
import torch
from torch import Tensor, nn

from aura_model.folding import fold_batch_norms
from aura_model.model import MultimodalModel
from aura_model.model_loading import load_for_inference
from aura_model.settings import load_config


def lively(model: nn.Module) -> nn.Module:
    """Give each batch normalisation statistics as after training."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -0.5), (module.running_var, 0.5)):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
            module.weight.data.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
            module.bias.data.copy_(torch.rand(module.bias.shape, generator=generator) - 0.5)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "mobilenetv2_100", "test_efficientnet"])
def test_folded_networks_compute_the_same_without_norms(name: str) -> None:
    net = lively(timm.create_model(name, pretrained=False, num_classes=0, global_pool=""))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    folded = fold_batch_norms(net, images)
    with torch.no_grad():
        expected, actual = net(images), folded(images)
    assert norms(net) > 0
    assert norms(folded) == 0
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_the_given_model_stays_as_it_is() -> None:
    net = lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fold_batch_norms(net, torch.rand(1, 3, 8, 8))
    assert norms(net) == 1
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


def test_activations_inside_a_norm_are_kept() -> None:
    net = lively(nn.Sequential(nn.Conv2d(3, 4, 3), timm.layers.BatchNormAct2d(4, act_layer=nn.ReLU6)))
    folded = fold_batch_norms(net, torch.rand(1, 3, 8, 8))
    with torch.no_grad():
        output = folded(100 * torch.randn(4, 3, 8, 8))
    assert norms(folded) == 0
    assert 0 <= float(output.min()) < float(output.max()) <= 6


class Reused(nn.Module):
    """Uses the output of its convolution twice, so that folding would change it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.conv(images)
        normed: Tensor = self.norm(features)
        return features + normed


def test_a_network_that_would_change_is_returned_unchanged() -> None:
    net = lively(Reused())
    assert fold_batch_norms(net, torch.rand(1, 3, 8, 8)) is net


@pytest.mark.parametrize(
    "layers",
    [
        [nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)],
        [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)],
        [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)],
    ],
    ids=["norm first", "activation between", "no statistics"],
)
def test_other_norms_are_left_alone(layers: list[nn.Module]) -> None:
    net = nn.Sequential(*layers).eval()
    images = torch.rand(2, 3, 8, 8)
    folded = fold_batch_norms(net, images)
    assert norms(folded) == 1
    with torch.no_grad():
        torch.testing.assert_close(folded(images), net(images))


def test_a_model_for_inference_is_folded_and_equal_to_the_one_for_training() -> None:
    config = load_config(
        env={},
        overrides=["model.video.backbone=test_efficientnet", "model.video.pretrained=false", "dataset.face.size=64"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        plain = MultimodalModel(config.model).eval()
    loaded = load_for_inference(None, config, "cpu").model
    video = torch.rand(2, 4, 3, 64, 64)
    audio = torch.randn(2, config.model.audio.n_mels, 101)
    assert norms(loaded) == 0 < norms(plain)
    with torch.no_grad():
        torch.testing.assert_close(loaded(video, audio), plain(video, audio), rtol=1e-4, atol=1e-4)
