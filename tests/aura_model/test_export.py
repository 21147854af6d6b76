from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aura_model import checkpoint as checkpoint_module
from aura_model import config as config_module
from aura_model import export
from aura_model.calibration import Calibration
from aura_model.checkpoint import read_checkpoint, save_checkpoint
from aura_model.config import Config
from aura_model.errors import CheckpointError
from aura_model.export import ServedChanges, export_checkpoint, without_paths
from aura_model.model import MultimodalModel
from aura_model.model_loading import load_for_inference
from aura_model.predictor import load_scorer
from aura_model.settings import load_config, parse_config
from tests.operating_points import make_points

MakeConfig = Callable[..., Config]
POINTS = make_points()


def run_checkpoint(path: Path, config: Config, change: Callable[[nn.Module], None] = lambda model: None) -> Path:
    """As a run writes one, with all that a resume needs."""
    torch.manual_seed(1)
    model = MultimodalModel(config.model)
    change(model)
    optimizer = torch.optim.AdamW(model.parameters())
    sum(value.sum() for value in model.parameters()).backward()
    optimizer.step()
    save_checkpoint(
        path,
        model,
        config,
        7,
        {"auc": 0.9},
        optimizer=optimizer,
        operating_points=POINTS,
        calibration=Calibration(scale=1.5, bias=-0.2),
        training_state={"rng": torch.arange(4)},
    )
    return path


def raw(path: Path) -> dict[str, Any]:
    return dict(torch.load(path, weights_only=True))


@pytest.mark.parametrize("half", [False, True])
def test_an_exported_file_keeps_the_answers_and_drops_the_training(
    half: bool, tiny_config: MakeConfig, tmp_path: Path
) -> None:
    source, target = run_checkpoint(tmp_path / "a.pth", tiny_config()), tmp_path / "weights" / "default.pth"
    export_checkpoint(source, target, half=half)
    found = read_checkpoint(target)
    assert (found.epoch, found.metrics, found.operating_points) == (7, {"auc": 0.9}, POINTS)
    assert found.calibration == Calibration(scale=1.5, bias=-0.2)
    assert (found.optimizer_state_dict, found.training_state_dict) == (None, None)
    assert target.stat().st_size < source.stat().st_size / 2


@pytest.mark.parametrize(("half", "tolerance"), [(False, 0.0), (True, 2e-3)])
def test_the_model_of_an_exported_file_gives_the_same_logits(
    half: bool, tolerance: float, tiny_config: MakeConfig, tmp_path: Path
) -> None:
    config = tiny_config()
    source, target = run_checkpoint(tmp_path / "a.pth", config), tmp_path / "b.pth"
    export_checkpoint(source, target, half=half)
    first, second = (load_for_inference(path, config, "cpu").model for path in (source, target))
    assert {value.dtype for value in second.parameters()} == {torch.float32}
    video, audio = torch.rand(2, 3, 3, 64, 64), torch.randn(2, 32, 38)
    torch.testing.assert_close(second(video, audio), first(video, audio), rtol=0, atol=tolerance)


def test_half_shrinks_kernels_and_leaves_the_rest(tiny_config: MakeConfig, tmp_path: Path) -> None:
    source = run_checkpoint(tmp_path / "a.pth", tiny_config())
    export_checkpoint(source, tmp_path / "b.pth", half=True)
    before, stored = read_checkpoint(source).model_state_dict, raw(tmp_path / "b.pth")["model_state_dict"]
    for name, value in before.items():
        is_kernel = value.ndim > 1
        assert stored[name].dtype == (torch.float16 if is_kernel else value.dtype)
        if not is_kernel:
            assert torch.equal(stored[name], value)
    counters = [name for name in before if name.endswith("num_batches_tracked")]
    assert counters
    assert all(stored[name].dtype == torch.int64 for name in counters)
    read = read_checkpoint(tmp_path / "b.pth").model_state_dict
    assert {name: value.dtype for name, value in read.items()} == {name: value.dtype for name, value in before.items()}


