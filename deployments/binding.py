"""Who can connect to the service: this machine only, or others too."""

from ipaddress import ip_address
from typing import Any, cast

import ray
from ray.exceptions import RayError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.config import HTTPOptions

ANSWER_SECONDS = 30.0
"""A controller that is being restarted answers within this time."""


def listens_on_loopback() -> bool:
    """Whether only processes of this machine can connect to Ray Serve's HTTP proxies.

    A running Serve is asked. Where none runs yet, as under `serve run module:build`, it is the host that Serve starts
    with by default; the ingress asks again when Serve runs. What cannot be known counts as no.

    One host holds for all proxies of a Serve: for one on the head, one on every node, HAProxy, and the replicas behind
    it. It cannot change while Serve runs. Ray has no public call for it.
    """
    try:
        return is_loopback(_proxy_host())
    except (RayError, TimeoutError):
        return False


def is_loopback(host: str | None) -> bool:
    """Whether a socket that is bound to this host takes connections from its own machine alone.

    None is Serve without HTTP: nobody can connect. A name other than `localhost` may be any address.
    """
    if host is None or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy_host() -> str | None:
    if not ray.is_initialized():
        return HTTPOptions().host
    try:
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    except ValueError:  # there is none
        return HTTPOptions().host
    options: Any = ray.get(controller.get_http_config.remote(), timeout=ANSWER_SECONDS)
    return cast("HTTPOptions", options).host
