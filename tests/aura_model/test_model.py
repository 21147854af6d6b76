from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from aura_model.config import Config, Fusion, Temporal
from aura_model.losses import detection_loss, place_loss
from aura_model.model import ModelOutput, MultimodalModel

MakeConfig = Callable[..., Config]
TEMPORAL = get_args(Temporal)
FUSION = get_args(Fusion)
MASKS = {
    "video": ([True] * 4, [False] * 4),
    "audio": ([False] * 4, [True] * 4),
    "both": ([True] * 4, [True] * 4),
    "mixed": ([True, True, False, True], [True, False, True, True]),
}
WINDOW, SIDE, BANDS, WINDOWS = 3, 40, 32, 38


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def build(tiny_config: MakeConfig, *overrides: str) -> MultimodalModel:
    return MultimodalModel(tiny_config(*overrides).model)


def inputs(case: str) -> dict[str, Tensor | None]:
    video_mask, audio_mask = (torch.tensor(mask) for mask in MASKS[case])
    samples = len(video_mask)
    video = torch.randint(0, 256, (samples, WINDOW, 3, SIDE, SIDE), dtype=torch.uint8)
    audio = torch.randn(samples, BANDS, WINDOWS)
    return {
        "video": video if video_mask.any() else None,
        "audio": audio if audio_mask.any() else None,
        "video_mask": video_mask,
        "audio_mask": audio_mask,
    }


def row(batch: dict[str, Tensor | None], index: int) -> dict[str, Tensor | None]:
    return {name: None if values is None else values[index : index + 1] for name, values in batch.items()}


def total_loss(model: MultimodalModel, output: ModelOutput, batch: dict[str, Tensor | None]) -> Tensor:
    labels = torch.tensor([0, 1, 1, 0])
    loss = detection_loss(output.logits, labels)
    if output.video_logits is not None and output.video_features is not None:
        loss = loss + detection_loss(output.video_logits, labels, batch["video_mask"])
        loss = loss + model.compute_temporal_consistency_loss(output.video_features, batch["video_mask"])
    if output.heatmap is not None and batch["video_mask"] is not None:
        places = labels[:, None, None, None].expand(-1, WINDOW, 8, 8).float()
        loss = loss + place_loss(output.heatmap, places, batch["video_mask"])
    if output.audio_logits is not None:
        loss = loss + detection_loss(output.audio_logits, labels, batch["audio_mask"])
    return loss


def expected_without_gradient(name: str, case: str, fusion: str) -> bool:
    """Parameters that a batch does not train: those of the absent modality, and what chooses between the two."""
    absent = {"video": "audio", "audio": "video"}.get(case)
    if absent and name.startswith((f"{absent}.", f"{absent}_head.")):
        return True
    if name.startswith("map_head."):
        return absent == "video"
    if name == "fusion.missing":
        return case == "both"
    return bool(absent) and fusion == "attention" and name.startswith("fusion.score.")


@pytest.mark.parametrize("case", MASKS)
@pytest.mark.parametrize("fusion", FUSION)
@pytest.mark.parametrize("temporal", TEMPORAL)
def test_every_combination_runs_and_trains_every_part_it_uses(
    temporal: str, fusion: str, case: str, tiny_config: MakeConfig
) -> None:
    model = build(tiny_config, f"model.video.temporal={temporal}", f"model.fusion.strategy={fusion}")
    batch = inputs(case)
    output = model.forward_full(**batch)
    assert output.logits.shape == (4, 2)
    total_loss(model, output, batch).backward()
    trained = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    expected = {name for name, _ in model.named_parameters() if not expected_without_gradient(name, case, fusion)}
    assert trained == expected
    assert all(torch.isfinite(value.grad).all() for value in model.parameters() if value.grad is not None)


def test_the_docstring_names_who_gets_no_gradient(tiny_config: MakeConfig) -> None:
    model = build(tiny_config)
    model(**inputs("video")).sum().backward()
    without = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is None}
    assert without == {"audio", "audio_head", "video_head", "map_head"}


