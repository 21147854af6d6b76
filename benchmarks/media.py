"""What does `load_clips` in its child cost beside a bare decode of the same file and the same face detections?

    python benchmarks/media.py [VIDEO] [--runs 9] [--threads 1]

Prints the medians of alternated runs and their ratios; the aim is at most 1.25 against PyAV. Without VIDEO it makes a
clip of 10 s at 1920x1080, 30 frames per second, with a moving face.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from aura_model.clips import sample_starts
from aura_model.config import Config
from aura_model.faces import FaceDetector, make_detector
from aura_model.sandbox import Sandbox
from aura_model.settings import load_config

FACE = Path(__file__).parents[1] / "tests" / "media" / "face.png"
WIDTH, HEIGHT, FPS, SECONDS = 1920, 1080, 30, 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        video = args.video or make_video(Path(folder) / "clip.mp4")
        report(video, args.runs, args.threads)


def report(video: Path, runs: int, threads: int) -> None:
    """Alternate the three ways, `runs` times each."""
    config = load_config(env={})
    detector = make_detector(config.dataset.face, threads)
    if detector is None:
        raise SystemExit("the configuration detects no faces")
    with Sandbox(config, children=1, threads=threads) as sandbox:
        clips = sandbox.load_clips(video)
        facts = clips.media
        print(f"{video.name}: {facts.width}x{facts.height}, {facts.duration:.1f} s, {facts.fps:.1f} fps", end=", ")
        print(f"{facts.video_codec}; {len(clips.clips)} clips; {threads} thread(s)")
        detections = count_detections(config, clips.media.duration)
        ways: dict[str, Callable[[], object]] = {
            "load_clips in its child": lambda: sandbox.load_clips(video),
            f"PyAV decode + {detections} detections": lambda: detect(detector, decode_pyav(video, threads), detections),
            f"cv2.VideoCapture + {detections} detections": lambda: detect(detector, decode_cv2(video), detections),
        }
        medians = measure(ways, runs)
    ours = next(iter(medians.values()))
    for name, seconds in medians.items():
        print(f"{name:42s} {1000 * seconds:8.0f} ms   load_clips / this = {ours / seconds:.2f}")


def measure(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median wall time of each way, seconds; the ways take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def count_detections(config: Config, duration: float) -> int:
    """How many frames of a video `load_clips` searches for faces."""
    video, every = config.dataset.video, config.dataset.face.every
    in_window = {*range(0, video.temporal_window, every), video.temporal_window - 1}
    return len(sample_starts(duration, video, None)) * len(in_window)


def decode_pyav(video: Path, threads: int) -> npt.NDArray[np.uint8]:
    """Decode every frame; the last one as RGB."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "SLICE", threads
        for frame in container.decode(stream):
            last = frame
    return last.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def decode_cv2(video: Path) -> npt.NDArray[np.uint8]:
    """Read every frame; the last one as RGB."""
    capture = cv2.VideoCapture(str(video))
    last = np.zeros((1, 1, 3), np.uint8)
    while (read := capture.read())[0]:
        last = np.asarray(read[1], dtype=np.uint8)
    capture.release()
    return np.ascontiguousarray(last[:, :, ::-1])


def detect(detector: FaceDetector, image: npt.NDArray[np.uint8], times: int) -> None:
    """Search one image for faces again and again."""
    for _ in range(times):
        detector.detect(image)


def make_video(path: Path) -> Path:
    """A face that wanders over a textured ground."""
    face = _resize(np.asarray(cv2.imread(str(FACE)))[:, :, ::-1], 480, 480)
    ground = _resize(np.random.default_rng(0).integers(0, 255, (135, 240, 3)), WIDTH, HEIGHT)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FPS * SECONDS):
            picture = np.roll(ground, 3 * index, axis=1)
            x = int((WIDTH - 480) * (0.5 + 0.4 * np.sin(index / 40)))
            y = int((HEIGHT - 480) * (0.5 + 0.4 * np.cos(index / 60)))
            picture[y : y + 480, x : x + 480] = face
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def _resize(image: npt.NDArray[np.generic], width: int, height: int) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.resize(image.astype(np.uint8), (width, height)), dtype=np.uint8)


if __name__ == "__main__":
    main()
