from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aura_model import backbone
from aura_model.calibration import Calibration
from aura_model.checkpoint import read_checkpoint, save_checkpoint
from aura_model.config import Config
from aura_model.errors import CheckpointError, ConfigError
from aura_model.model import MultimodalModel
from aura_model.model_loading import load_for_inference, restore
from aura_model.settings import load_config
from tests.operating_points import make_points

MakeConfig = Callable[..., Config]


def saved(path: Path, config: Config, **more: Any) -> MultimodalModel:
    torch.manual_seed(3)
    built = MultimodalModel(config.model).eval()
    save_checkpoint(path, built, config, 2, {"auc": 0.9}, **more)
    return built


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 3, 40, 40, generator=generator), torch.randn(2, 32, 38, generator=generator)


# Without a checkpoint


def test_the_untrained_model_comes_from_the_seed(tiny_config: MakeConfig) -> None:
    first, again, other = (load_for_inference(None, tiny_config(f"seed={seed}"), "cpu") for seed in (7, 7, 8))
    assert torch.equal(first.model(*batch()), again.model(*batch()))
    assert not torch.equal(first.model(*batch()), other.model(*batch()))
    assert (first.info.version, other.info.version) == ("untrained-seed7", "untrained-seed8")
    assert (first.info.trained, first.info.calibrated) == (False, False)
    assert first.config == tiny_config("seed=7")
    assert (first.calibration, first.info.operating_points) == (None, None)


@pytest.mark.parametrize("with_checkpoint", [False, True])
def test_torchs_random_state_stays_as_it_is(with_checkpoint: bool, tiny_config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "a.pth" if with_checkpoint else None
    if path:
        saved(path, tiny_config())
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_for_inference(path, tiny_config(), "cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_of_cuda_is_not_touched(tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeded the GPUs"))
    load_for_inference(None, tiny_config(), "cpu")