def test_the_heat_map_alone_trains_its_head_and_the_pictures(tiny_config: MakeConfig) -> None:
    """It does so where a batch is judged by nothing else."""
    model = build(tiny_config, "model.video.temporal=avg_pool")
    output = model.forward_full(**inputs("mixed"))
    assert output.heatmap is not None
    place_loss(output.heatmap, torch.ones(4, WINDOW, 8, 8), torch.ones(4, dtype=torch.bool)).backward()
    trained = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None}
    assert trained == {"video", "map_head"}


@pytest.mark.parametrize("filler", [0.0, 255.0, float("nan")])
@pytest.mark.parametrize("fusion", FUSION)
def test_fillers_of_masked_samples_reach_nothing(fusion: str, filler: float, tiny_config: MakeConfig) -> None:
    settings = (f"model.fusion.strategy={fusion}", "model.fusion.dropout=0.0")
    batch = inputs("mixed")
    assert batch["video"] is not None
    assert batch["audio"] is not None
    batch["video"] = batch["video"] / 255
    runs = []
    for value in (0.5, filler):
        torch.manual_seed(1)
        model = build(tiny_config, *settings).train()
        batch["video"][~batch["video_mask"]] = value
        batch["audio"][~batch["audio_mask"]] = value
        output = model.forward_full(**batch)
        total_loss(model, output, batch).backward()
        gradients = {name: value.grad for name, value in model.named_parameters()}
        runs.append((output, dict(model.named_buffers()), gradients))
    (first, buffers, gradients), (second, other_buffers, other_gradients) = runs
    for name in ("logits", "video_logits", "audio_logits", "heatmap", "video_features"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert all(torch.equal(buffers[name], other_buffers[name]) for name in buffers)
    assert all(torch.equal(gradients[name], other_gradients[name]) for name in gradients)


def test_batch_statistics_are_those_of_the_samples_present(tiny_config: MakeConfig) -> None:
    batch = inputs("mixed")
    mixed = build(tiny_config).train()
    alone = build(tiny_config).train()
    alone.load_state_dict(mixed.state_dict())
    mixed(**batch)
    assert batch["video"] is not None
    assert batch["audio"] is not None
    alone(batch["video"][batch["video_mask"]], batch["audio"][batch["audio_mask"]])
    for name, value in mixed.named_buffers():
        assert torch.allclose(value, alone.get_buffer(name), atol=1e-6), name


@pytest.mark.parametrize("fusion", FUSION)
@pytest.mark.parametrize("temporal", TEMPORAL)
def test_a_batch_equals_its_samples_one_by_one(temporal: str, fusion: str, tiny_config: MakeConfig) -> None:
    model = build(tiny_config, f"model.video.temporal={temporal}", f"model.fusion.strategy={fusion}").eval()
    batch = inputs("mixed")
    with torch.inference_mode():
        together = model.forward_full(**batch)
        single = [model.forward_full(**row(batch, index)) for index in range(4)]
    assert torch.allclose(together.logits, torch.cat([output.logits for output in single]), atol=1e-5)
    for index, output in enumerate(single):
        for name in ("video_logits", "audio_logits", "heatmap", "video_features"):
            alone = getattr(output, name)
            expected = getattr(together, name)[index]
            assert torch.allclose(expected, torch.zeros(()) if alone is None else alone[0], atol=1e-5), name


@pytest.mark.parametrize("case", MASKS)
@pytest.mark.parametrize("fusion", FUSION)
def test_mixed_precision_runs_and_stays_close(fusion: str, case: str, tiny_config: MakeConfig) -> None:
    model = build(tiny_config, f"model.fusion.strategy={fusion}", "model.fusion.dropout=0.0")
    batch = inputs(case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.forward_full(**batch)
        loss = total_loss(model, output, batch)
    loss.backward()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters() if value.grad is not None)
    expected = model.forward_full(**batch)
    assert torch.allclose(output.logits.float(), expected.logits, atol=0.1)
    for name in ("video_logits", "audio_logits", "heatmap", "video_features"):
        assert (getattr(output, name) is None) == (getattr(expected, name) is None)


@pytest.mark.parametrize("case", MASKS)
def test_forward_is_the_logits_of_the_full_pass_and_the_head_over_the_features(
    case: str, tiny_config: MakeConfig
) -> None:
    model, batch = build(tiny_config).eval(), inputs(case)
    features = model.extract_features(**batch)
    assert features.shape == (4, 16)
    assert torch.equal(model(**batch), model.forward_full(**batch).logits)
    assert torch.equal(model(**batch), model.head(features))


@pytest.mark.parametrize("case", ["video", "audio", "both"])
def test_no_mask_means_present_and_none_means_absent(case: str, tiny_config: MakeConfig) -> None:
    model, batch = build(tiny_config).eval(), inputs(case)
    assert torch.equal(model(batch["video"], batch["audio"]), model(**batch))


def test_a_mask_that_is_false_everywhere_is_the_same_as_none(tiny_config: MakeConfig) -> None:
    model, batch = build(tiny_config).eval(), inputs("both")
    nobody = torch.zeros(4, dtype=torch.bool)
    masked = model.forward_full(batch["video"], batch["audio"], audio_mask=nobody)
    absent = model.forward_full(batch["video"], None)
    assert masked.audio_logits is None
    assert torch.allclose(masked.logits, absent.logits, atol=1e-6)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_both_modalities_count(modality: str, tiny_config: MakeConfig) -> None:
    model, batch = build(tiny_config).eval(), inputs("both")
    values = batch[modality]
    assert values is not None
    assert not torch.allclose(model(**batch), model(**batch | {modality: values.flip(0)}), atol=1e-5)


def test_bytes_and_unit_floats_give_the_same(tiny_config: MakeConfig) -> None:
    model, batch = build(tiny_config).eval(), inputs("both")
    assert batch["video"] is not None
    assert torch.allclose(model(**batch), model(**batch | {"video": batch["video"] / 255}), atol=1e-5)


def test_the_output_says_what_is_not_available(tiny_config: MakeConfig) -> None:
    model = build(tiny_config).eval()
    sound = model.forward_full(**inputs("audio"))
    assert (sound.video_logits, sound.heatmap, sound.video_features) == (None, None, None)
    assert sound.audio_logits is not None
    pictures = model.forward_full(**inputs("video"))
    assert pictures.audio_logits is None
    assert pictures.video_logits is not None


def test_the_heat_map_has_a_head_of_its_own(tiny_config: MakeConfig) -> None:
    model = build(tiny_config).eval()
    nn.init.zeros_(model.map_head.weight)
    nn.init.constant_(model.map_head.bias, 3.0)
    output = model.forward_full(**inputs("mixed"))
    assert output.heatmap is not None
    assert output.heatmap.shape == (4, WINDOW, 2, 2)
    assert output.heatmap[2].count_nonzero() == 0
    assert bool((output.heatmap[[0, 1, 3]] == 3.0).all())


def test_the_most_suspicious_place_counts_as_much_as_it_is_told_to(tiny_config: MakeConfig) -> None:
    batch = inputs("mixed")
    plain = build(tiny_config).eval()
    weighted = build(tiny_config, "model.video.place_weight=1.5").eval()
    weighted.load_state_dict(plain.state_dict())
    before, after = plain.forward_full(**batch), weighted.forward_full(**batch)
    assert before.heatmap is not None
    assert torch.equal(plain.forward_full(**batch).logits, before.logits)
    peaks = torch.stack([sample.max() for sample in before.heatmap])
    assert (peaks[2], len(set(peaks.tolist()))) == (0, 4)  # the third one has no pictures
    for name in ("logits", "video_logits"):
        low, high = getattr(before, name).T
        raised_low, raised_high = getattr(after, name).T
        assert torch.allclose(raised_high - raised_low, high - low + 1.5 * peaks, atol=1e-5)
        assert torch.allclose(raised_high + raised_low, high + low, atol=1e-5)
    assert torch.equal(weighted(**batch), after.logits)
    for name in ("audio_logits", "heatmap", "video_features"):
        assert torch.equal(getattr(before, name), getattr(after, name))


@pytest.mark.parametrize("case", ["sound alone", "no grid"])
def test_without_a_map_no_place_counts(case: str, tiny_config: MakeConfig) -> None:
    backbone = "test_vit" if case == "no grid" else "test_efficientnet"
    plain, weighted = (
        build(tiny_config, f"model.video.backbone={backbone}", f"model.video.place_weight={weight}").eval()
        for weight in (0.0, 2.0)
    )
    weighted.load_state_dict(plain.state_dict())
    batch = inputs("audio") if case == "sound alone" else {"video": torch.rand(2, WINDOW, 3, 64, 96), "audio": None}
    assert torch.equal(plain(**batch), weighted(**batch))


def test_the_place_that_counts_trains_the_head_of_the_map(tiny_config: MakeConfig) -> None:
    model = build(tiny_config, "model.video.place_weight=1.0")
    model(**inputs("video")).sum(0)[1].backward()
    assert model.map_head.weight.grad is not None
    assert bool(model.map_head.weight.grad.any())


@pytest.mark.parametrize(("side", "grid"), [(64, (4, 4)), (80, (5, 5))])
def test_a_vision_transformer_has_a_heat_map_too(side: int, grid: tuple[int, int], tiny_config: MakeConfig) -> None:
    model = build(tiny_config, "model.video.backbone=test_vit").eval()
    output = model.forward_full(torch.rand(2, WINDOW, 3, side, side), None)
    assert output.heatmap is not None
    assert output.heatmap.shape == (2, WINDOW, *grid)


def test_tokens_on_no_grid_have_no_heat_map(tiny_config: MakeConfig) -> None:
    model = build(tiny_config, "model.video.backbone=test_vit").eval()
    output = model.forward_full(torch.rand(2, WINDOW, 3, 64, 96), None)
    assert output.heatmap is None
    assert output.video_logits is not None


@pytest.mark.parametrize(("enabled", "weight", "expected"), [("true", 0.3, 0.3), ("false", 0.3, 0.0)])
def test_the_consistency_weight_is_zero_where_switched_off(
    enabled: str, weight: float, expected: float, tiny_config: MakeConfig
) -> None:
    loss = "model.fusion.temporal_consistency_loss"
    model = build(tiny_config, f"{loss}.enabled={enabled}", f"{loss}.weight={weight}")
    assert model.temporal_consistency_weight == expected


def test_the_consistency_loss_reaches_the_backbone_and_leaves_the_heads(tiny_config: MakeConfig) -> None:
    model, batch = build(tiny_config), inputs("mixed")
    features = model.forward_full(**batch).video_features
    assert features is not None
    model.compute_temporal_consistency_loss(features, batch["video_mask"]).backward()
    assert model.video.project.weight.grad is not None
    assert all(value.grad is not None for value in model.video.backbone.parameters())
    assert model.head.weight.grad is None


def test_a_few_steps_learn_a_tiny_set(tiny_config: MakeConfig) -> None:
    model = build(tiny_config, "model.fusion.dropout=0.0").train()
    batch, labels = inputs("mixed"), torch.tensor([0, 1, 1, 0])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        loss = detection_loss(model(**batch), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video": None, "audio": None}, "both modalities are None"),
        ({"video_mask": [True, False, False, True], "audio_mask": [True, False, True, True]}, r"samples \[1\] have"),
        ({"video_mask": [True, False, True, True], "audio": None}, r"samples \[1\] have neither video nor audio"),
        ({"video": None, "audio_mask": [False, True, True, False]}, r"samples \[0, 3\] have neither"),
        ({"video_mask": [True]}, r"a mask must be bool \[4\]"),
        ({"video_mask": [1.0, 1.0, 1.0, 1.0]}, r"a mask must be bool \[4\]"),
        ({"video": torch.zeros(4, WINDOW, SIDE, SIDE, 3)}, r"video must be \[B, T, 3, H, W\]"),
        ({"video": torch.zeros(4, 3, SIDE, SIDE)}, r"video must be \[B, T, 3, H, W\]"),
        ({"audio": torch.zeros(4, 64, WINDOWS)}, r"audio must be \[B, 32, M\]"),
        ({"audio": torch.zeros(4, WINDOWS)}, r"audio must be \[B, 32, M\]"),
        ({"audio": torch.zeros(3, BANDS, WINDOWS)}, "video has 4 samples and audio 3"),
    ],
)
def test_wrong_inputs_are_named(change: dict[str, Any], message: str, tiny_config: MakeConfig) -> None:
    tensors = {name: torch.tensor(value) if isinstance(value, list) else value for name, value in change.items()}
    with pytest.raises(ValueError, match=message):
        build(tiny_config)(**inputs("both") | tensors)
