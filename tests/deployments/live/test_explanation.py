"""Heat-maps on their whole way: drawn by a detector on one side of Ray, returned by an ingress on the other."""

import base64

import pytest

from tests.deployments.live.conftest import MEDIA, Live

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


def test_a_heat_map_of_each_face_where_the_caller_asks(live: Live) -> None:
    content = (MEDIA / "two_faces.mp4").read_bytes()
    with live.client() as client:
        plain, asked = (
            client.post("/predict", params={"explain": wish}, files={"file": ("a.mp4", content)})
            for wish in (False, True)
        )
    assert [face["heatmap"] for face in plain.json()["faces"]] == [None, None]
    assert "explain" not in plain.json()["timings"]
    assert asked.json()["timings"]["explain"] > 0
    assert [len(face["heatmap"]["values"]) for face in asked.json()["faces"]] == [2, 2]  # a crop of 64 pixels
    for face in asked.json()["faces"]:
        area, peak, image = (face["heatmap"][name] for name in ("area", "peak", "image"))
        assert area["time"] in {box["time"] for box in face["boxes"]}
        assert area["x1"] < peak["x"] < area["x2"]
        assert area["y1"] < peak["y"] < area["y2"]
        assert base64.b64decode(image.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert len(asked.content) < 1_000_000


def test_a_wish_that_is_none_is_a_problem(live: Live) -> None:
    with live.client() as client:
        reply = client.post("/predict", params={"explain": "maybe"}, files={"file": ("a.mp4", b"video")})
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")
