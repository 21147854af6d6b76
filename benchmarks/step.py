"""How fast is one training step of the model, on a GPU or a CPU, without Ray and without data?

    python benchmarks/step.py [--device auto] [--batch-size N] [--steps N] [--size 224] [--set KEY=VALUE] [--json FILE]

Prints samples per second, the share of the device's peak (where it is known), memory, and the ratio against the plain
way: float32, contiguous memory, not compiled. Floating-point operations are counted by torch in one step of the plain
way, backward pass included.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from material import save, settings, show
from torch.utils.flop_counter import FlopCounterMode

from aura_model.batch import Batch
from aura_model.config import Config
from aura_model.device import resolve_device
from training.optim.learner import Learner
from training.targets import Targets

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "T4": 65e12}
"""Dense half-precision peak of data-centre GPUs, floating-point operations per second, by the makers' data sheets."""
PLAIN = ("training.use_amp=false", "training.channels_last=false", "training.compile=false")
WAYS = {
    "plain: float32, contiguous": PLAIN,
    "channels-last": ("training.use_amp=false", "training.channels_last=true"),
    "channels-last, mixed precision": ("training.use_amp=true", "training.channels_last=true"),
    "channels-last, mixed precision, compiled": ("training.channels_last=true", "training.compile=true"),
}


@dataclass(frozen=True)
class Speed:
    """One way to step."""

    samples_per_second: float
    ratio: float
    """Against the plain way."""
    peak_share: float | None
    memory: int | None
    """Bytes of the device at the most."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = torch.device(resolve_device(args.device))
    on_gpu = device.type == "cuda"
    batch_size, steps = args.batch_size or (32 if on_gpu else 2), args.steps or (30 if on_gpu else 4)
    base = (f"dataset.face.size={args.size}", *args.set)
    ways = {name: settings(*base, *way) for name, way in WAYS.items() if on_gpu or "mixed" not in name}
    speeds = measure(ways, device, batch_size, steps)
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    show(f"{name}: {batch_size} clips a step", {way: line(speed) for way, speed in speeds.items()})
    save(args.json, {"device": name, "batch_size": batch_size} | {way: asdict(one) for way, one in speeds.items()})


def measure(ways: dict[str, Config], device: torch.device, batch_size: int, steps: int) -> dict[str, Speed]:
    """Each way in turn; the first one is the plain one."""
    speeds: dict[str, Speed] = {}
    operations = count_operations(next(iter(ways.values())), device, batch_size)
    for name, config in ways.items():
        rate, memory = run(config, device, batch_size, steps)
        plain = next(iter(speeds.values())).samples_per_second if speeds else rate
        peak = peak_of(device)
        share = operations / batch_size * rate / peak if peak else None
        speeds[name] = Speed(rate, rate / plain, share, memory)
    return speeds


def run(config: Config, device: torch.device, batch_size: int, steps: int) -> tuple[float, int | None]:
    """Samples per second after two steps of warm-up, and the memory at the most."""
    learner = Learner(config, device, lambda module: module)
    parts = [example(config, batch_size)]
    for _ in range(2):
        learner.step(parts, [1.0])
    _wait(device)
    began = time.perf_counter()
    for _ in range(steps):
        learner.step(parts, [1.0])
    _wait(device)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return steps * batch_size / (time.perf_counter() - began), memory


def count_operations(config: Config, device: torch.device, batch_size: int) -> float:
    """Floating-point operations of one step."""
    learner = Learner(config, device, lambda module: module)
    with FlopCounterMode(display=False) as counter:
        learner.step([example(config, batch_size)], [1.0])
    return float(counter.get_total_flops())


def example(config: Config, batch_size: int) -> tuple[Batch, Targets]:
    """Noise of the shapes that the configuration gives, with alternating labels."""
    generator = torch.Generator().manual_seed(0)
    video, side = config.dataset.video, config.dataset.face.size
    shape = (batch_size, video.temporal_window, 3, side, side)
    windows = video.clip_samples // 160 + 1
    everyone = torch.ones(batch_size, dtype=torch.bool)
    batch = Batch(
        video=torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
        audio=torch.randn((batch_size, config.model.audio.n_mels, windows), generator=generator),
        video_mask=everyone,
        audio_mask=everyone,
    )
    return batch, Targets(torch.arange(batch_size) % 2)


def peak_of(device: torch.device) -> float | None:
    """The device's peak, None where it is not known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for known, peak in PEAKS.items() if known in name), None)


def line(speed: Speed) -> str:
    """One row of the table."""
    parts: Sequence[str] = (
        f"{speed.samples_per_second:8.1f} clips/s",
        f"{speed.ratio:5.2f} x plain",
        f"{speed.peak_share:.1%} of the peak" if speed.peak_share is not None else "",
        f"{speed.memory / 2**30:.1f} GiB" if speed.memory is not None else "",
    )
    return "   ".join(part for part in parts if part)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
