"""Is there speech? The silero-vad network on the CPU, without PyTorch."""

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aura_model.errors import ConfigError
from aura_model.onnx import cpu_session

FRAME = 512
"""Samples per decision: 32 ms at 16 kHz."""
_CONTEXT = 64
_BLOCK = 512
"""Frames per call of the network: 16 s, which bounds memory."""
_MODEL = "silero_vad_16k_sequence.onnx"


class SpeechGate:
    """Tells how much of a sound is speech."""

    def __init__(self, threshold: float, threads: int) -> None:
        """Load the network; a frame is speech where its probability is above `threshold`."""
        self._threshold = threshold
        self._session = cpu_session(_model_file(), threads)

    def probabilities(self, wave: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probability of speech in each 32 ms frame.

        Args:
            wave: [S] mono, 16 kHz, -1..1; what is not finite counts as silence.

        Returns:
            [ceil(S / 512)], in 0..1; the last frame is filled up with silence.
        """
        frames = _frames(wave)
        hidden = cell = np.zeros((1, 1, 128), dtype=np.float32)
        found = [np.zeros(0, dtype=np.float32)]
        for start in range(0, len(frames), _BLOCK):
            block = {"input": frames[start : start + _BLOCK], "h": hidden, "c": cell}
            speech, hidden, cell = self._session.run(["speech_probs", "hn", "cn"], block)
            found.append(speech)
        return np.concatenate(found)

    def share(self, wave: npt.NDArray[np.float32]) -> float:
        """Share of the 32 ms frames that are speech; 0 for silence and for no sound at all."""
        if not np.any(wave):
            return 0.0
        return float(np.mean(self.probabilities(wave) > self._threshold))


def _frames(wave: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[S] to [frames, 64 + 512]: each frame after the last samples of the one before it."""
    finite = np.nan_to_num(wave.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    filled = np.pad(finite, (_CONTEXT, -len(wave) % FRAME))
    if not len(wave):
        return np.zeros((0, _CONTEXT + FRAME), dtype=np.float32)
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(filled, _CONTEXT + FRAME)[::FRAME])


def _model_file() -> Path:
    """The network's file; `import silero_vad` would import PyTorch, which the decode child does without."""
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise ConfigError('speech needs the package silero-vad: pip install "silero-vad==6.2.3"')
    return Path(spec.origin).with_name("data") / _MODEL
