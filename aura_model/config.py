"""The configuration: one typed, frozen tree; `config.yaml` beside this file holds every default."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from aura_model.hosts import read_entry

PACKAGED_CHECKPOINT = Path(__file__).parent / "weights" / "default.pth"
"""The checkpoint that comes with the package."""

SAMPLE_RATE = 16000
"""Of all sound, Hz."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Detector = Literal["retinaface", "mtcnn", "center_crop"]
Temporal = Literal["avg_pool", "temporal_conv", "transformer"]
Fusion = Literal["concat", "attention", "cross_modal"]
Sampling = Literal["random", "uniform", "start_at"]
Device = Literal["auto", "cpu", "cuda"]
OperatingPointName = Literal["screening", "balanced", "strict"]
CheckpointChoice = Literal["default"] | Path | None
"""Which model answers: the one in the package, a file's, or for null an untrained one that is drawn from the seed."""
Family = Literal[
    "self_blend",
    "mouth_swap",
    "eyes_swap",
    "reenactment",
    "feature_drift",
    "frame_stumble",
    "generated_face",
    "generated_picture",
]
"""Pseudo-fakes of pictures that may be trained on, see `aura_model.augment.families`."""
GeneratedFamily = Literal["generated_person", "generated_swap"]
"""What is made of clips that were given as fakes, see `aura_model.augment.pairs`."""
Level = Literal["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"]


class Section(BaseModel):
    """A part of the tree: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class PreprocessingConfig(Section):
    """`dataset.preprocessing`: whether clips are decoded in each epoch, or once and stored."""

    mode: Literal["on_the_fly", "preextracted"]
    store: str
    train_clips: PositiveInt
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]
    videos_per_file: PositiveInt


class ClipsPerVideo(Section):
    """`dataset.video.clips_per_video`: clip starts drawn from one video."""

    train: PositiveInt
    eval: PositiveInt


class VideoConfig(Section):
    """`dataset.video`: which frames make a clip."""

    frame_rate: Annotated[float, Field(gt=0, le=120)]
    temporal_window: Annotated[int, Field(ge=1, le=64)]
    clip_sampling_strategy: Sampling
    start_at: NonNegative
    clips_per_video: ClipsPerVideo
    max_clips: Annotated[int, Field(ge=1, le=256)]

    @property
    def clip_seconds(self) -> float:
        """The time one clip spans, seconds."""
        return self.temporal_window / self.frame_rate

    @property
    def clip_samples(self) -> int:
        """The samples of sound in that time."""
        return round(self.clip_seconds * SAMPLE_RATE)


class FaceConfig(Section):
    """`dataset.face`: how faces are found, followed and cut out."""

    detect: bool
    detector: Detector
    threshold: Probability
    every: PositiveInt
    detection_side: Annotated[int, Field(ge=64, le=4096)]
    min_side: NonNegative
    max_faces: PositiveInt
    margin: Annotated[float, Field(ge=0, le=2)]
    size: Annotated[int, Field(ge=32, le=1024)]


class AudioConfig(Section):
    """`dataset.audio`: whether sound is used, and what counts as speech."""

    enabled: bool
    speech_threshold: Probability
    min_speech: Probability


class Change(Section):
    """One augmentation: how often, and between which strengths it is drawn."""

    probability: Probability
    range: tuple[Finite, Finite]

    @field_validator("range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("must be [low, high] with low <= high")
        return value


def _within(low: float, high: float) -> AfterValidator:
    """The bounds of a `Change`'s range."""

    def check(change: Change) -> Change:
        """Refuse a range that leaves the bounds."""
        if change.range[0] < low or change.range[1] > high:
            raise ValueError(f"range must lie within {low:g}..{high:g}")
        return change

    return AfterValidator(check)


class AugmentationConfig(Section):
    """`dataset.augmentation`: of training clips only."""

    enabled: bool
    horizontal_flip: Probability
    crop: Annotated[Change, _within(0.1, 1)]
    color_jitter: Annotated[Change, _within(0, 0.9)]
    blur: Annotated[Change, _within(0, 20)]
    noise: Annotated[Change, _within(0, 255)]
    jpeg: Annotated[Change, _within(1, 100)]
    h264: Annotated[Change, _within(0, 51)]
    audio_noise: Annotated[Change, _within(0, 1)]
    time_stretch: Annotated[Change, _within(0.5, 2)]
    pitch_shift: Annotated[Change, _within(-12, 12)]


