import pytest
import torch
from torch import nn

from training.optim.average import WeightAverage


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def fill(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(value)


def values(model: nn.Module) -> set[float]:
    return {round(float(value), 6) for tensor in model.state_dict().values() for value in tensor.flatten()}


def test_it_starts_where_the_model_is_and_shares_nothing_with_it() -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fill(model, 7)
    for name, tensor in average.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_it_is_for_evaluation_only() -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    assert not any(module.training for module in average.model.modules())
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_weights_and_statistics_follow_and_counters_are_copied() -> None:
    model = network()
    fill(model, 0)
    average = WeightAverage(model, 0.75)
    fill(model, 8)
    average.update(1000)
    state = average.model.state_dict()
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    assert [int(state.pop(name)) for name in counters] == [8]
    assert {float(value) for tensor in state.values() for value in tensor.flatten()} == {2.0}
    average.update(1001)
    assert 3.5 in values(average.model)


@pytest.mark.parametrize(
    ("steps", "decay", "expected"), [(0, 0.999, 0.1), (1, 0.999, 2 / 11), (89, 0.999, 90 / 99), (89, 0.5, 0.5)]
)
def test_the_first_steps_decay_faster(steps: int, decay: float, expected: float) -> None:
    model = nn.Linear(1, 1)
    fill(model, 1)
    average = WeightAverage(model, decay)
    fill(model, 0)
    average.update(steps)
    assert float(average.model.weight) == pytest.approx(expected)


def test_the_model_is_left_alone() -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    fill(model, 3)
    average.update(5)
    assert values(model) == {3.0}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_it_follows_the_same_model_after_its_weights_were_loaded() -> None:
    model, other = network(), network()
    average = WeightAverage(model, 0.5)
    fill(other, 4)
    fill(average.model, 0)
    model.load_state_dict(other.state_dict())
    average.update(1000)
    assert values(average.model) == {2.0, 4.0}