@pytest.mark.parametrize("with_checkpoint", [False, True])
def test_it_is_ready_to_answer(with_checkpoint: bool, tiny_config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "a.pth" if with_checkpoint else None
    if path:
        saved(path, tiny_config())
    loaded = load_for_inference(path, tiny_config(), "auto" if not torch.cuda.is_available() else "cpu")
    assert not any(module.training for module in loaded.model.modules())
    assert not any(value.requires_grad for value in loaded.model.parameters())
    assert {value.device.type for value in loaded.model.parameters()} == {"cpu"}


def test_the_default_configuration_builds_without_a_download() -> None:
    loaded = load_for_inference(None, load_config(env={}), "cpu")
    assert loaded.config.model.video.backbone == backbone.PACKAGED
    assert loaded.model(None, torch.randn(1, 64, 101)).shape == (1, 2)


def test_a_device_that_is_not_there_is_named(tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"inference\.device"):
        load_for_inference(None, tiny_config(), "cuda")


# With one


@pytest.mark.parametrize("fusion", ["concat", "attention", "cross_modal"])
@pytest.mark.parametrize("temporal", ["avg_pool", "temporal_conv", "transformer"])
def test_what_was_saved_gives_the_same_logits(
    temporal: str, fusion: str, tiny_config: MakeConfig, tmp_path: Path
) -> None:
    config = tiny_config(f"model.video.temporal={temporal}", f"model.fusion.strategy={fusion}")
    built = saved(tmp_path / "a.pth", config)
    loaded = load_for_inference(tmp_path / "a.pth", config, "cpu")
    built.requires_grad_(False)  # torch picks another attention kernel for weights with gradients
    torch.testing.assert_close(loaded.model(*batch()), built(*batch()), rtol=0, atol=1e-5)


def test_the_version_is_that_of_the_file(tiny_config: MakeConfig, tmp_path: Path) -> None:
    saved(tmp_path / "a.pth", tiny_config())
    info = load_for_inference(tmp_path / "a.pth", tiny_config(), "cpu").info
    assert info.version == f"multimodal_v1-{read_checkpoint(tmp_path / 'a.pth').sha256[:12]}"
    assert (info.name, info.trained, info.calibrated) == ("multimodal_v1", True, False)


def test_calibration_and_operating_points_come_along(tiny_config: MakeConfig, tmp_path: Path) -> None:
    points, calibration = make_points(), Calibration(scale=2.0, bias=0.1)
    saved(tmp_path / "a.pth", tiny_config(), operating_points=points, calibration=calibration)
    loaded = load_for_inference(tmp_path / "a.pth", tiny_config(), "cpu")
    assert loaded.info.calibrated
    assert loaded.calibration == calibration
    assert loaded.info.operating_points == points


TRAINED = (
    "model.video.backbone=test_resnet",
    "model.video.temporal=transformer",
    "model.fusion.hidden_dim=24",
    "dataset.video.frame_rate=5",
    "dataset.video.temporal_window=4",
    "dataset.video.max_clips=3",
    "dataset.face.margin=0.4",
    "dataset.face.size=96",
    "dataset.face.detector=mtcnn",
    "dataset.audio.min_speech=0.7",
    "dataset.data_root=elsewhere",
    "inference.batch_clips=2",
    "seed=9",
)


def test_clips_are_prepared_as_in_training_and_the_rest_is_the_callers(tiny_config: MakeConfig, tmp_path: Path) -> None:
    trained, caller = tiny_config(*TRAINED), tiny_config("inference.batch_clips=5", "dataset.audio.min_speech=0.1")
    saved(tmp_path / "a.pth", trained)
    effective = load_for_inference(tmp_path / "a.pth", caller, "cpu").config
    assert effective.model == trained.model
    assert effective.dataset.audio == trained.dataset.audio
    video, face = effective.dataset.video, effective.dataset.face
    assert (video.frame_rate, video.temporal_window, face.margin, face.size) == (5, 4, 0.4, 96)
    assert (video.max_clips, face.detector) == (caller.dataset.video.max_clips, caller.dataset.face.detector)
    assert effective.dataset.data_root == caller.dataset.data_root
    assert (effective.inference, effective.seed) == (caller.inference, caller.seed)


def test_pretrained_weights_are_not_looked_for(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("model.video.backbone=tf_efficientnet_lite0", "model.video.pretrained=true")
    saved(tmp_path / "a.pth", config)
    monkeypatch.setattr(backbone, "_create_pretrained", lambda name: pytest.fail("looked for weights"))
    assert load_for_inference(tmp_path / "a.pth", tiny_config(), "cpu").config.model.video.pretrained


def test_what_the_checkpoint_does_not_say_is_the_default_and_not_the_callers(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    config = tiny_config("model.fusion.strategy=concat")
    saved(tmp_path / "a.pth", config)

    def older(content: dict[str, Any]) -> None:
        del content["config"]["model"]["fusion"]["strategy"]
        del content["config"]["dataset"]["face"]
        del content["config"]["dataset"]["audio"]

    rewritten(tmp_path / "a.pth", older)
    caller = tiny_config("model.fusion.strategy=attention", "dataset.face.margin=0.9")
    effective = load_for_inference(tmp_path / "a.pth", caller, "cpu").config
    assert effective.model.fusion.strategy == load_config(env={}).model.fusion.strategy == "concat"
    assert effective.dataset.face.margin == load_config(env={}).dataset.face.margin


def test_keys_of_other_rooms_do_not_matter(tiny_config: MakeConfig, tmp_path: Path) -> None:
    saved(tmp_path / "a.pth", tiny_config())
    rewritten(tmp_path / "a.pth", lambda content: content["config"].update(serving={"gone": 1}, new_section={}))
    assert load_for_inference(tmp_path / "a.pth", tiny_config(), "cpu").info.trained


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["model"].update(attention_heads=8),
        lambda config: config["model"]["fusion"].update(strategy="gated"),
        lambda config: config.update(model="multimodal"),
        lambda config: config["dataset"].update(face="large"),
        lambda config: config.update(dataset=[1]),
    ],
)
def test_a_configuration_of_another_version_is_foreign(
    change: Callable[[dict[str, Any]], None], tiny_config: MakeConfig, tmp_path: Path
) -> None:
    saved(tmp_path / "a.pth", tiny_config())
    rewritten(tmp_path / "a.pth", lambda content: change(content["config"]))
    with pytest.raises(CheckpointError, match="does not fit this version") as caught:
        load_for_inference(tmp_path / "a.pth", tiny_config(), "cpu")
    assert caught.value.code == "checkpoint_foreign"


def drop(content: dict[str, Any]) -> None:
    del content["model_state_dict"]["head.weight"]


def add(content: dict[str, Any]) -> None:
    content["model_state_dict"]["tail.weight"] = torch.zeros(2)


def resize(content: dict[str, Any]) -> None:
    content["model_state_dict"]["head.weight"] = torch.zeros(2, 3)


def spoil(content: dict[str, Any]) -> None:
    content["model_state_dict"]["head.weight"][0, 0] = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "head.weight"),
        (add, "tail.weight"),
        (resize, "size mismatch for head.weight"),
        (spoil, "head.weight holds values that are not finite"),
        (lambda content: content.update(model_state_dict={}), "Missing key"),
    ],
)
def test_weights_that_do_not_fit_are_damaged(
    change: Callable[[dict[str, Any]], None], message: str, tiny_config: MakeConfig, tmp_path: Path
) -> None:
    saved(tmp_path / "a.pth", tiny_config())
    rewritten(tmp_path / "a.pth", change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_for_inference(tmp_path / "a.pth", tiny_config(), "cpu")
    assert caught.value.code == "checkpoint_damaged"
    assert str(tmp_path / "a.pth") in caught.value.detail


def test_a_missing_file_stays_missing(tiny_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_for_inference(tmp_path / "no.pth", tiny_config(), "cpu")
    assert caught.value.code == "checkpoint_missing"


def test_training_can_go_on_from_a_checkpoint(tiny_config: MakeConfig, tmp_path: Path) -> None:
    built = saved(tmp_path / "a.pth", tiny_config())
    other = MultimodalModel(tiny_config().model).eval()
    assert not torch.equal(other(*batch()), built(*batch()))
    restore(other, read_checkpoint(tmp_path / "a.pth"))
    assert torch.equal(other(*batch()), built(*batch()))
    assert other.head.weight.requires_grad
