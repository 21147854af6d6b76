"""What do bombs cost a decode child, and do children last?

    python benchmarks/children.py [--rounds 3] [--files 300] [--fresh 200] [--json FILE]

Bombs: a frame of 142 megapixels in VP9, one of 256 in PNG, and 60,000 frames, each refused within a second and with
less than 100 MB more; and 30,000 frames, which is allowed, in less than 2 s of the processor. Lasting: three times 300
files, of which the child reads the beginning only, in one and the same child; then files each in a child of its own.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from bombs import frame_bomb, png_bomb, vp9_bomb
from live import save_json
from open_loop import percentile

from aura_model.errors import MediaError
from aura_model.sandbox import Sandbox
from aura_model.settings import load_config

MEDIA = Path(__file__).parents[1] / "tests" / "media"
LONG = MEDIA / "long_gop.mp4"
LIGHT = ("dataset.face.detector=center_crop", "dataset.audio.enabled=false")
"""Without networks: what is measured is the decoding."""
REFUSED = {
    "VP9 of 16384x8704": "resolution_too_large",
    "PNG of 16000x16000": "resolution_too_large",
    "60,000 frames": "too_many_frames",
}
ALLOWED = "30,000 frames"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=300, help="in each round")
    parser.add_argument("--fresh", type=int, default=200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    bombs = {
        **dict(zip(REFUSED, (vp9_bomb(), png_bomb(), frame_bomb(60_000)), strict=True)),
        ALLOWED: frame_bomb(30_000),
    }
    results = {
        "bombs": {name: drop(content) for name, content in bombs.items()},
        "one child": [early_stops(args.files) for _ in range(args.rounds)],
        "fresh children": fresh_children(args.fresh),
    }
    show(results)
    save_json(args.json, results)


def drop(content: bytes) -> dict[str, Any]:
    """What one file costs a child that has been at work before."""
    others = decode_children()
    with Sandbox(load_config(env={}, overrides=LIGHT)) as sandbox:
        sandbox.load_clips(MEDIA / "one_frame.mp4")
        (child,) = decode_children(others)
        before, processor = child.memory_info().rss, sum(child.cpu_times()[:2])
        Path(f"/proc/{child.pid}/clear_refs").write_text("5")  # the peak counts from here
        began = time.perf_counter()
        code = outcome(sandbox, content)
        return {
            "code": code,
            "seconds": time.perf_counter() - began,
            "processor seconds": sum(child.cpu_times()[:2]) - processor,
            "MB more": (peak(child.pid) - before) / 1e6,
            "survived": child.is_running() and child.pid in {process.pid for process in decode_children()},
        }


def outcome(sandbox: Sandbox, content: bytes) -> str:
    """The code of the refusal, or "clips"."""
    try:
        sandbox.load_clips(content)
    except MediaError as error:
        return error.code
    return "clips"


def peak(pid: int) -> int:
    """The most bytes that a process has had in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def decode_children(others: Sequence[psutil.Process] = ()) -> list[psutil.Process]:
    """The children of this process that decode, or that have ended and were not reaped, but for some others."""
    return [
        process
        for process in psutil.Process().children()
        if process.status() == psutil.STATUS_ZOMBIE or "aura_model.decode_child" in " ".join(process.cmdline())
        if process not in others
    ]


def early_stops(files: int) -> dict[str, Any]:
    """One child opens a long file again and again, reads its first second and closes it."""
    overrides = (*LIGHT, "dataset.video.clip_sampling_strategy=start_at", f"limits.files_per_child={2 * files}")
    seconds, others = [], decode_children()
    with leftovers() as left, Sandbox(load_config(env={}, overrides=overrides)) as sandbox:
        sandbox.load_clips(LONG)
        (child,) = decode_children(others)
        before, descriptors = child.memory_info().rss, child.num_fds()
        for _ in range(files):
            began = time.perf_counter()
            sandbox.load_clips(LONG)
            seconds.append(time.perf_counter() - began)
        after = child.memory_info().rss
        same = decode_children(others) == [child] and not sandbox.replaced
        more = child.num_fds() - descriptors
    return {
        "files": files,
        "p50, ms": 1000 * statistics.median(seconds),
        "max, ms": 1000 * max(seconds),
        "MB more": (after - before) / 1e6,
        "descriptors more": more,
        "the same child": same,
        **left,
    }


def fresh_children(count: int) -> dict[str, Any]:
    """Each file in a child of its own, whose start is waited for."""
    seconds = []
    config = load_config(env={}, overrides=(*LIGHT, "limits.files_per_child=1"))
    with leftovers() as left, Sandbox(config) as sandbox:
        for _ in range(count):
            began = time.perf_counter()
            sandbox.load_clips(MEDIA / "one_frame.mp4")
            seconds.append(time.perf_counter() - began)
        died = sandbox.replaced
    return {
        "children": count,
        "p50, ms": 1000 * statistics.median(seconds),
        "p95, ms": 1000 * percentile(seconds, 0.95),
        "died": died,
        **left,
    }


@contextmanager
def leftovers() -> Iterator[dict[str, int]]:
    """What the block leaves behind, filled in when it ends."""
    left: dict[str, int] = {}
    others = decode_children()
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(tempfile, "tempdir", folder):
        yield left
        left["children left"] = len(decode_children(others))
        left["temporary files left"] = len(list(Path(folder).iterdir()))


def show(results: Mapping[str, Any]) -> None:
    """Print the figures and the marks."""
    for name, bomb in results["bombs"].items():
        print(f"{name:20s} {bomb['code']:22s} {bomb['seconds']:5.2f} s  {bomb['MB more']:5.0f} MB more")
    for soak in [*results["one child"], results["fresh children"]]:
        print({name: round(value, 1) for name, value in soak.items()})
    refused = {name: bomb for name, bomb in results["bombs"].items() if name != ALLOWED}
    soaks = results["one child"]
    marks = {
        "every bomb is refused as it should be": {name: bomb["code"] for name, bomb in refused.items()} == REFUSED,
        "within 1 s": all(bomb["seconds"] < 1 for bomb in refused.values()),
        "with less than 100 MB": all(bomb["MB more"] < 100 for bomb in refused.values()),
        "and no child dies": all(bomb["survived"] for bomb in results["bombs"].values()),
        "30,000 frames in less than 2 s of the processor": results["bombs"][ALLOWED]["processor seconds"] < 2,
        "the same child throughout": all(soak["the same child"] for soak in soaks),
        "it does not grow": soaks[-1]["MB more"] < 10 and not any(soak["descriptors more"] for soak in soaks),
        "no fresh child dies": not results["fresh children"]["died"],
        "nothing is left": not any(
            soak["children left"] or soak["temporary files left"] for soak in [*soaks, results["fresh children"]]
        ),
    }
    for mark, met in marks.items():
        print(f"{'met   ' if met else 'MISSED'} {mark}")


if __name__ == "__main__":
    main()
