from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aura_model.batch import Batch
from aura_model.config import Config, ModelConfig
from aura_model.model import ModelOutput, MultimodalModel
from training.optim.objective import Objective, class_weights
from training.targets import Targets

B, T, D = 4, 3, 8
LABELS = torch.tensor([0, 1, 1, 0])
TARGETS = Targets(LABELS)
SEEN, HEARD = [0, 1, 2], [0, 3]
"""Clips with pictures, and with sound."""
KNOWN = [0, 2]
"""Clips of which the forged places are known."""
CONSISTENT = "model.fusion.temporal_consistency_loss={enabled: true, weight: 0.5}"


class FakeModel(MultimodalModel):
    """Gives a prepared output."""

    def __init__(self, config: ModelConfig, output: ModelOutput) -> None:
        super().__init__(config)
        self.output = output

    def forward_full(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        *,
        video_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
    ) -> ModelOutput:
        return self.output


def cross_entropy(logits: Tensor | None, rows: list[int]) -> Tensor:
    """The sum over `rows`."""
    assert logits is not None
    return torch.nn.functional.cross_entropy(logits[rows], LABELS[rows], reduction="sum")


@pytest.fixture
def output() -> ModelOutput:
    draw = torch.Generator().manual_seed(0)
    logits, video, audio = torch.randn(3, B, 2, generator=draw)
    features = torch.randn(B, T, D, generator=draw)
    return ModelOutput(logits=logits, video_logits=video, audio_logits=audio, heatmap=None, video_features=features)