def test_figures_beyond_float16_survive(tiny_config: MakeConfig, tmp_path: Path) -> None:
    """A running variance, and a kernel with one value that float16 lacks."""

    def grow(model: nn.Module) -> None:
        norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
        assert norm.running_var is not None
        norm.running_var.fill_(1e6)
        nn.init.constant_(model.get_submodule("head").get_parameter("weight"), 7e4)

    source = run_checkpoint(tmp_path / "a.pth", tiny_config(), grow)
    export_checkpoint(source, tmp_path / "b.pth", half=True)
    before, after = (read_checkpoint(path).model_state_dict for path in (source, tmp_path / "b.pth"))
    assert raw(tmp_path / "b.pth")["model_state_dict"]["head.weight"].dtype == torch.float32
    assert torch.equal(after["head.weight"], before["head.weight"])
    variances = [name for name in before if name.endswith("running_var")]
    assert max(float(after[name].max()) for name in variances) == 1e6


def test_the_change_of_the_weights_is_told(tiny_config: MakeConfig, tmp_path: Path) -> None:
    source = run_checkpoint(tmp_path / "a.pth", tiny_config())
    whole, half = (export_checkpoint(source, tmp_path / f"{half}.pth", half=half) for half in (False, True))
    assert whole.rounded == 0
    assert 1e-5 < half.rounded < 2**-11  # float16 has 11 digits
    assert half.bytes == (tmp_path / "True.pth").stat().st_size < whole.bytes
    assert half.sha256 == read_checkpoint(tmp_path / "True.pth").sha256


def test_a_mean_over_frames_may_be_served_on_longer_clips(tiny_config: MakeConfig, tmp_path: Path) -> None:
    source, target = run_checkpoint(tmp_path / "a.pth", tiny_config()), tmp_path / "default.pth"
    export_checkpoint(source, target, changes=ServedChanges(frames=6))
    found = read_checkpoint(target)
    assert load_for_inference(target, tiny_config(), "cpu").config.dataset.video.temporal_window == 6
    assert (found.calibration, found.operating_points) == (None, None)  # they were of shorter clips


def test_places_may_count_more_in_service_than_in_training(tiny_config: MakeConfig, tmp_path: Path) -> None:
    source, target = run_checkpoint(tmp_path / "a.pth", tiny_config()), tmp_path / "default.pth"
    export_checkpoint(source, target, changes=ServedChanges(place_weight=2.0))
    found = read_checkpoint(target)
    assert (found.calibration, found.operating_points) == (None, None)  # they were of other scores
    served = load_for_inference(target, tiny_config(), "cpu")
    assert served.model.config.video.place_weight == 2.0
    again = tmp_path / "again.pth"
    export_checkpoint(target, again)
    assert load_for_inference(again, tiny_config(), "cpu").model.config.video.place_weight == 2.0
    assert load_for_inference(source, tiny_config(), "cpu").model.config.video.place_weight == 0.0


def test_weights_are_averaged_with_those_of_other_checkpoints(tiny_config: MakeConfig, tmp_path: Path) -> None:
    def shifted(by: float) -> Path:
        def change(model: nn.Module) -> None:
            with torch.no_grad():
                for value in model.parameters():
                    value.add_(by)

        return run_checkpoint(tmp_path / f"{by}.pth", tiny_config(), change)

    first, second, third = (shifted(by) for by in (0.0, 0.3, 0.6))
    export_checkpoint(first, tmp_path / "b.pth", changes=ServedChanges(average=(second, third)))
    found, expected = read_checkpoint(tmp_path / "b.pth"), raw(second)["model_state_dict"]
    assert (found.calibration, found.operating_points) == (None, None)
    for name, value in found.model_state_dict.items():
        assert value.dtype == expected[name].dtype
        assert torch.allclose(value, expected[name], atol=2e-3), name


def test_another_network_has_no_average(tiny_config: MakeConfig, tmp_path: Path) -> None:
    source = run_checkpoint(tmp_path / "a.pth", tiny_config())
    other = run_checkpoint(tmp_path / "other.pth", tiny_config("model.fusion.hidden_dim=32"))
    with pytest.raises(CheckpointError, match=r"other\.pth holds another network") as error:
        export_checkpoint(source, tmp_path / "b.pth", changes=ServedChanges(average=(other,)))
    assert error.value.code == "checkpoint_foreign"
    assert not (tmp_path / "b.pth").exists()


def test_a_model_of_the_order_of_frames_keeps_its_own_clips(tiny_config: MakeConfig, tmp_path: Path) -> None:
    source = run_checkpoint(tmp_path / "a.pth", tiny_config("model.video.temporal=transformer"))
    with pytest.raises(CheckpointError, match="transformer") as error:
        export_checkpoint(source, tmp_path / "default.pth", changes=ServedChanges(frames=6))
    assert error.value.code == "checkpoint_foreign"
    assert not (tmp_path / "default.pth").exists()


