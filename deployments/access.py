"""Who may ask for predictions, and how often."""

import os
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.requests import Request

from aura_model.config import ServingConfig
from aura_model.errors import ConfigError
from aura_model.redaction import API_KEYS
from deployments.keys import KeyRing, find
from deployments.problems import ServiceError
from deployments.rates import Rates

HEADER = "X-API-Key"
_BEARER = "bearer "
_NO_KEYS = (
    "serving.require_key: others than this machine can connect, or the setting says so, and there are no API keys. Set "
    f"{API_KEYS}=NAME:KEY in the environment where Ray is started, or serving.keys_file. Where a gateway in front of "
    "the service checks its callers, set serving.require_key: false. Or let Serve listen on 127.0.0.1 only"
)
_OFF = "serving.require_key is false: whoever can connect may ask for predictions"
_NOT_NEEDED = "there are no API keys: every process of this machine may ask for predictions"


class Access:
    """Admits callers who show a known API key, each as often as it may.

    Keys are asked for where there are any, unless `serving.require_key` is false. They must be there where that is
    true, and where it is null while others than this machine can connect.
    """

    def __init__(
        self,
        serving: ServingConfig,
        open_to_others: bool,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Read the keys.

        Args:
            serving: the settings.
            open_to_others: whether others than this machine can connect; True where that is not known.
            environment: holds `AURA_API_KEYS`.

        Raises:
            ConfigError: keys are required and there are none, or one is bad.
        """
        self._ring = KeyRing(environment, serving.keys_file)
        required = open_to_others if serving.require_key is None else serving.require_key
        if required and not self.names:
            raise ConfigError(_NO_KEYS)
        self.enforced = serving.require_key is not False and bool(self.names)
        self._rates = Rates(serving.requests_per_minute) if serving.requests_per_minute else None
        self.warning = None if self.enforced else _OFF if serving.require_key is False else _NOT_NEEDED
        """What the operator should be told at the start."""

    @property
    def names(self) -> list[str]:
        """What the keys are called."""
        return [key.name for key in self._ring.current()]

    def admit(self, request: Request) -> str | None:
        """Let a request in.

        Returns:
            The name of the caller's key; None where keys are off: then all callers share one limit of the rate.

        Raises:
            ServiceError: `unauthorized`, with the same text whatever was wrong, or `rate_limited`.
        """
        caller = self._caller(request.headers) if self.enforced else None
        if self._rates and (seconds := self._rates.take(caller)):
            raise ServiceError("rate_limited", f"Send the next request in {seconds} s.", retry_after=seconds)
        return caller

    def _caller(self, headers: Headers) -> str:
        name = find(self._ring.current(), _given(headers))
        if name is None:
            raise ServiceError("unauthorized", f"Send an API key of this service as {HEADER}, or as a bearer token.")
        return name


def _given(headers: Headers) -> str:
    """The key that a request shows: `X-API-Key`, else the bearer token. Any other `Authorization` is a gateway's."""
    authorization = headers.get("Authorization", "")
    bearer = authorization[len(_BEARER) :].strip() if authorization.lower().startswith(_BEARER) else ""
    return headers.get(HEADER, bearer)
