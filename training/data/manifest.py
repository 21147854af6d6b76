"""Which videos there are: a folder or a manifest becomes a list of samples, checked before any work is done."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import MappingProxyType

from aura_model.config import DatasetConfig
from aura_model.redaction import redact_text
from training.data.errors import DatasetError
from training.data.splits import SPLITS, Shares, Split, split_by_hash
from training.data.tables import cell_of, csv_rows, json_rows, parse_json, read_text, text_of

LABELS = MappingProxyType({"real": 0, "fake": 1, "0": 0, "1": 1, "0.0": 0, "1.0": 1})  # pandas writes the latter two
COLUMNS = ("video_id", "label", "split", "path")
MEANT = frozenset({"identity", "pair"})
"""Further columns that mean something here."""
META, PREPROCESSED, FRAMES = "meta.json", "preprocessed", "preprocessed/frames"
MEDIA_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".ts", ".mpg", ".mpeg", ".flv", ".3gp"}
    | {".jpg", ".jpeg", ".png", ".webp", ".wav", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".flac"}
)
"""Of the one file `video.*` in a video's folder."""
MAX_META_BYTES = 1024**2

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled media file."""

    video_id: str
    label: int
    """0 = real, 1 = fake."""
    split: Split
    path: str
    """Of a video, a still or a folder of frames: absolute, or a URI such as `s3://bucket/video.mp4`."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """What else the data set says of it, as text: the manifest's other columns, without the empty ones."""

    @property
    def identity(self) -> str | None:
        """The person or the source video behind it, where the data set says so."""
        return self.columns.get("identity")

    def __str__(self) -> str:
        """Path and split, without what is secret in a URI."""
        return f"{redact_text(self.path)} ({self.split})"


def is_uri(path: str) -> bool:
    """Whether this is `scheme://…` and no local path."""
    return _URI.match(path) is not None


def read_samples(config: DatasetConfig) -> list[Sample]:
    """The samples of `dataset.manifest` where it is set, else of the folder `dataset.data_root`.

    With `dataset.auto_split` each sample's split follows from its identity, or from its video_id where it has none;
    what the data set says of splits is ignored.

    Raises:
        DatasetError: unreadable data, an unknown label or split, a missing file, a duplicate video_id.
    """
    shares = config.auto_split
    read = read_manifest(config.manifest, shares) if config.manifest else read_folder(config.data_root, shares)
    samples = list(read)
    refuse_duplicates(samples)
    return samples


def read_folder(root: Path, shares: Shares | None = None) -> Iterator[Sample]:
    """The samples of `root/{train,val,test}/VIDEO/{video.mp4,meta.json}`; the folder VIDEO names the video.

    In place of `video.mp4` there may be any one media file `video.*`, or frames in `preprocessed/frames/`, which are
    preferred where both are there. `meta.json` holds `{"label": "real" | "fake" | 0 | 1}`; its other texts and numbers
    become columns. With `shares` VIDEO may also lie in `root` itself.

    Raises:
        DatasetError: see `read_samples`.
    """
    if not root.is_dir():
        raise DatasetError("dataset_missing", f"{root} is not a folder; set dataset.data_root or dataset.manifest")
    for folder in _video_folders(root.absolute(), flat=shares is not None):
        yield _folder_sample(folder, shares)


def read_manifest(path: Path, shares: Shares | None = None) -> Iterator[Sample]:
    """The samples of a CSV with the header `video_id,label,split,path`, or of a JSON list of such objects.

    A relative path starts beside the manifest. Further columns become `Sample.columns`. With `shares` the column split
    may be left out.

    Raises:
        DatasetError: see `read_samples`.
    """
    readers = {".csv": csv_rows, ".json": json_rows}
    if path.suffix.lower() not in readers:
        raise DatasetError("manifest_invalid", f"{path}: a manifest is a .csv or a .json file")
    required = [column for column in COLUMNS if column != "split" or shares is None]
    beside = path.absolute().parent
    for where, row in readers[path.suffix.lower()](path, required):
        cells = {column: cell_of(row, column, where) for column in required}
        place = _existing(beside, cells["path"], where)
        others = {name: text_of(value, name, where) for name, value in row.items() if name and name not in COLUMNS}
        yield _sample(where, cells, place, others, shares)


def samples_of(samples: Sequence[Sample], split: str) -> list[Sample]:
    """The samples of a split.

    Raises:
        DatasetError: split_empty: there is none.
    """
    chosen = [sample for sample in samples if sample.split == split]
    if not chosen:
        counts = Counter(sample.split for sample in samples)
        found = ", ".join(f"{name} {counts[name]}" for name in SPLITS)
        raise DatasetError("split_empty", f"the split {split} has no video (found: {found})")
    return chosen


def check_samples(samples: Sequence[Sample], *, pseudo_fakes: bool = False) -> None:
    """Refuse a data set on which a training run can only fail.

    Args:
        samples: all of them.
        pseudo_fakes: fakes are made of the real ones; any others must name a partner, see `partners_of`.

    Raises:
        DatasetError: split_empty, one_class, partner_unknown.
    """
    train = samples_of(samples, "train")
    samples_of(samples, "val")  # refuses an empty one
    if pseudo_fakes:
        partners_of(samples)
    only = _only_label(samples, "train")
    if only and not pseudo_fakes:
        raise DatasetError("one_class", f"all {len(train)} training videos are {only}; training needs both labels")


