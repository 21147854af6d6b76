"""One of two data-parallel workers without Ray: `python two_workers.py RANK SIZE FOLDER`. Used by `test_team.py`."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from aura_model.batch import Batch, to_batch
from aura_model.clips import Clip
from aura_model.settings import load_config
from training.optim.learner import Learner
from training.targets import Targets
from training.worker.team import Team

OVERRIDES = (
    "model.video.backbone=test_efficientnet",
    "model.video.pretrained=false",
    "model.fusion.hidden_dim=16",
    "model.fusion.dropout=0",
    "model.fusion.temporal_consistency_loss={enabled: true, weight: 0.5}",
    "dataset.face.size=32",
    "dataset.video.temporal_window=2",
    "training.gradient_clip=1e9",
    "training.learning_rate=1e-9",
    "training.freeze={part: backbone, epochs: 1}",
)
CONFIG = load_config(env={}, overrides=OVERRIDES)
SHARES = {1: [[[0, 1, 2, 3]]], 2: [[[0, 1], [3]], [[2]]]}
"""Which clips each forward pass of each worker has, by the number of workers. Clip 3, alone in a last pass, is mute."""


def make_clip(seed: int) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(
        times=np.arange(2) / 8,
        seconds=0.25,
        frames=rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8),
        boxes=None,
        landmarks=None,
        track_id=0,
        wave=None if seed == 3 else (0.1 * rng.standard_normal(4000)).astype(np.float32),
    )


def wrap(module: nn.Module) -> nn.Module:
    """Data-parallel, with batch normalisation by its running statistics, which do not depend on the share."""
    module.eval()
    module.train = lambda mode=True: module  # type: ignore[method-assign]
    return DistributedDataParallel(module, find_unused_parameters=True)


def part_of(numbers: list[int]) -> tuple[Batch, Targets]:
    batch = to_batch([make_clip(number) for number in numbers], CONFIG)
    return batch, Targets(torch.tensor([number % 2 for number in numbers]))


def gradients(learner: Learner, clips: list[list[int]], size: int) -> dict[str, Tensor]:
    """Of one step with the parts of this worker."""
    learner.step([part_of(numbers) for numbers in clips], [len(numbers) * size / 4 for numbers in clips])
    return {name: one.grad.clone() for name, one in learner.model.named_parameters() if one.grad is not None}


def main(rank: int, size: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting-{size}", rank=rank, world_size=size)
    team, learner = Team(rank, size), Learner(CONFIG, torch.device("cpu"), wrap, (0.5, 1.5))
    mine = SHARES[size][rank]
    for epoch in (1, 2):  # the backbone is frozen in the first
        learner.begin_epoch(epoch)
        torch.save(gradients(learner, mine, size), folder / f"gradients-{epoch}-{size}-{rank}.pt")
    for buffer in learner.model.buffers():
        buffer.fill_(rank + 1)
    team.share_buffers(learner.model)
    told = {
        "gathered": team.gather([(rank, number) for numbers in mine for number in numbers]),
        "buffers": sorted({float(value) for buffer in learner.model.buffers() for value in buffer.flatten()}),
        "total": team.total(rank, 1),
    }
    (folder / f"told-{size}-{rank}.json").write_text(json.dumps(told))
    # Gloo's thread takes the GIL to let go of its last tensor; tearing the group down meanwhile waits for that thread
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
