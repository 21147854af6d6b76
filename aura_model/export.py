"""The form of a checkpoint that travels in the package: weights and what goes with them, small, without paths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aura_model.checkpoint import read_checkpoint, served_content, write_content
from aura_model.errors import CheckpointError
from aura_model.settings import parse_config

MOST_BYTES = 20_000_000
"""Of an exported file: each version of it stays in the history of the repository for good."""


@dataclass(frozen=True)
class ExportReport:
    """What became of an export."""

    bytes: int
    sha256: str
    rounded: float
    """The largest change of a weight, as a share of the largest weight of its tensor; 0 where all are kept."""


@dataclass(frozen=True)
class ServedChanges:
    """What is served differently from what was trained. With any of these a model needs another calibration."""

    frames: int | None = None
    """In each clip; None: as many as in training. Another number needs `avg_pool`, which takes the mean over any."""
    place_weight: float | None = None
    """What the most suspicious place of a clip counts; None: as much as in training."""
    average: tuple[Path, ...] = ()
    """Checkpoints of the same network with whose weights those of the run are averaged: what a model learnt before a
    run and in it are found together in the middle (Wortsman et al., 2022)."""


AS_TRAINED = ServedChanges()


def export_checkpoint(
    source: Path, target: Path, *, half: bool = False, changes: ServedChanges = AS_TRAINED
) -> ExportReport:
    """Write the checkpoint `source` to `target` as it goes into the package.

    It has no training state, and of its configuration no paths (absolute ones and URIs), which get their defaults.

    Args:
        source: a checkpoint of a run.
        target: the file to write; whole or not at all.
        half: store kernels and matrices as float16. Vectors stay as they are: biases and the figures of batch
            normalisations are few, and running variances go beyond float16. So does a tensor that does not fit.
        changes: with any of them the calibration is left out.

    Raises:
        CheckpointError: see `read_checkpoint`; checkpoint_too_large: more than `MOST_BYTES` would be written;
            checkpoint_foreign: `frames` of a model that looks at the order of its frames, or the average with a
            checkpoint of another network.
        ConfigError: no clip may have so many `frames`.
    """
    checkpoint = read_checkpoint(source)
    config = without_paths(checkpoint.config, parse_config().plain())
    if changes.frames is not None:
        config = _with_frames(config, changes.frames, source)
    if changes.place_weight is not None:
        config["model"]["video"]["place_weight"] = changes.place_weight
    weights = _averaged(checkpoint.model_state_dict, changes.average)
    stored = {name: _halved(value) if half else value for name, value in weights.items()}
    content = served_content(checkpoint)
    content |= {"model_state_dict": stored, "config": config}
    if changes != AS_TRAINED:
        content |= {"calibration": None, "operating_points": None}
    write_content(target, content, MOST_BYTES)
    rounded = max((_change(weights[name], value) for name, value in stored.items()), default=0.0)
    return ExportReport(target.stat().st_size, read_checkpoint(target).sha256, rounded)


def _averaged(weights: Mapping[str, Tensor], others: Sequence[Path]) -> Mapping[str, Tensor]:
    """The mean of all; whole numbers, such as counts of batches, are those of the first."""
    states = [weights]
    for path in others:
        state = read_checkpoint(path).model_state_dict
        if {name: value.shape for name, value in state.items()} != {name: one.shape for name, one in weights.items()}:
            raise CheckpointError("checkpoint_foreign", f"{path} holds another network: its weights have no average")
        states.append(state)
    return {name: _mean([state[name] for state in states]) for name in weights}


def _mean(values: Sequence[Tensor]) -> Tensor:
    first = values[0]
    if len(values) == 1 or not first.is_floating_point():
        return first
    return torch.stack([value.double() for value in values]).mean(0).to(first.dtype)


def _with_frames(config: dict[str, Any], frames: int, source: Path) -> dict[str, Any]:
    temporal = config["model"]["video"]["temporal"]
    if temporal != "avg_pool":
        detail = f"{source}: its temporal encoder, {temporal}, was trained on clips of its own length: leave that"
        raise CheckpointError("checkpoint_foreign", detail)
    config["dataset"]["video"]["temporal_window"] = frames
    parse_config({"dataset": {"video": {"temporal_window": frames}}})
    return config


def without_paths(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A plain configuration with the default of each setting that holds a path of its machine, or a URI."""
    return {key: _without_path(value, defaults.get(key)) for key, value in tree.items()}


def _without_path(value: Any, default: Any) -> Any:
    if isinstance(value, Mapping):
        return without_paths(value, default if isinstance(default, Mapping) else {})
    texts = value if isinstance(value, list) else [value]
    return default if any(isinstance(text, str) and _is_path(text) for text in texts) else value


def _is_path(text: str) -> bool:
    return text.startswith(("/", "~")) or ".." in Path(text).parts or "://" in text


def _halved(value: Tensor) -> Tensor:
    if value.ndim < 2 or not value.is_floating_point():
        return value
    half = value.half()
    return half if bool(torch.isfinite(half).all()) else value


def _change(value: Tensor, stored: Tensor) -> float:
    if value.dtype == stored.dtype or not value.numel():
        return 0.0
    largest = value.abs().max().clamp_min(torch.finfo(value.dtype).tiny)
    return float((stored.to(value.dtype) - value).abs().max() / largest)