@pytest.fixture
def mapped(output: ModelOutput) -> ModelOutput:
    """The same with a heat-map of 2 x 2 places."""
    return replace(output, heatmap=torch.randn(B, T, 2, 2, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def targets() -> Targets:
    """The same with the places of some clips, which are of the heat-map's own resolution."""
    places = torch.rand(B, T, 2, 2, generator=torch.Generator().manual_seed(2))
    return Targets(LABELS, places, torch.tensor([row in KNOWN for row in range(B)]))


def targets_of(targets: Targets, rows: list[int]) -> Targets:
    """Those of some clips; without places where none is known, as training gives them."""
    assert targets.places is not None
    assert targets.known is not None
    if not bool(targets.known[rows].any()):
        return Targets(targets.labels[rows])
    return Targets(targets.labels[rows], targets.places[rows], targets.known[rows])


@pytest.fixture
def batch() -> Batch:
    return Batch(
        video=torch.zeros(B, T, 3, 4, 4, dtype=torch.uint8),
        audio=torch.zeros(B, 64, 3),
        video_mask=torch.tensor([row in SEEN for row in range(B)]),
        audio_mask=torch.tensor([row in HEARD for row in range(B)]),
    )


def rows_of(output: ModelOutput, batch: Batch, rows: list[int]) -> tuple[ModelOutput, Batch]:
    """Only some clips of both; a modality that none of them has is None, as the model gives it."""

    def cut(values: Tensor | None, mask: Tensor) -> Tensor | None:
        return values[rows] if values is not None and bool(mask[rows].any()) else None

    part = ModelOutput(
        output.logits[rows],
        cut(output.video_logits, batch.video_mask),
        cut(output.audio_logits, batch.audio_mask),
        cut(output.heatmap, batch.video_mask),
        cut(output.video_features, batch.video_mask),
    )
    cut_batch = Batch(
        cut(batch.video, batch.video_mask),
        cut(batch.audio, batch.audio_mask),
        batch.video_mask[rows],
        batch.audio_mask[rows],
    )
    return part, cut_batch


def test_each_modality_is_judged_on_the_clips_that_have_it(config: Config, output: ModelOutput, batch: Batch) -> None:
    expected = (
        cross_entropy(output.logits, [0, 1, 2, 3])
        + 0.3 * cross_entropy(output.video_logits, SEEN)
        + 0.3 * cross_entropy(output.audio_logits, HEARD)
    ) / B
    torch.testing.assert_close(Objective(FakeModel(config.model, output), 0.3)(batch, TARGETS), expected)


def test_a_modality_that_no_clip_has_costs_nothing(config: Config, output: ModelOutput, batch: Batch) -> None:
    bare = FakeModel(config.model, ModelOutput(output.logits, None, None, None, None))
    expected = cross_entropy(output.logits, [0, 1, 2, 3]) / B
    torch.testing.assert_close(Objective(bare, 0.3)(batch, TARGETS), expected)


def test_steady_frames_are_worth_their_weight(
    make_config: Callable[..., Config], output: ModelOutput, batch: Batch
) -> None:
    model = FakeModel(make_config(CONSISTENT).model, output)
    assert output.video_features is not None
    change = model.compute_temporal_consistency_loss(output.video_features[SEEN])
    assert change > 0.1
    expected = cross_entropy(output.logits, [0, 1, 2, 3]) / B + 0.5 * change * len(SEEN) / B
    torch.testing.assert_close(Objective(model, 0.0)(batch, TARGETS), expected)


def test_consistency_needs_pictures(make_config: Callable[..., Config], output: ModelOutput, batch: Batch) -> None:
    heard = ModelOutput(output.logits, None, output.audio_logits, None, None)
    loss = Objective(FakeModel(make_config(CONSISTENT).model, heard), 0.0)(batch, TARGETS)
    torch.testing.assert_close(loss, cross_entropy(output.logits, [0, 1, 2, 3]) / B)


@pytest.mark.parametrize("rows", [[0, 1], [0, 2, 3], [1], [3]])
def test_parts_weighted_with_their_clips_average_to_the_whole(
    make_config: Callable[..., Config], mapped: ModelOutput, batch: Batch, targets: Targets, rows: list[int]
) -> None:
    """So the gradient depends on the clips of a step, and not on how workers share them."""

    def loss(output: ModelOutput, batch: Batch, targets: Targets) -> Tensor:
        model = FakeModel(make_config(CONSISTENT).model, output)
        found: Tensor = Objective(model, 0.3, 0.1, (0.5, 1.5), place_weight=0.7)(batch, targets)
        return found

    others = [row for row in range(B) if row not in rows]
    shares = [(len(part), *rows_of(mapped, batch, part), targets_of(targets, part)) for part in (rows, others)]
    parts = sum(count * loss(*share) for count, *share in shares) / B
    torch.testing.assert_close(loss(mapped, batch, targets), parts)


def test_the_heat_map_is_judged_on_the_clips_whose_places_are_known(
    config: Config, mapped: ModelOutput, batch: Batch, targets: Targets
) -> None:
    assert mapped.heatmap is not None
    assert targets.places is not None
    heat, truth = mapped.heatmap[KNOWN], targets.places[KNOWN]
    places = torch.nn.functional.binary_cross_entropy_with_logits(heat, truth) * len(KNOWN) / B
    expected = cross_entropy(mapped.logits, [0, 1, 2, 3]) / B + 0.7 * places
    loss = Objective(FakeModel(config.model, mapped), 0.0, place_weight=0.7)(batch, targets)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("lacking", ["weight", "heat-map", "places"])
def test_places_cost_nothing_without(
    config: Config, output: ModelOutput, mapped: ModelOutput, batch: Batch, targets: Targets, lacking: str
) -> None:
    model = FakeModel(config.model, output if lacking == "heat-map" else mapped)
    objective = Objective(model, 0.0, place_weight=0.0 if lacking == "weight" else 0.7)
    loss = objective(batch, TARGETS if lacking == "places" else targets)
    torch.testing.assert_close(loss, cross_entropy(output.logits, [0, 1, 2, 3]) / B)


def test_every_head_weighs_the_classes(config: Config, output: ModelOutput, batch: Batch) -> None:
    reals, fakes = [row for row in range(B) if not LABELS[row]], [row for row in range(B) if LABELS[row]]

    def part(rows: list[int]) -> Tensor:
        seen, heard = [row for row in rows if row in SEEN], [row for row in rows if row in HEARD]
        heads = cross_entropy(output.video_logits, seen) + cross_entropy(output.audio_logits, heard)
        return (cross_entropy(output.logits, rows) + 0.3 * heads) / B

    loss = Objective(FakeModel(config.model, output), 0.3, class_weights=(0.25, 1.75))(batch, TARGETS)
    torch.testing.assert_close(loss, 0.25 * part(reals) + 1.75 * part(fakes))


def test_smoothing_reaches_every_head(config: Config, batch: Batch) -> None:
    """A certain and right answer costs nothing without smoothing, and something with it."""
    sure = 30.0 * (2 * torch.nn.functional.one_hot(LABELS) - 1)
    for heads in [(sure, None, None), (torch.zeros(B, 2), sure, None), (torch.zeros(B, 2), None, sure)]:
        model = FakeModel(config.model, ModelOutput(*heads, None, None))
        plain, smooth = (Objective(model, 1.0, smoothing=share)(batch, TARGETS) for share in (0.0, 0.2))
        assert smooth > plain + 1


def test_the_class_weights_are_no_part_of_the_weights(config: Config) -> None:
    model = MultimodalModel(config.model)
    assert Objective(model, 0.3, class_weights=(0.5, 1.5)).state_dict().keys() == {
        f"model.{name}" for name in model.state_dict()
    }


@given(labels=st.lists(st.integers(0, 1), min_size=2, max_size=50).filter(lambda labels: len(set(labels)) == 2))
def test_balanced_classes_count_alike_and_the_mean_weight_is_one(labels: list[int]) -> None:
    weights = class_weights(labels)
    assert sum(weights[label] for label in labels) == pytest.approx(len(labels))
    assert labels.count(0) * weights[0] == pytest.approx(labels.count(1) * weights[1])


def test_equal_classes_need_no_weights() -> None:
    assert class_weights([0, 1, 1, 0]) == (1.0, 1.0)
    assert class_weights(label for label in (0, 0, 0, 1)) == (4 / 6, 2.0)


@pytest.mark.parametrize("labels", [[], [0, 0], [1]])
def test_one_class_has_no_weights(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both classes"):
        class_weights(labels)