def test_too_large_a_file_is_refused_and_the_old_one_stays(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = run_checkpoint(tmp_path / "a.pth", tiny_config()), tmp_path / "b.pth"
    target.write_bytes(b"old")
    monkeypatch.setattr(export, "MOST_BYTES", 1000)
    with pytest.raises(CheckpointError, match=r"checkpoint_too_large: .*b\.pth would have .* at most 1,000 "):
        export_checkpoint(source, target)
    assert target.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"a.pth", "b.pth"}


def test_what_is_no_checkpoint_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="checkpoint_missing"):
        export_checkpoint(tmp_path / "gone.pth", tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()


def test_no_place_of_the_machine_travels_along(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config(
        f"dataset.data_root={tmp_path}/faces",
        "dataset.manifest=../list.csv",
        "dataset.preprocessing.store=s3://bucket/store",
        "training.output=~/runs",
        "training.tracking.mlflow=sqlite:////home/me/runs.db",
        f"inference.checkpoint={tmp_path}/old.pth",
        "training.epochs=3",
        "seed=5",
    )
    target = tmp_path / "b.pth"
    export_checkpoint(run_checkpoint(tmp_path / "a.pth", config), target)
    plain, defaults = read_checkpoint(target).config, parse_config().plain()
    assert plain["dataset"]["data_root"] == defaults["dataset"]["data_root"]
    assert plain["dataset"]["manifest"] is None
    assert plain["dataset"]["preprocessing"] == defaults["dataset"]["preprocessing"]
    assert plain["training"] == defaults["training"] | {"epochs": 3}
    assert plain["inference"] == defaults["inference"]
    assert (plain["seed"], plain["model"]) == (5, config.plain()["model"])
    for place in (str(tmp_path), "bucket", "/home/me"):
        assert place.encode() not in target.read_bytes()


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"a": "data/faces"}, {"a": "data/faces"}),
        ({"a": "/data/faces"}, {"a": 1}),
        ({"b": {"c": "file:///x", "d": "cpu"}}, {"b": {"c": 2, "d": "cpu"}}),
        ({"b": {"new": "/x"}}, {"b": {"new": None}}),
        ({"e": {"f": {"g": "~/x"}}}, {"e": {"f": {"g": None}}}),
        ({"a": ["x", "/y"]}, {"a": 1}),
        ({"a": [0.1, "x"], "b": None}, {"a": [0.1, "x"], "b": None}),
    ],
)
def test_places(tree: Mapping[str, Any], expected: dict[str, Any]) -> None:
    assert without_paths(tree, {"a": 1, "b": {"c": 2}}) == expected


def test_the_full_model_fits_the_box(tmp_path: Path) -> None:
    """What the package may carry, with the default backbone."""
    config = load_config(env={}, overrides=["model.video.pretrained=false"])
    source = run_checkpoint(tmp_path / "a.pth", config)
    assert export_checkpoint(source, tmp_path / "whole.pth").bytes < export.MOST_BYTES
    assert export_checkpoint(source, tmp_path / "half.pth", half=True).bytes < 0.6 * export.MOST_BYTES


def test_the_exported_file_answers_by_default_with_clips_of_its_own_kind(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How clips are cut goes with the weights, whatever the settings say; the rest is as they say."""
    sha256 = export_checkpoint(
        run_checkpoint(tmp_path / "a.pth", tiny_config("dataset.audio.enabled=false")), tmp_path / "b.pth"
    ).sha256
    monkeypatch.setattr(config_module, "PACKAGED_CHECKPOINT", tmp_path / "b.pth")
    asked = load_config(env={}, overrides=["inference.checkpoint=default", "dataset.video.clips_per_video.eval=7"])
    loaded = load_scorer(asked).loaded
    assert loaded.info.version == f"multimodal_v1-{sha256[:12]}"
    dataset = loaded.config.dataset
    assert (dataset.face.size, dataset.video.temporal_window, dataset.audio.enabled) == (64, 3, False)
    assert dataset.video.clips_per_video.eval == 7


def test_an_empty_box_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (config_module, checkpoint_module):
        monkeypatch.setattr(module, "PACKAGED_CHECKPOINT", tmp_path / "default.pth")
    with pytest.raises(CheckpointError, match=r"checkpoint_missing: .*set inference\.checkpoint to a file of yours"):
        load_scorer(load_config(env={}, overrides=["inference.checkpoint=default"]))
