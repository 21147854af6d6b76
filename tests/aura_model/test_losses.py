import math

import pytest
import torch
from torch import nn

from aura_model.losses import TemporalConsistencyLoss, detection_loss, place_loss


def test_steady_faces_cost_nothing_and_opposite_ones_two() -> None:
    steady = torch.ones(2, 4, 8)
    turning = steady * torch.tensor([1.0, -1.0, 1.0, -1.0])[None, :, None]
    loss = TemporalConsistencyLoss()
    assert float(loss(steady)) == pytest.approx(0, abs=1e-6)
    assert float(loss(turning)) == pytest.approx(2, abs=1e-6)


def test_it_is_the_mean_over_pairs_of_frames() -> None:
    # cosines along the sequence: 1, 0
    frames = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    assert float(TemporalConsistencyLoss()(frames)) == pytest.approx(0.5)


def test_shrinking_the_embeddings_does_not_help() -> None:
    frames = torch.randn(3, 5, 8)
    loss = TemporalConsistencyLoss()
    assert float(loss(frames)) == pytest.approx(float(loss(0.01 * frames)), rel=1e-4)


@pytest.mark.parametrize(("samples", "window"), [(3, 1), (1, 1), (0, 4)])
def test_without_a_pair_it_is_zero_and_gradients_flow(samples: int, window: int) -> None:
    frames = torch.randn(samples, window, 8, requires_grad=True)
    loss = TemporalConsistencyLoss()(frames)
    loss.backward()
    assert loss.item() == 0
    assert frames.grad is not None
    assert torch.count_nonzero(frames.grad) == 0


def test_samples_without_video_do_not_count() -> None:
    frames = torch.randn(4, 5, 8)
    mask = torch.tensor([True, False, True, False])
    expected = TemporalConsistencyLoss()(frames[mask])
    frames[~mask] = float("nan")
    frames.requires_grad_()
    loss = TemporalConsistencyLoss()(frames, mask)
    assert torch.equal(loss, expected)
    loss.backward()
    assert frames.grad is not None
    assert torch.isfinite(frames.grad).all()
    assert frames.grad[mask].abs().sum() > 0


def test_a_step_against_the_gradient_lowers_it() -> None:
    frames = torch.randn(2, 6, 8, requires_grad=True)
    loss = TemporalConsistencyLoss()
    before = loss(frames)
    before.backward()
    assert frames.grad is not None
    assert loss(frames - 0.1 * frames.grad) < before


def test_identical_frames_have_a_finite_gradient() -> None:
    frames = torch.zeros(2, 3, 8, requires_grad=True)
    TemporalConsistencyLoss()(frames).backward()
    assert frames.grad is not None
    assert torch.isfinite(frames.grad).all()


def test_detection_loss_is_cross_entropy_over_the_samples_that_count() -> None:
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    mask = torch.tensor([True, True, False, True])
    assert detection_loss(logits, labels) == pytest.approx(torch.nn.functional.cross_entropy(logits, labels))
    assert detection_loss(logits, labels, mask) == pytest.approx(
        torch.nn.functional.cross_entropy(logits[mask], labels[mask])
    )


def test_detection_loss_of_nobody_is_zero_with_a_gradient() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    loss = detection_loss(logits, torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None


def test_detection_loss_pulls_towards_class_one_for_fakes() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    detection_loss(logits, torch.tensor([1])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] < 0 < logits.grad[0, 0]


def test_class_weights_multiply_each_sample_and_divide_by_none() -> None:
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 1])
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=0.2)
    expected = (2.0 * each[0] + 0.5 * each[1:].sum()) / 4
    found = detection_loss(logits, labels, class_weights=torch.tensor([2.0, 0.5]), smoothing=0.2)
    assert found == pytest.approx(expected)


def test_equal_class_weights_give_the_plain_mean() -> None:
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 1])
    assert torch.equal(detection_loss(logits, labels, class_weights=torch.ones(2)), detection_loss(logits, labels))


def test_smoothing_makes_certainty_cost_something() -> None:
    labels = torch.tensor([1])
    sure, fair = torch.tensor([[-20.0, 20.0]]), torch.tensor([[-1.0, 1.0]])
    assert detection_loss(sure, labels) < detection_loss(fair, labels)
    assert detection_loss(sure, labels, smoothing=0.1) > detection_loss(fair, labels, smoothing=0.1)


# Places

EVERY = torch.ones(2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("heat", "truth", "expected"),
    [
        (0.0, 0.0, math.log(2)),
        (0.0, 0.3, math.log(2)),
        (2.0, 1.0, math.log1p(math.exp(-2))),
        (2.0, 0.0, 2 + math.log1p(math.exp(-2))),
        (-2.0, 0.25, 0.25 * 2 + math.log1p(math.exp(-2))),
        (50.0, 1.0, 0.0),
        (-50.0, 1.0, 50.0),
    ],
)
def test_a_place_costs_its_cross_entropy(heat: float, truth: float, expected: float) -> None:
    loss = place_loss(torch.full((2, 3, 2, 2), heat), torch.full((2, 3, 8, 8), truth), EVERY)
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_places_are_averaged_down_to_the_grid_of_the_heat_map() -> None:
    places = torch.zeros(1, 1, 4, 4)
    places[0, 0, :2, :1] = 1  # half of the first quarter
    places[0, 0, 2:, 2:] = 1  # all of the last one
    heat = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.binary_cross_entropy_with_logits(heat, torch.tensor([[[[0.5, 0.0], [0.0, 1.0]]]]))
    torch.testing.assert_close(place_loss(heat, places, EVERY[:1]), expected)


def test_the_heat_map_of_a_frame_is_held_against_its_own_places() -> None:
    places = torch.zeros(1, 2, 8, 8)
    places[0, 1] = 1
    right = torch.tensor([-9.0, 9.0])[None, :, None, None].expand(1, 2, 3, 3)
    assert float(place_loss(right, places, EVERY[:1])) < 0.01
    assert float(place_loss(right.flip(1), places, EVERY[:1])) > 8


def test_samples_whose_places_are_not_known_do_not_count() -> None:
    heat, places, known = torch.randn(4, 2, 3, 3), torch.rand(4, 2, 9, 9), torch.tensor([True, False, True, False])
    expected = place_loss(heat[known], places[known], EVERY)
    heat[~known] = places[~known] = float("nan")
    heat.requires_grad_()
    loss = place_loss(heat, places, known)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert heat.grad is not None
    assert heat.grad[known].count_nonzero() == heat.grad[known].numel()
    assert heat.grad[~known].count_nonzero() == 0


def test_without_known_places_it_is_zero_and_gradients_flow() -> None:
    heat = torch.randn(2, 2, 3, 3, requires_grad=True)
    loss = place_loss(heat, torch.rand(2, 2, 8, 8), ~EVERY)
    loss.backward()
    assert loss.item() == 0
    assert heat.grad is not None
    assert torch.count_nonzero(heat.grad) == 0


def test_a_heat_map_of_lower_precision_is_judged_alike() -> None:
    heat, places = torch.randn(2, 2, 3, 3), torch.rand(2, 2, 9, 9)
    assert float(place_loss(heat.bfloat16(), places, EVERY)) == pytest.approx(
        float(place_loss(heat, places, EVERY)), rel=0.02
    )
