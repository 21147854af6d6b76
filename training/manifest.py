"""Which videos there are: a folder or a manifest becomes a list of samples, checked before any work is done."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from aura_model.config import DatasetConfig
from aura_model.errors import AuraError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
LABELS = MappingProxyType({"real": 0, "fake": 1, "0": 0, "1": 1})
COLUMNS = ("video_id", "label", "split", "path")
MAX_MANIFEST_BYTES = 256 * 1024**2
MAX_META_BYTES = 1024**2

DATASET_ERRORS = MappingProxyType(
    {
        "dataset_missing": "The folder or the manifest is not there or cannot be read.",
        "manifest_invalid": "The manifest or a meta.json is not in the expected form.",
        "file_missing": "A file that the data set names is not there.",
        "label_unknown": "A label is neither real nor fake.",
        "split_unknown": "A split is none of train, val, test.",
        "video_duplicate": "Two samples have one video_id.",
        "split_empty": "A split that the run needs has no video.",
        "one_class": "All training videos have one label.",
    }
)
"""Every code a `DatasetError` may carry."""


class DatasetError(AuraError):
    """The data set cannot be used; `code` is a key of `DATASET_ERRORS`, `detail` names the file or the row."""


@dataclass(frozen=True)
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


def read_samples(config: DatasetConfig) -> list[Sample]:
    """The samples of `dataset.manifest` where it is set, else of the folder `dataset.data_root`.

    Raises:
        DatasetError: unreadable data, an unknown label or split, a missing file, a duplicate video_id.
    """
    samples = list(read_manifest(config.manifest) if config.manifest else read_folder(config.data_root))
    refuse_duplicates(samples)
    return samples


def read_folder(root: Path) -> Iterator[Sample]:
    """The samples of `root/{train,val,test}/VIDEO/{video.mp4,meta.json}`; the folder VIDEO names the video.

    `meta.json` holds `{"label": "real" | "fake" | 0 | 1}`; other keys are ignored.

    Raises:
        DatasetError: see `read_samples`.
    """
    if not root.is_dir():
        raise DatasetError("dataset_missing", f"{root} is not a folder; set dataset.data_root or dataset.manifest")
    for split in SPLITS:
        for folder in sorted(root.glob(f"{split}/*/")):
            if not folder.name.startswith("."):
                yield _folder_sample(folder, split)


def read_manifest(path: Path) -> Iterator[Sample]:
    """The samples of a CSV with the header `video_id,label,split,path`, or of a JSON list of such objects.

    A relative path starts beside the manifest. Other columns are ignored.

    Raises:
        DatasetError: see `read_samples`.
    """
    readers = {".csv": _csv_rows, ".json": _json_rows}
    if path.suffix.lower() not in readers:
        raise DatasetError("manifest_invalid", f"{path}: a manifest is a .csv or a .json file")
    for where, row in readers[path.suffix.lower()](path, _read_text(path, MAX_MANIFEST_BYTES)):
        yield _manifest_sample(where, row, path.parent)


def check_samples(samples: Sequence[Sample], splits: Iterable[Split] = ("train", "val")) -> None:
    """Refuse a data set on which a training run can only fail.

    Raises:
        DatasetError: split_empty, one_class.
    """
    counts = Counter(sample.split for sample in samples)
    for split in splits:
        if not counts[split]:
            found = ", ".join(f"{name} {counts[name]}" for name in SPLITS)
            raise DatasetError("split_empty", f"the split {split} has no video (found: {found})")
    labels = {sample.label for sample in samples if sample.split == "train"}
    if len(labels) == 1:
        only = "fake" if labels == {1} else "real"
        raise DatasetError("one_class", f"all {counts['train']} training videos are {only}; training needs both labels")


def refuse_duplicates(samples: Iterable[Sample]) -> None:
    """Raise `DatasetError` (video_duplicate) where two samples have one `video_id`; the text names both."""
    seen: dict[str, Sample] = {}
    for sample in samples:
        first = seen.setdefault(sample.video_id, sample)
        if first is not sample:
            both = " and ".join(f"{one.path} ({one.split})" for one in (first, sample))
            raise DatasetError("video_duplicate", f"the video_id {sample.video_id!r} names {both}")


def _folder_sample(folder: Path, split: Split) -> Sample:
    meta = folder / "meta.json"
    content = _parse_json(meta, _read_text(meta, MAX_META_BYTES, code="file_missing"))
    if not isinstance(content, dict) or "label" not in content:
        raise DatasetError("manifest_invalid", f'{meta} must hold an object with a "label"')
    label = _label(content["label"], str(meta))
    return Sample(folder.name, label, split, str(_existing(folder / "video.mp4", str(folder))))


def _manifest_sample(where: str, row: Mapping[str, Any], beside: Path) -> Sample:
    video_id, label, split, path = (_cell(row, column, where) for column in COLUMNS)
    if split not in SPLITS:
        raise DatasetError("split_unknown", f"{where}: split {split!r:.80} is none of {', '.join(SPLITS)}")
    return Sample(video_id, _label(label, where), split, str(_existing(beside / path, where)))


def _cell(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row.get(column)
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text:
        raise DatasetError("manifest_invalid", f"{where}: the column {column} is missing or empty")
    return text


def _label(value: object, where: str) -> int:
    label = LABELS.get(str(value).strip().lower())
    if label is None:
        raise DatasetError("label_unknown", f"{where}: label {value!r:.80} is none of real, fake, 0, 1")
    return label


def _existing(path: Path, where: str) -> Path:
    if not path.is_file():
        raise DatasetError("file_missing", f"{where}: {path} is not a file")
    return path.resolve()


def _read_text(path: Path, limit: int, code: str = "dataset_missing") -> str:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DatasetError(code, f"cannot read {path}: {error.strerror}") from None
    if len(content) > limit:
        raise DatasetError("manifest_invalid", f"{path} is larger than {limit} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError("manifest_invalid", f"{path} is not UTF-8 text") from None


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DatasetError("manifest_invalid", f"{path}: the header lacks {', '.join(missing)}")
        for row in reader:
            yield f"{path}, line {reader.line_num}", row
    except csv.Error as error:
        raise DatasetError("manifest_invalid", f"{path}, line {reader.line_num}: {error}") from None


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    content = _parse_json(path, text)
    if not isinstance(content, list):
        raise DatasetError("manifest_invalid", f"{path} must hold a list of objects")
    for number, row in enumerate(content, start=1):
        if not isinstance(row, dict):
            raise DatasetError("manifest_invalid", f"{path}, entry {number} is not an object")
        yield f"{path}, entry {number}", row


def _parse_json(path: Path, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError("manifest_invalid", f"{path} is not JSON: {error}") from None