def partners_of(samples: Sequence[Sample]) -> dict[str, Sample]:
    """The genuine partner of each fake by the fake's video_id: its column `pair` names the partner's video_id.

    Raises:
        DatasetError: partner_unknown: there is no such genuine sample in the fake's split.
    """
    genuine = {(sample.video_id, sample.split): sample for sample in samples if not sample.label}
    partners: dict[str, Sample] = {}
    for fake in (sample for sample in samples if sample.label):
        partner = genuine.get((fake.columns.get("pair", ""), fake.split))
        if partner is None:
            detail = f"{fake} is fake: its column pair must name the genuine video of its split that resembles it most"
            raise DatasetError("partner_unknown", f"{detail}; or leave it out, fakes are made of the genuine ones")
        partners[fake.video_id] = partner
    return partners


def warnings(samples: Sequence[Sample]) -> list[str]:
    """Sentences on what makes a run's figures worth less, although it can be run."""
    only = _only_label(samples, "val")
    if only is None:
        return []
    return [
        f"all validation videos are {only}: there will be no validation AUC, and so nothing that chooses a "
        "checkpoint; training.monitor.metric=val.brier with training.monitor.mode=min would"
    ]


def refuse_duplicates(samples: Iterable[Sample]) -> None:
    """Raise `DatasetError` (video_duplicate) where two samples have one `video_id`; the text names both."""
    seen: dict[str, Sample] = {}
    for sample in samples:
        first = seen.setdefault(sample.video_id, sample)
        if first is not sample:
            raise DatasetError("video_duplicate", f"the video_id {sample.video_id!r} names {first} and {sample}")


def _only_label(samples: Iterable[Sample], split: Split) -> str | None:
    """The name of the one label that a split has; None where it has both, or no video."""
    labels = {sample.label for sample in samples if sample.split == split}
    return ("real", "fake")[labels.pop()] if len(labels) == 1 else None


def _video_folders(root: Path, *, flat: bool) -> Iterator[Path]:
    """Each VIDEO of `root/SPLIT/VIDEO`, and of `root/VIDEO` where that is allowed."""
    folders = _subfolders(root)
    splits = [root / split for split in SPLITS if root / split in folders and not (root / split / META).is_file()]
    if not flat and not splits:
        raise DatasetError(
            "dataset_missing",
            f"{root} holds none of the folders {', '.join(SPLITS)}; without them set auto_split, "
            "and name single pictures in a manifest",
        )
    for split in splits:
        yield from _subfolders(split)
    if flat:
        yield from (folder for folder in folders if folder not in splits)


def _subfolders(folder: Path) -> list[Path]:
    return [one for one in sorted(folder.glob("*/")) if not one.name.startswith(".")]


def _folder_sample(folder: Path, shares: Shares | None) -> Sample:
    meta = folder / META
    content = parse_json(meta, read_text(meta, MAX_META_BYTES, code="file_missing"))
    if not isinstance(content, dict) or "label" not in content:
        raise DatasetError("manifest_invalid", f'{meta} must hold an object with a "label"')
    cells = {"video_id": folder.name, "label": str(content["label"]), "split": folder.parent.name}
    scalars = {name: value for name, value in content.items() if not isinstance(value, list | dict)}
    others = {name: text_of(value, name, str(meta)) for name, value in scalars.items() if name and name not in COLUMNS}
    return _sample(str(meta), cells, str(_media_of(folder)), others, shares)


def _media_of(folder: Path) -> Path:
    """The one media file of VIDEO, or VIDEO itself where frames are to be read."""
    if (folder / FRAMES).is_dir():
        return folder
    videos = [one for one in sorted(folder.glob("video.*")) if one.suffix.lower() in MEDIA_SUFFIXES and one.is_file()]
    if len(videos) > 1:
        raise DatasetError("manifest_invalid", f"{folder} holds both {videos[0].name} and {videos[1].name}")
    if not videos and not (folder / PREPROCESSED).is_dir():
        raise DatasetError("file_missing", f"there is no {folder / 'video.mp4'}, and no {FRAMES}/ in its place")
    return videos[0] if videos else folder


def _sample(
    where: str, cells: Mapping[str, str], path: str, others: Mapping[str, str], shares: Shares | None
) -> Sample:
    columns = {name: text for name, text in others.items() if text}
    for name in columns:
        if name not in MEANT and (meant := name.strip().lower()) in MEANT:
            raise DatasetError("manifest_invalid", f"{where}: {name!r} is another column than {meant!r}: rename it")
    video_id = cells["video_id"]
    try:
        "".join((video_id, path, *columns, *columns.values())).encode()
    except UnicodeEncodeError:
        raise DatasetError("manifest_invalid", f"{where}: a text or a name is not UTF-8") from None
    split = split_by_hash(columns.get("identity", video_id), shares) if shares else _split(cells["split"], where)
    return Sample(video_id, _label(cells["label"], where), split, path, columns)


def _split(text: str, where: str) -> Split:
    for split in SPLITS:
        if split == text:
            return split
    raise DatasetError("split_unknown", f"{where}: split {text!r:.80} is none of {', '.join(SPLITS)}")


def _label(text: str, where: str) -> int:
    label = LABELS.get(text.strip().lower())
    if label is None:
        raise DatasetError("label_unknown", f"{where}: label {text!r:.80} is none of real, fake, 0, 1")
    return label


def _existing(beside: Path, path: str, where: str) -> str:
    """The absolute path of a file or a folder that is there; a URI as it is."""
    if is_uri(path):
        return path
    place = beside / path
    try:
        mode = place.stat().st_mode
    except (OSError, ValueError):  # ValueError: a path with a null character
        mode = 0
    if not (S_ISREG(mode) or S_ISDIR(mode)):
        raise DatasetError("file_missing", f"{where}: {place} is neither a file nor a folder")
    return str(place)