class PairsConfig(Section):
    """`dataset.pseudo_fakes.pairs`: pairs of a genuine clip and its forgery made of one video or picture."""

    train: PositiveInt
    eval: PositiveInt


class PseudoFakesConfig(Section):
    """`dataset.pseudo_fakes`: training on genuine faces alone, each beside forgeries of itself."""

    enabled: bool
    families: Mapping[Family, NonNegative]
    generated: Mapping[GeneratedFamily, NonNegative]
    pairs: PairsConfig
    margin: Annotated[float, Field(ge=0, le=2)]
    size: Annotated[int, Field(ge=64, le=1024)]
    disturbed: Annotated[float, Field(ge=0, le=4)]

    @field_validator("families", "generated")
    @classmethod
    def _some(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        if not sum(value.values()):
            raise ValueError("at least one family must have a weight above 0")
        return value


class DatasetConfig(Section):
    """`dataset`: from files to clips."""

    data_root: Path
    manifest: Path | None
    auto_split: tuple[Probability, Probability, Probability] | None
    max_skipped: Probability
    preprocessing: PreprocessingConfig
    video: VideoConfig
    face: FaceConfig
    audio: AudioConfig
    augmentation: AugmentationConfig
    pseudo_fakes: PseudoFakesConfig

    @field_validator("auto_split")
    @classmethod
    def _whole(cls, value: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if value is not None and not math.isclose(sum(value), 1):
            raise ValueError("must be three shares [train, val, test] that sum to 1")
        return value


class SchedulerConfig(Section):
    """`training.scheduler`: how the learning rate goes, from epoch to epoch."""

    name: Literal["cosine_restarts", "plateau", "constant"]
    period: PositiveInt
    multiplier: PositiveInt
    floor: Probability
    factor: Annotated[float, Field(gt=0, lt=1)]
    patience: NonNegativeInt


class FreezeConfig(Section):
    """`training.freeze`: which weights of the frame backbone keep their start values, and for how long."""

    part: Literal["none", "stem", "backbone"]
    epochs: PositiveInt | None


class MonitorConfig(Section):
    """`training.monitor`: the figure that picks the best epoch, lowers a plateau's rate and ends a run early."""

    metric: str
    mode: Literal["max", "min"]
    min_delta: NonNegative
    patience: PositiveInt | None


class LowResolutionConfig(Section):
    """`training.low_resolution`: the first epochs on smaller pictures, which is cheaper."""

    epochs: NonNegativeInt
    size: Annotated[int, Field(ge=32, le=1024)]


class TrackingConfig(Section):
    """`training.tracking`: who else is told about a run."""

    tensorboard: bool
    mlflow: str | None


class TrainingConfig(Section):
    """`training`: the optimisation."""

    epochs: PositiveInt
    batch_size: PositiveInt
    accumulate: PositiveInt
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_steps: NonNegativeInt
    scheduler: SchedulerConfig
    gradient_clip: Positive
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_balance: bool
    modality_loss_weight: NonNegative
    place_loss_weight: NonNegative
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    start_from: Path | None
    freeze: FreezeConfig
    low_resolution: LowResolutionConfig
    monitor: MonitorConfig
    use_amp: bool
    channels_last: bool
    compile: bool
    device: Device
    threads: PositiveInt | None
    num_workers: PositiveInt
    prefetch: PositiveInt
    max_failures: NonNegativeInt
    output: Path
    storage: str | None
    keep_checkpoints: PositiveInt
    tracking: TrackingConfig


class VideoModelConfig(Section):
    """`model.video`: the frame backbone and the temporal encoder."""

    backbone: str
    pretrained: bool
    temporal: Temporal
    place_weight: NonNegative


class AudioModelConfig(Section):
    """`model.audio`: the log-mel front end."""

    sample_rate: Literal[16000]
    n_mels: Annotated[int, Field(ge=16, le=128)]


class TemporalConsistencyConfig(Section):
    """`model.fusion.temporal_consistency_loss`."""

    enabled: bool
    weight: NonNegative


class FusionConfig(Section):
    """`model.fusion`: how the two modalities are joined."""

    strategy: Fusion
    hidden_dim: Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    temporal_consistency_loss: TemporalConsistencyConfig


class ModelConfig(Section):
    """`model`: everything that a checkpoint needs to rebuild the network."""

    num_classes: Literal[2]
    video: VideoModelConfig
    audio: AudioModelConfig
    fusion: FusionConfig


class RestorationConfig(Section):
    """`inference.restoration`: which faces are brought closer to those of the training before they are scored.

    See `aura_model.restoration`; None leaves a step out.
    """

    bars_below: Positive | None
    least_light: Positive | None
    least_colour: Positive | None
    most_noise: Positive | None


class InferenceConfig(Section):
    """`inference`: which model answers, where, and when it abstains."""

    checkpoint: CheckpointChoice
    device: Device
    batch_clips: PositiveInt
    threads: PositiveInt | None
    operating_point: OperatingPointName
    uncertain_band: tuple[Probability, Probability] | None
    restoration: RestorationConfig

    @property
    def checkpoint_file(self) -> Path | None:
        """The file that `checkpoint` names; None: the model is untrained."""
        return PACKAGED_CHECKPOINT if self.checkpoint == "default" else self.checkpoint

    @model_validator(mode="after")
    def _ordered(self) -> "InferenceConfig":
        if self.uncertain_band and self.uncertain_band[0] > self.uncertain_band[1]:
            raise ValueError("uncertain_band must be [low, high] with low <= high")
        return self


class LimitsConfig(Section):
    """`limits`: bounds on one media file."""

    max_bytes: PositiveInt
    max_seconds: Positive
    max_pixels: PositiveInt
    min_side: PositiveInt
    max_frames: PositiveInt
    max_streams: PositiveInt
    decode_seconds: Positive
    child_memory_bytes: PositiveInt
    files_per_child: PositiveInt


AllowedHost = Annotated[str, AfterValidator(lambda text: str(read_entry(text)))]
"""An entry that names hosts, in one spelling."""


def _as_origin(text: str) -> str:
    """Refuse what no browser sends as its `Origin`."""
    if text != "*" and not re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?", text):
        raise ValueError("must be an origin as browsers write it, such as https://app.example.com, or *")
    return text


Origin = Annotated[str, AfterValidator(_as_origin)]
"""A web page's scheme, host and port: lower case, no path, not even a slash."""


def _as_list(value: object) -> object:
    """Several entries in one text, as the environment gives them: commas part them, no entry has any."""
    return [entry.strip() for entry in value.split(",")] if isinstance(value, str) else value


class ServingConfig(Section):
    """`serving`: the HTTP service."""

    max_in_flight: PositiveInt
    deadline_seconds: Positive
    upload_min_rate: NonNegativeInt
    decode_children: PositiveInt | None
    crash_memory_seconds: NonNegative
    allowed_hosts: Annotated[tuple[AllowedHost, ...], BeforeValidator(_as_list)]
    allow_http: bool
    allow_loopback: bool
    max_redirects: Annotated[int, Field(ge=0, le=5)]
    fetch_seconds: Positive
    fetch_min_rate: NonNegativeInt
    keys_file: Path | None
    require_key: bool | None
    requests_per_minute: PositiveInt | None
    cors_origins: Annotated[tuple[Origin, ...], BeforeValidator(_as_list)]
    docs: bool


class LoggingConfig(Section):
    """`logging`: where records go and how they look."""

    level: Level
    json_lines: bool = Field(alias="json")
    log_file: Path | None


class Config(Section):
    """The whole tree. Built by `load_config`; every key has its default in `config.yaml`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    dataset: DatasetConfig
    training: TrainingConfig
    model: ModelConfig
    inference: InferenceConfig
    limits: LimitsConfig
    serving: ServingConfig
    logging: LoggingConfig

    @model_validator(mode="after")
    def _whole_pairs(self) -> "Config":
        if self.dataset.pseudo_fakes.enabled and self.training.batch_size % 2:
            raise ValueError("training.batch_size must be even with dataset.pseudo_fakes: pairs stay together")
        return self

    def plain(self) -> dict[str, Any]:
        """The tree as plain JSON types, as a checkpoint stores it."""
        return self.model_dump(mode="json", by_alias=True)
