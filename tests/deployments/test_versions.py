"""Replicas of neighbouring versions read what each other sends."""

import dataclasses
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from aura_model.clips import Clip, Clips
from aura_model.errors import AuraError, ConfigError, MediaError, ModelNotReadyError
from aura_model.media import MediaInfo
from aura_model.reply import Heatmap, ModelInfo
from aura_model.scores import ClipScore
from deployments.messages import MESSAGES, Cropped, Failed, ModelStatus, Scored, Settings, Trace, Unfit, fit_of
from deployments.problems import ServiceError
from deployments.versions import VersionError, current, known, read_scored, read_settings, understood
from tests.deployments.conftest import HEATMAP, INFO, READY, make_clips, make_config, make_scored
from tests.operating_points import make_points

FIRST: dict[type, str] = {
    Clip: "times seconds frames boxes landmarks track_id wave",
    Clips: "clips media notes timings",
    ClipScore: "fake video audio",
    MediaInfo: "sha256 bytes container duration width height fps rotation video_codec audio_codec",
    ModelInfo: "name version trained calibrated",
    Trace: "request_id traceparent",
    Settings: "plain fit messages",
    Cropped: "clips fit messages",
    Failed: "code detail media messages",
    Unfit: "settings messages",
    Scored: "clips scores model timings messages",
    ModelStatus: ("state checkpoint_path checkpoint_exists reason detail model device settings update_failed messages"),
}
"""What each class that travels had in version 1."""


