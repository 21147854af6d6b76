"""What does restoring faces cost, beside scoring them as they are?

    python benchmarks/restoring.py [--rounds 20]

The clips of the bundled real video are scored by the default model on one thread of a CPU: as they are, without
restoration (the baseline); as usual; dim and pale; and noisy. Printed are processor milliseconds a clip and the ratio
to the baseline, each way by turns in every round.
"""

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from aura_model.augment.perturbations import perturb
from aura_model.clips import Clip, load_clips
from aura_model.config import Config, RestorationConfig
from aura_model.predictor import load_scorer
from aura_model.scoring import Scorer
from aura_model.settings import load_config

VIDEO = Path(__file__).parents[1] / "tests" / "media" / "talking_face.mp4"
BASELINE = "without restoration"
NOTHING = RestorationConfig(bars_below=None, least_light=None, least_colour=None, most_noise=None)
CHANGES: Mapping[str, Sequence[tuple[str, int]]] = {
    "a usual video": (),
    "dim and pale": (("contrast", 5), ("saturation", 3)),
    "noisy": (("noise", 1),),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    costs = measure(load_config(env={}, overrides=["inference.device=cpu"]), rounds)
    for name, cost in costs.items():
        print(f"{name:22s} {1000 * cost:6.1f} ms a clip   {cost / costs[BASELINE]:5.2f} x {BASELINE}")


def measure(config: Config, rounds: int) -> dict[str, float]:
    """The median of the processor seconds that a clip takes, each way."""
    scorer = load_scorer(config)
    clips = list(load_clips(VIDEO, scorer.loaded.config).clips)
    ways = {BASELINE: (unrestoring(scorer), clips)}
    ways |= {name: (scorer, [changed(clip, steps) for clip in clips]) for name, steps in CHANGES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, (by, seen) in ways.items():
            began = time.process_time()
            by.score(seen)
            seconds[name].append((time.process_time() - began) / len(seen))
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}  # the first round warms up


def unrestoring(scorer: Scorer) -> Scorer:
    """The same model, with faces as they are."""
    config = scorer.loaded.config
    inference = config.inference.model_copy(update={"restoration": NOTHING})
    return Scorer(replace(scorer.loaded, config=config.model_copy(update={"inference": inference})), scorer.device)


def changed(clip: Clip, steps: Sequence[tuple[str, int]]) -> Clip:
    """The clip after these perturbations, name and level."""
    frames = clip.frames
    if frames is None:
        raise ValueError("the bundled video shows a face in every clip")
    for name, level in steps:
        frames = perturb(frames, name, level, np.random.default_rng(0))
    return replace(clip, frames=frames)


if __name__ == "__main__":
    main()
