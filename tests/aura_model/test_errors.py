import copy
import inspect
import pickle
import re

import pytest

from aura_model import errors
from aura_model.errors import (
    MEDIA_ERRORS,
    AuraError,
    CheckpointError,
    ConfigError,
    DecoderError,
    MediaError,
    ModelNotReadyError,
)

EXAMPLES = [
    AuraError("some_code", "do this"),
    ConfigError("seed: unknown key"),
    MediaError("too_long", "12 s of at most 10 s"),
    DecoderError("the sandbox is closed"),
    CheckpointError("checkpoint_missing", "no file a.pth"),
    ModelNotReadyError("model_loading", "try again"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_has_a_code_and_a_detail_and_says_both(error: AuraError) -> None:
    assert isinstance(error, AuraError)
    assert str(error) == f"{error.code}: {error.detail}"


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_crosses_a_process_border(error: AuraError, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is type(error)
    assert (again.code, again.detail, str(again)) == (error.code, error.detail, str(error))
    assert str(copy.copy(error)) == str(error)


def test_notes_and_attributes_cross_too() -> None:
    error = MediaError("too_long", "x")
    error.add_note("while reading a.mp4")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while reading a.mp4"]


def test_every_error_of_the_module_is_tried_here() -> None:
    classes = {value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, Exception)}
    assert classes == {type(error) for error in EXAMPLES}


def test_a_config_error_has_one_code() -> None:
    assert ConfigError("x").code == "invalid_config"


@pytest.mark.parametrize("code", MEDIA_ERRORS)
def test_each_media_code_can_be_raised(code: str) -> None:
    with pytest.raises(MediaError, match=f"^{code}: why$") as caught:
        raise MediaError(code, "why")
    assert caught.value.code == code


@pytest.mark.parametrize("code", ["", "nonsense", "TOO_LONG", "invalid_config"])
def test_a_media_error_needs_a_known_code(code: str) -> None:
    with pytest.raises(ValueError, match="unknown media error code"):
        MediaError(code, "why")


def test_codes_are_identifiers_and_titles_are_sentences() -> None:
    for code, title in MEDIA_ERRORS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
        assert re.fullmatch(r"[A-Z].*\.", title)
    assert len(set(MEDIA_ERRORS.values())) == len(MEDIA_ERRORS)


def test_the_codes_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        MEDIA_ERRORS["new"] = "x"  # type: ignore[index]