def fields_of(kind: type) -> dict[str, bool]:
    """The fields, and whether each has a default that a message without it is read with."""
    if issubclass(kind, BaseModel):
        return {name: not field.is_required() for name, field in kind.model_fields.items()}
    return {field.name: field.default is not dataclasses.MISSING for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("kind", FIRST, ids=lambda kind: kind.__name__)
def test_a_message_keeps_its_fields_and_gives_new_ones_a_default(kind: type) -> None:
    fields = fields_of(kind)
    first = FIRST[kind].split()
    assert list(fields)[: len(first)] == first
    assert all(fields[name] for name in fields.keys() - first)


def sent(message: Any, changes: Mapping[str, Any]) -> Any:
    """A message as a replica of another version would send it: None takes a field away, other values set it."""
    state = {**vars(message), **changes}
    other = object.__new__(type(message))
    other.__dict__.update({name: value for name, value in state.items() if value is not None})
    return pickle.loads(pickle.dumps(other))


def test_a_message_of_tomorrow() -> None:
    scored = read_scored(sent(make_scored(), {"heat_map": "new", "messages": MESSAGES + 1}))
    assert (scored.model, len(scored.clips.clips)) == (INFO, 1)
    assert not hasattr(scored, "heat_map")


def test_a_message_of_yesterday() -> None:
    """It lacks what has been added since."""
    status = sent(READY, {"update_failed": None, "messages": MESSAGES - 1})
    assert "update_failed" not in vars(status)
    assert understood(status).update_failed is None
    assert dataclasses.replace(status, state="loading").model == INFO


def test_an_ingress_and_a_detector_that_know_nothing_of_heat_maps() -> None:
    """They are neither asked for nor sent."""
    trace = sent(Trace("abc-1", explain=True), {"explain": None})
    assert "explain" not in vars(trace)
    assert not trace.explain
    scored = sent(make_scored(explain=True), {"heatmaps": None, "messages": MESSAGES - 1})
    assert "heatmaps" not in vars(scored)
    assert read_scored(scored).heatmaps is None


def test_a_score_without_the_newest_field() -> None:
    score = sent(ClipScore(1.0, None, -1.0, np.zeros((1, 2, 2), np.float32)), {"heatmap": None})
    assert "heatmap" not in vars(score)
    assert (score.fake, score.heatmap) == (1.0, None)


def test_a_model_of_yesterday_has_no_operating_points() -> None:
    model = INFO.model_copy()
    del model.__dict__["operating_points"]
    scored = pickle.loads(pickle.dumps(dataclasses.replace(make_scored(), model=model)))
    assert "operating_points" not in vars(scored.model)
    assert read_scored(scored).model == INFO


def test_operating_points_arrive_as_they_were() -> None:
    model = INFO.model_copy(update={"operating_points": make_points()})
    assert read_scored(pickle.loads(pickle.dumps(dataclasses.replace(make_scored(), model=model)))).model == model


@pytest.mark.parametrize("version", [MESSAGES - 2, MESSAGES + 2])
@pytest.mark.parametrize("message", [READY, make_scored(), Failed("busy", "", False), Settings({}, "")], ids=repr)
def test_a_distant_version_is_refused(message: Any, version: int) -> None:
    with pytest.raises(VersionError, match=f"version {version}") as caught:
        understood(sent(message, {"messages": version}))
    assert caught.value.code == "unavailable"


class Today(BaseModel, frozen=True, extra="forbid"):
    """A part of the reply that has gained a field."""

    name: str
    since: str = "new"


def test_a_part_of_the_reply_without_the_newest_field() -> None:
    other = Today(name="a", since="old")
    del other.__dict__["since"]
    assert current(pickle.loads(pickle.dumps(other))) == Today(name="a", since="new")


def test_a_part_of_the_reply_with_a_field_of_tomorrow() -> None:
    other = Today(name="a")
    other.__dict__["later"] = 1
    assert vars(current(pickle.loads(pickle.dumps(other)))) == {"name": "a", "since": "new"}


def test_the_reply_is_built_from_parts_of_this_version() -> None:
    scored = make_scored()
    info, media, heatmap = INFO.model_copy(), scored.clips.media.model_copy(), HEATMAP.model_copy()
    for part in (info, media, heatmap):
        part.__dict__["later"] = 1
    clips = dataclasses.replace(scored.clips, media=media)
    scored = dataclasses.replace(scored, model=info, clips=clips, heatmaps={0: heatmap})
    read = read_scored(pickle.loads(pickle.dumps(scored)))
    assert read.heatmaps == {0: HEATMAP}
    assert vars(read.heatmaps[0]).keys() == Heatmap.model_fields.keys()
    assert vars(read.model).keys() == ModelInfo.model_fields.keys()
    assert vars(read.clips.media).keys() == MediaInfo.model_fields.keys()


@pytest.mark.parametrize(
    "error",
    [
        MediaError("too_long", "cut it"),
        ModelNotReadyError("model_not_ready", "wait"),
        ServiceError("deadline_exceeded", "hurry"),
    ],
    ids=str,
)
def test_an_error_arrives_as_it_was(error: AuraError) -> None:
    arrived = pickle.loads(pickle.dumps(Failed.of(error))).error()
    assert (type(arrived), arrived.code, arrived.detail) == (type(error), error.code, error.detail)


@pytest.mark.parametrize(
    ("failed", "kind", "code"),
    [
        (Failed("codec_of_tomorrow", "re-encode", True), MediaError, "corrupt_video"),
        (Failed("trouble_of_tomorrow", "retry", False), ServiceError, "unavailable"),
        (Failed.of(ConfigError("mtcnn is not installed")), ServiceError, "unavailable"),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_an_error_that_this_version_does_not_know(failed: Failed, kind: type[AuraError], code: str) -> None:
    error = failed.error()
    assert isinstance(error, kind)
    assert (error.code, error.detail) == (code, failed.detail)


def test_settings_arrive_as_they_were() -> None:
    config = make_config(dataset={"face": {"size": 96}, "video": {"frame_rate": 5}}, limits={"max_seconds": 7})
    arrived = read_settings(pickle.loads(pickle.dumps(Settings.of(config))))
    assert (arrived.limits, arrived.dataset.face) == (config.limits, config.dataset.face)
    assert (arrived.dataset.video, arrived.dataset.audio) == (config.dataset.video, config.dataset.audio)


def test_settings_hold_nothing_beyond_what_is_asked_of_clips() -> None:
    assert Settings.of(make_config()).plain.keys() == {"dataset", "limits"}


def test_settings_that_this_version_cannot_follow_are_named() -> None:
    settings = Settings({"dataset": {"face": {"detector": "of_tomorrow"}}}, "")
    with pytest.raises(ConfigError, match="detector"):
        read_settings(settings)


def test_unknown_keys_are_left_out() -> None:
    dataset = {"later": {}, "face": {"size": 96, "later": [1]}}
    plain = {"seed": 1, "later": 1, "logging": {"json": True, "later": 1}, "dataset": dataset}
    assert known(plain) == {"seed": 1, "logging": {"json": True}, "dataset": {"face": {"size": 96}}}


@pytest.mark.parametrize(
    "section",
    [
        {"video": {"frame_rate": 5}},
        {"video": {"temporal_window": 4}},
        {"face": {"size": 96}},
        {"face": {"margin": 0.5}},
        {"audio": {"enabled": False}},
        {"audio": {"min_speech": 0.9}},
    ],
    ids=str,
)
def test_clips_fit_no_model_that_asks_for_others(section: dict[str, Any]) -> None:
    assert fit_of(make_config(dataset=section)) != fit_of(make_config())


@pytest.mark.parametrize(
    "sections", [{"dataset": {"video": {"max_clips": 3}}}, {"limits": {"max_seconds": 7}}, {"seed": 3}], ids=str
)
def test_clips_fit_whatever_else_is_set(sections: dict[str, Any]) -> None:
    assert fit_of(make_config(**sections)) == fit_of(make_config())


def test_clips_of_both_versions_are_the_same_class() -> None:
    clips = pickle.loads(pickle.dumps(Cropped(make_clips(2), "fit")))
    assert len(clips.clips.clips) == 2
