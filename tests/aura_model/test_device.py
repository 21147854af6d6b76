import pytest
import torch

from aura_model.device import resolve_device
from aura_model.errors import ConfigError


@pytest.mark.parametrize(
    ("asked", "there", "given"),
    [
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cpu", True, "cpu"),
        ("cuda", True, "cuda"),
        ("cuda:1", True, "cuda:1"),
    ],
)
def test_auto_takes_what_is_there(asked: str, there: bool, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert resolve_device(asked) == given


@pytest.mark.parametrize("asked", ["cuda", "cuda:0"])
def test_a_device_that_is_not_there_is_an_error(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"inference\.device"):
        resolve_device(asked)
