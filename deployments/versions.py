"""Reading what a replica of the version before, or after, has sent. The rules are in `deployments.messages`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar, get_args

from pydantic import BaseModel

from aura_model.config import Config
from aura_model.settings import parse_config
from deployments.messages import MESSAGES, Message, Scored, Settings
from deployments.problems import ServiceError

M = TypeVar("M", bound=Message)
Part = TypeVar("Part", bound=BaseModel)


class VersionError(ServiceError):
    """The replicas of two deployments are more than one version of their messages apart."""

    def __init__(self, theirs: int) -> None:
        super().__init__("unavailable", f"A part of the service speaks version {theirs}, this one {MESSAGES}.")


def understood(message: M) -> M:
    """The message, if its version is this one or a neighbour.

    Raises:
        VersionError: it is not.
    """
    if abs(message.messages - MESSAGES) > 1:
        raise VersionError(message.messages)
    return message


def read_settings(settings: Settings) -> Config:
    """The configuration that settings describe; keys that this version does not know are left out.

    Raises:
        VersionError: see `understood`.
        ConfigError: a value that this version does not accept.
    """
    return parse_config(known(understood(settings).plain))


def read_scored(scored: Scored) -> Scored:
    """The detector's answer with the parts that go into the reply as this version defines them.

    Raises:
        VersionError: see `understood`.
    """
    clips = replace(scored.clips, media=current(scored.clips.media))
    heatmaps = scored.heatmaps and {track_id: current(heatmap) for track_id, heatmap in scored.heatmaps.items()}
    return replace(understood(scored), clips=clips, model=current(scored.model), heatmaps=heatmaps)


def current(part: Part) -> Part:
    """A part of the reply: fields that the sender lacked get their defaults, those that it had beyond ours go."""
    fields = type(part).model_fields
    return type(part).model_validate({name: value for name, value in vars(part).items() if name in fields})


def known(plain: Mapping[str, Any], section: type[BaseModel] = Config) -> dict[str, Any]:
    """The keys of a plain tree that a section, and the sections in it, have fields for."""
    fields = {field.alias or name: field.annotation for name, field in section.model_fields.items()}
    return {key: _known_value(value, fields[key]) for key, value in plain.items() if key in fields}


def _known_value(value: Any, annotation: Any) -> Any:
    kinds = (annotation, *get_args(annotation))
    section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return known(value, section) if section and isinstance(value, Mapping) else value
