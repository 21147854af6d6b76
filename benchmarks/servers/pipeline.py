"""The same `load_clips` and the same model for every server that Aura is compared with."""

import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from aura_model.analysis import analyse
from aura_model.clips import ClipLoader, Clips
from aura_model.predictor import load_scorer
from aura_model.sandbox import Sandbox
from aura_model.settings import load_config

CORES = len(os.sched_getaffinity(0))


class Pipeline:
    """Bytes in, the service's own answer out; safe to call from several threads."""

    def __init__(self, decoders: int, threads: int, *, in_children: bool = False) -> None:
        """Load the networks.

        Args:
            decoders: how many files are decoded at once.
            threads: threads of the model.
            in_children: decode in child processes, as the service does, rather than in this one.
        """
        torch.set_num_threads(threads)
        self._scorer = load_scorer(load_config(env={}, settings={"inference": {"device": "cpu"}}))
        self._config = self._scorer.loaded.config
        self._sandbox = Sandbox(self._config, children=decoders) if in_children else None
        self._loaders: queue.SimpleQueue[ClipLoader] = queue.SimpleQueue()
        for _ in range(0 if in_children else decoders):
            self._loaders.put(ClipLoader(self._config))
        self._one_at_a_time = threading.Lock()

    def predict(self, content: bytes) -> dict[str, Any]:
        """Decode, score and judge one file."""
        clips = self._decode(content)
        with self._one_at_a_time:
            scores = self._scorer.score(clips.clips)
        return analyse(clips, scores, self._scorer.loaded.info, self._config, {}).model_dump(mode="json")

    def _decode(self, content: bytes) -> Clips:
        if self._sandbox:
            return self._sandbox.load_clips(content)
        with self._loader() as loader:
            return loader.load(content, None)

    @contextmanager
    def _loader(self) -> Iterator[ClipLoader]:
        loader = self._loaders.get()
        try:
            yield loader
        finally:
            self._loaders.put(loader)
