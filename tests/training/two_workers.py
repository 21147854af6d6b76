"""One of two data-parallel workers without Ray: `python two_workers.py RANK SIZE FOLDER`. Used by `test_team.py`."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from aura_model.clips import Clip
from aura_model.config import load_config
from training.learner import Learner
from training.team import Team

OVERRIDES = (
    "model.video.backbone=test_efficientnet",
    "model.video.pretrained=false",
    "model.fusion.hidden_dim=16",
    "model.fusion.dropout=0",
    "dataset.face.size=32",
    "dataset.video.temporal_window=2",
    "training.gradient_clip=1e9",
    "training.modality_loss_weight=0",
)
SHARES = {1: [[0, 1, 2, 3]], 2: [[0, 1, 2], [3]]}
"""Which clips each worker has, by the number of workers: unequal shares, and one without sound."""


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


def main(rank: int, size: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting-{size}", rank=rank, world_size=size)
    team, learner = Team(rank, size), Learner(load_config(env={}, overrides=OVERRIDES), torch.device("cpu"), wrap)
    mine = SHARES[size][rank]
    weight = team.weight(len(mine))
    assert weight is not None
    learner.step([make_clip(number) for number in mine], [number % 2 for number in mine], weight)
    for buffer in learner.model.buffers():
        buffer.fill_(rank + 1)
    team.share_buffers(learner.model)
    told = {
        "gathered": team.gather([(rank, number) for number in mine]),
        "buffers": sorted({float(value) for buffer in learner.model.buffers() for value in buffer.flatten()}),
        "over": team.weight(0) is None,
    }
    gradients = {name: one.grad for name, one in learner.model.named_parameters() if one.grad is not None}
    torch.save(gradients, folder / f"gradients-{size}-{rank}.pt")
    (folder / f"told-{size}-{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
