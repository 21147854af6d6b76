"""The HTTP surface on a backend that answers at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.media import MediaInfo
from aura_model.reply import FaceBox, Heatmap, ModelInfo, Peak
from aura_model.scores import ClipScore
from aura_model.settings import load_config
from deployments import metrics
from deployments.ingress import build_api
from deployments.messages import ModelStatus, Scored, Trace
from tests.deployments.recorder import Recorder

INFO = ModelInfo(name="multimodal_v1", version="test-1", trained=True, calibrated=True)
READY = ModelStatus(state="ready", checkpoint_path="best.pth", checkpoint_exists=True, model=INFO, device="cpu")

Answer = Callable[[npt.NDArray[np.uint8], float], Awaitable[Scored]]


def make_config(**sections: Mapping[str, Any]) -> Config:
    return load_config(settings=sections, env={})


def make_clips(count: int = 1, side: int = 4) -> Clips:
    media = MediaInfo(
        sha256="0" * 64,
        bytes=5,
        container="mp4",
        duration=float(count),
        width=64,
        height=48,
        fps=8.0,
        rotation=0,
        video_codec="h264",
        audio_codec=None,
    )
    return Clips(tuple(make_clip(float(start), side) for start in range(count)), media, (), {"open": 0.001})


def make_clip(start: float = 0.0, side: int = 4) -> Clip:
    return Clip(
        times=start + np.arange(2) / 8,
        seconds=0.25,
        frames=np.zeros((2, side, side, 3), np.uint8),
        boxes=np.ones((2, 4), np.float32),
        landmarks=np.zeros((2, 5, 2), np.float32),
        track_id=0,
        wave=None,
    )


HEATMAP = Heatmap(
    area=FaceBox(time=0.125, x1=10.0, y1=8.0, x2=40.0, y2=38.0),
    values=((0.1, 0.2), (0.9, 0.3)),
    peak=Peak(x=17.5, y=30.5, probability=0.9),
    image="data:image/png;base64,iVBORw0KGgo=",
)


def make_scored(fake: float = 3.0, *, explain: bool = False) -> Scored:
    clips = make_clips().without_samples()
    scores = (ClipScore(fake=fake, video=fake, audio=None),)
    return Scored(clips, scores, INFO, {"score": 0.002}, heatmaps={0: HEATMAP} if explain else None)


class FakeBackend:
    """Answers as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.current = READY
        self.asked = 0
        self.heard = asyncio.Event()
        self.media: list[bytes] = []
        self.seconds: list[float] = []
        self.traces: list[Trace] = []
        self.answer: Answer = self.score

    async def predict(self, media: npt.NDArray[np.uint8], seconds: float, trace: Trace) -> Scored:
        self.media.append(media.tobytes())
        self.seconds.append(seconds)
        self.traces.append(trace)
        return await self.answer(media, seconds)

    async def status(self) -> ModelStatus:
        self.asked += 1
        self.heard.set()
        return self.current

    async def score(self, media: npt.NDArray[np.uint8], seconds: float) -> Scored:
        return make_scored()

    def raises(self, error: BaseException) -> None:
        async def fail(media: npt.NDArray[np.uint8], seconds: float) -> Scored:
            raise error

        self.answer = fail

    def holds(self) -> tuple[asyncio.Event, asyncio.Event]:
        """From now on a prediction says that it has begun, then waits to be let go."""
        begun, go = asyncio.Event(), asyncio.Event()

        async def wait(media: npt.NDArray[np.uint8], seconds: float) -> Scored:
            begun.set()
            await go.wait()
            return make_scored()

        self.answer = wait
        return begun, go


@asynccontextmanager
async def client_of(
    config: Config, backend: FakeBackend, *, open_to_others: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service, once the service has heard from the backend."""
    api = build_api(config, backend, open_to_others=open_to_others)
    transport = httpx.ASGITransport(api)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://aura") as client,
    ):
        await backend.heard.wait()
        yield client


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
async def client(backend: FakeBackend) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_config(), backend) as client:
        yield client


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorder]:
    """The metrics that are made from now on, by name."""
    monkeypatch.setattr(Recorder, "made", {})
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(metrics, kind, Recorder)
    return Recorder.made
