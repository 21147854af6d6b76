"""Bodies that are too large, against the whole way through the proxy; the long form is `benchmarks/bodies.py`."""

from urllib.parse import urlsplit

import pytest
from bodies import CASES, MIB, Case, measure
from live import Service

from tests.deployments.live.conftest import Live

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
REFUSED = [case for case in CASES if not case.is_stubborn and not case.mib]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_it_is_refused_before_it_has_been_sent(live: Live, case: Case) -> None:
    """The service takes 200 MiB; the client would send 512, and stops when it hears no."""
    port = urlsplit(live.url).port
    assert port
    result = measure(Service(port, live.folder), case, 512 * MIB)
    assert {refusal["status"] for refusal in result["refusals"]} == {case.status}
    assert all(refusal["sent_in_all"] < 256 for refusal in result["refusals"])
    assert result["growth"]["proxy"] <= 150
    assert live.health()["ready"]
