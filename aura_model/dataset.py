"""Videos as a map-style PyTorch data set, without Ray: for notebooks, small machines and comparisons."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from aura_model.audio import HOP
from aura_model.augment.clip import augment_clip
from aura_model.batch import to_batch
from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.errors import MediaError
from aura_model.restoration import seen
from aura_model.sandbox import Sandbox
from aura_model.seeds import derive_seed


@dataclass(frozen=True)
class Video:
    """One labelled file."""

    path: Path
    label: int
    """0 is real, 1 is fake."""
    video_id: str = ""
    """What randomness is derived from; the file's name where it is left empty."""

    def __post_init__(self) -> None:
        if not self.video_id:
            object.__setattr__(self, "video_id", self.path.name)


class Item(TypedDict):
    """One clip; `default_collate` stacks the tensors and lists the texts."""

    video: Tensor
    """uint8 [T, 3, H, W] RGB crops, zeros where there is no face."""
    audio: Tensor
    """float32 [n_mels, M] log-mel, zeros where there is no speech."""
    video_mask: Tensor
    """bool [], whether `video` counts."""
    audio_mask: Tensor
    """bool [], whether `audio` counts."""
    label: Tensor
    """int64 []"""
    video_id: str
    error: str
    """Why the video gave no clip: a code of `MediaError`, `unreadable_file` or `no_clips`; else empty."""


class MultimodalDataset(Dataset[Item]):
    """One clip of each video, decoded when it is asked for, by the same path as everywhere in Aura.

    In training an item is one of the clips that `load_clips` draws for (seed, epoch, video_id), all alike probable,
    augmented by (seed, epoch, video_id, clip): the same bytes whichever process asks, and the same as Ray's training
    pipeline makes of that clip. Clips that are not chosen are decoded in vain; with
    `dataset.video.clips_per_video.train: 1` there are none but those of other faces. In evaluation it is the middle
    one (the later of two) of the evaluation clips of the most prominent face, or of the sound where there is no face.

    A video that cannot be used stops nothing: both of its masks are False and `error` says why. The model refuses a
    sample with neither modality, so leave such rows out of a batch.

    Files are opened in a decode child (`aura_model.sandbox`), one for each process that asks for items: it starts with
    the first item, is not pickled, and ends with the process or on `close`.

    >>> import torch
    >>> from pathlib import Path
    >>> from torch.utils.data import DataLoader
    >>> from aura_model.settings import load_config
    >>> from aura_model.dataset import MultimodalDataset, Video
    >>> from aura_model.model import MultimodalModel
    >>> config = load_config()
    >>> model = MultimodalModel(config.model)
    >>> videos = [Video(Path("real.mp4"), label=0), Video(Path("fake.mp4"), label=1)]
    >>> with MultimodalDataset(videos, config, train=True) as data:
    ...     loader = DataLoader(data, batch_size=2, shuffle=True)
    ...     for epoch in range(1, 3):
    ...         data.set_epoch(epoch)
    ...         for batch in loader:
    ...             rows = batch["video_mask"] | batch["audio_mask"]
    ...             part = {name: batch[name][rows] for name in ("video", "audio", "video_mask", "audio_mask")}
    ...             loss = torch.nn.functional.cross_entropy(model(**part), batch["label"][rows])
    """

    def __init__(self, videos: Sequence[Video], config: Config, *, train: bool = False) -> None:
        """Open nothing yet; `train` chooses random, augmented clips."""
        self._videos = tuple(videos)
        self._config = config
        self._train = train
        self._epoch = 1
        self._sandboxes: dict[int, Sandbox] = {}

    def set_epoch(self, epoch: int) -> None:
        """Draw other training clips from now on; the first epoch is 1.

        The workers of a `DataLoader` hold copies of the data set, made when an iteration starts: set the epoch before
        it, and leave `persistent_workers` off, for those keep their first copy and would repeat its epoch.
        """
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, index: int) -> Item:
        """The item of the video at `index`; a bad file is an item with `error` set, see above.

        Raises:
            IndexError: there is no such video.
            ConfigError: a network that the configuration asks for is not installed.
        """
        video = self._videos[index]
        try:
            clips = self._load(video)
        except MediaError as error:
            return self._item(video, None, error.code)
        except OSError:
            return self._item(video, None, "unreadable_file")
        if not clips.clips:
            return self._item(video, None, "no_clips")
        return self._item(video, self._training_clip(video, clips) if self._train else self._scored_clip(clips), "")

    def close(self) -> None:
        """End this process's decode child; the next item would start another."""
        if sandbox := self._sandboxes.pop(os.getpid(), None):
            sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_sandboxes": {}}

    def _load(self, video: Video) -> Clips:
        # A forked process keeps its parent's sandbox in the dictionary: to drop it would end the parent's child.
        process = os.getpid()
        if process not in self._sandboxes:
            self._sandboxes[process] = Sandbox(self._config)
        seed = self._seed(video) if self._train else None
        return self._sandboxes[process].load_clips(video.path, seed=seed)

    def _training_clip(self, video: Video, clips: Clips) -> Clip:
        index = int(np.random.default_rng(self._seed(video, "clip")).integers(len(clips.clips)))
        rng = np.random.default_rng(self._seed(video, index))
        return augment_clip(clips.clips[index], self._config.dataset.augmentation, rng)

    def _scored_clip(self, clips: Clips) -> Clip:
        return seen(middle_clip(clips), self._config.inference.restoration)

    def _seed(self, video: Video, *parts: int | str) -> int:
        return derive_seed(self._config.seed, self._epoch, video.video_id, *parts)

    def _item(self, video: Video, clip: Clip | None, error: str) -> Item:
        batch = to_batch([clip], self._config) if clip else None
        pictures, sound = (batch.video, batch.audio) if batch else (None, None)
        return Item(
            video=self._no_video() if pictures is None else pictures[0],
            audio=self._no_audio() if sound is None else sound[0],
            video_mask=torch.tensor(pictures is not None),
            audio_mask=torch.tensor(sound is not None),
            label=torch.tensor(video.label, dtype=torch.int64),
            video_id=video.video_id,
            error=error,
        )

    def _no_video(self) -> Tensor:
        side = self._config.dataset.face.size
        return torch.zeros((self._config.dataset.video.temporal_window, 3, side, side), dtype=torch.uint8)

    def _no_audio(self) -> Tensor:
        settings = self._config.model.audio
        return torch.zeros((settings.n_mels, self._config.dataset.video.clip_samples // HOP + 1))


def middle_clip(clips: Clips) -> Clip:
    """The middle clip (the later of two) of the most prominent face; of the sound where there is no face."""
    first = [clip for clip in clips.clips if clip.track_id == clips.clips[0].track_id]
    return first[len(first) // 2]
