"""A store gives back what was written, draws windows by the seed, and refuses what is not its own."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.errors import AuraError, ConfigError
from training.data.errors import DatasetError
from training.data.manifest import Sample
from training.rows import ClipShape, Row, error_row, rows_of
from training.store.clip_store import ClipStore
from training.store.files import STORE_ERRORS, StoreError, StoreFiles
from training.store.index import INDEX_KEY
from training.store.settings import store_settings
from training.store.writer import file_name, write_videos

WINDOWS = 5
Write = Callable[..., str]


def path_row(video_id: str, epoch: int = -1) -> Row:
    return {"video_id": video_id, "path": f"/{video_id}.mp4", "label": 1, "split": "train", "epoch": epoch, "slot": 3}


def sample(video_id: str, **fields: Any) -> Sample:
    return replace(Sample(video_id, 1, "train", f"/{video_id}.mp4", {"identity": f"who {video_id}"}), **fields)


@pytest.fixture
def rows(
    config: Config, make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]
) -> Callable[[Sample], list[Row]]:
    """Two faces in each of five windows, by face and then by time; a video named broken has none."""

    def build(one: Sample) -> list[Row]:
        source = path_row(one.video_id) | {"path": one.path, "label": one.label, "split": one.split}
        if one.video_id.startswith("broken"):
            return [error_row("corrupt_video", "no frame can be decoded", source, ClipShape.of(config))]
        clips = [make_clip(seed=start, track_id=face) for face in (0, 1) for start in range(WINDOWS)]
        return rows_of(make_clips(*clips), source, ClipShape.of(config))

    return build


@pytest.fixture(params=["folder", "uri"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "folder" else f"fsspec+memory://{uuid4().hex}/store"


@pytest.fixture
def write(config: Config, rows: Callable[[Sample], list[Row]]) -> Write:
    def run(location: str, *samples: Sample, using: Config = config) -> str:
        """Write one file of the store; returns its name."""
        list(write_videos(StoreFiles(location), using, samples, map(rows, samples)))
        return file_name(samples, store_settings(using))

    return run


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def content(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return [(row["clip"], row["track_id"], float(row["times"][0]), row["frames"].tobytes()) for row in rows]


def test_videos_come_back_with_all_their_clips(location: str, write: Write, config: Config) -> None:
    write(location, sample("b"), sample("a"))
    write(location, sample("c", split="val", label=0, columns={}))
    store = ClipStore(location, config)
    assert store.samples() == [sample("a"), sample("b"), sample("c", split="val", label=0, columns={})]
    found = store.rows(path_row("b"))
    assert [(row["clip"], row["track_id"], row["times"][0]) for row in found] == [
        (face * WINDOWS + start, face, start) for face in (0, 1) for start in range(WINDOWS)
    ]
    assert {(row["video_id"], row["epoch"], row["slot"]) for row in found} == {("b", -1, 3)}


def test_order_does_not_depend_on_the_files(tmp_path: Path, write: Write, config: Config) -> None:
    ids = [f"{number:02}" for number in range(6)]
    write(str(tmp_path / "one"), *map(sample, ids))
    for start in (3, 0):
        write(str(tmp_path / "two"), *map(sample, ids[start : start + 3]))
    one, two = (ClipStore(str(tmp_path / name), config) for name in ("one", "two"))
    assert one.samples() == two.samples()
    for video_id in ids:
        assert content(one.rows(path_row(video_id))) == content(two.rows(path_row(video_id)))


def test_a_store_travels_to_a_worker(folder: str, write: Write, config: Config) -> None:
    write(folder, sample("a"))
    store = ClipStore(folder, config)
    there: ClipStore = pickle.loads(pickle.dumps(store))
    assert content(there.rows(path_row("a"))) == content(store.rows(path_row("a")))


def drawn(store: ClipStore, video_id: str, epoch: int) -> list[float]:
    return sorted({float(row["times"][0]) for row in store.rows(path_row(video_id, epoch))})


def test_training_draws_windows_with_all_their_faces(folder: str, write: Write, config: Config) -> None:
    write(folder, sample("a"))
    store = ClipStore(folder, config)
    everything = content(store.rows(path_row("a")))
    for epoch in range(8):
        found = store.rows(path_row("a", epoch))
        starts = {float(row["times"][0]) for row in found}
        assert len(starts) == config.dataset.video.clips_per_video.train == 2
        assert content(found) == [row for row in everything if row[2] in starts]
        assert {row["epoch"] for row in found} == {epoch}


def test_draws_follow_the_seed_alone(folder: str, write: Write, make_config: Callable[..., Config]) -> None:
    ids = [f"{number:02}" for number in range(6)]
    write(folder, *map(sample, ids))
    one, again, other = (ClipStore(folder, make_config(f"seed={seed}")) for seed in (1, 1, 2))
    asked = [(video_id, epoch) for epoch in range(4) for video_id in ids]
    first = {key: drawn(one, *key) for key in asked}
    assert first == {key: drawn(again, *key) for key in reversed(asked)}
    assert first != {key: drawn(other, *key) for key in asked}
    assert len({tuple(first["00", epoch]) for epoch in range(4)}) > 1
    assert len({tuple(first[video_id, 0]) for video_id in ids}) > 1
    assert {start for starts in first.values() for start in starts} == set(range(WINDOWS))


@pytest.mark.parametrize(("settings", "windows", "clips"), [(9, 5, 10), (5, 5, 10), (1, 1, 2)])
def test_as_many_windows_as_asked_for_or_all(
    folder: str, write: Write, make_config: Callable[..., Config], settings: int, windows: int, clips: int
) -> None:
    write(folder, sample("a"))
    store = ClipStore(folder, make_config(f"dataset.video.clips_per_video.train={settings}"))
    assert len(drawn(store, "a", 1)) == windows
    assert len(store.rows(path_row("a", 1))) == clips


def test_the_bound_on_clips_of_a_video_holds_in_training(
    folder: str, write: Write, make_config: Callable[..., Config]
) -> None:
    write(folder, sample("a"))
    found = ClipStore(folder, make_config("dataset.video.max_clips=3")).rows(path_row("a", 1))
    assert [row["track_id"] for row in found] == [0, 0, 1]


@pytest.mark.parametrize("epoch", [-1, 0, 5])
def test_an_unusable_video_gives_its_error(folder: str, write: Write, config: Config, epoch: int) -> None:
    write(folder, sample("broken"), sample("a"))
    [row] = ClipStore(folder, config).rows(path_row("broken", epoch))
    assert (row["error"], row["detail"], row["clip"]) == ("corrupt_video", "no frame can be decoded", -1)
    assert (row["epoch"], row["slot"]) == (epoch, 3)


def refusal(location: str, config: Config) -> AuraError:
    with pytest.raises(AuraError) as caught:
        ClipStore(location, config)
    return caught.value


def test_an_unknown_video_is_an_error_of_the_data_set(folder: str, write: Write, config: Config) -> None:
    write(folder, sample("a"))
    with pytest.raises(DatasetError, match="'b'") as caught:
        ClipStore(folder, config).rows(path_row("b"))
    assert caught.value.code == "video_unknown"


def test_a_missing_store_is_refused(location: str, config: Config) -> None:
    error = refusal(location, config)
    assert (error.code, error.code in STORE_ERRORS) == ("store_missing", True)
    assert "preextract.py" in error.detail


def test_an_empty_store_is_refused(tmp_path: Path, config: Config) -> None:
    (tmp_path / ".unfinished-1.parquet").write_bytes(b"half")
    assert refusal(str(tmp_path), config).code == "store_missing"


@pytest.mark.parametrize("uri", ["nonsense://x/y", "s3//x", "fsspec+nonsense://x"])
def test_a_place_that_cannot_be_opened_is_refused(uri: str, config: Config) -> None:
    assert refusal(uri, config).code in {"store_unreachable", "store_missing"}


def test_a_video_in_two_files_is_refused(folder: str, write: Write, config: Config) -> None:
    write(folder, sample("a"), sample("b"))
    write(folder, sample("b"), sample("c"))
    error = refusal(folder, config)
    assert error.code == "store_mixed"
    assert "'b'" in error.detail


@pytest.mark.parametrize(
    "setting",
    [
        "dataset.face.size=32",
        "dataset.face.margin=0.3",
        "dataset.face.detector=mtcnn",
        "dataset.audio.min_speech=0.4",
        "dataset.audio.enabled=false",
        "dataset.video.frame_rate=4.0",
        "dataset.video.temporal_window=4",
    ],
)
def test_other_clip_settings_are_refused_by_name(
    folder: str, write: Write, make_config: Callable[..., Config], setting: str
) -> None:
    write(folder, sample("a"), using=make_config())
    error = refusal(folder, make_config(setting))
    assert isinstance(error, ConfigError)
    assert setting.split("=", maxsplit=1)[0] in error.detail
    assert folder in error.detail


def test_other_settings_do_not_matter_to_a_reader(
    folder: str, write: Write, make_config: Callable[..., Config]
) -> None:
    write(folder, sample("a"))
    others = ("seed=9", "dataset.video.max_clips=2", "dataset.preprocessing.jpeg_quality=10", "training.epochs=3")
    assert len(ClipStore(folder, make_config(*others)).rows(path_row("a"))) == 2 * WINDOWS


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def without_index(data: bytes) -> bytes:
    """A Parquet file of the same columns that says nothing of a store."""
    sink = pa.BufferOutputStream()
    pq.write_table(pq.read_table(pa.BufferReader(data)), sink)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("damage", [cut, without_index, lambda _: b"", lambda _: b"PAR1", lambda data: data[:-8] * 2])
def test_a_damaged_file_is_named(folder: str, write: Write, config: Config, damage: Callable[[bytes], bytes]) -> None:
    path = Path(folder) / write(folder, sample("a"))
    path.write_bytes(damage(path.read_bytes()))
    error = refusal(folder, config)
    assert error.code == "store_damaged"
    assert path.name in error.detail


def rewritten(path: Path, index: bytes | None = None, **values: Sequence[Any]) -> None:
    """The same file with another index, or with other values in a column."""
    with pq.ParquetFile(path) as file:
        table, metadata = file.read(), file.metadata.metadata[INDEX_KEY]
    for name, column in values.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(column, table.schema.field(place).type))
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({INDEX_KEY: metadata if index is None else index})


@pytest.mark.parametrize("index", [b"{", b"[]", b'{"format": 2}', b'{"format": 1, "settings": {}, "videos": []}'])
def test_a_file_with_a_foreign_index_is_refused(folder: str, write: Write, config: Config, index: bytes) -> None:
    path = Path(folder) / write(folder, sample("a"))
    rewritten(path, index)
    assert refusal(folder, config).code in {"store_damaged", "invalid_config"}


@pytest.mark.parametrize(
    "values",
    [
        {"crops": [[b"no", b"jpeg"]] * 10},
        {"crops": [None, *([[b"x"]] * 9)]},
        {"wave": [b"\0"] * 10},
        {"times": [None] * 10},
        {"video_id": ["other"] * 10},
        {"error": [None] * 10},
    ],
    ids=str,
)
def test_rows_of_another_form_are_damage(
    folder: str, write: Write, config: Config, values: dict[str, Sequence[Any]]
) -> None:
    path = Path(folder) / write(folder, sample("a"))
    rewritten(path, **values)
    with pytest.raises(StoreError, match=path.name) as caught:
        ClipStore(folder, config).rows(path_row("a"))
    assert caught.value.code == "store_damaged"


def flipped(data: bytes, count: int = 60) -> Iterator[bytes]:
    """The file with one bit turned over, at places spread over its length."""
    for at in np.linspace(0, len(data) - 1, count).astype(int).tolist():
        yield data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def test_no_turned_bit_goes_unnoticed_or_crashes(folder: str, write: Write, config: Config) -> None:
    """Checksums guard the pages; a bit of the footer may mean nothing, but then the rows are the same."""
    path = Path(folder) / write(folder, sample("a"))
    whole = path.read_bytes()
    right, noticed = content(ClipStore(folder, config).rows(path_row("a"))), 0
    for data in flipped(whole):
        path.write_bytes(data)
        try:
            assert content(ClipStore(folder, config).rows(path_row("a"))) == right
        except (StoreError, ConfigError):
            noticed += 1
    assert noticed > 30


def test_a_lost_file_is_an_error_of_the_store(folder: str, write: Write, config: Config) -> None:
    path = Path(folder) / write(folder, sample("a"))
    store = ClipStore(folder, config)
    path.unlink()
    with pytest.raises(StoreError, match="store_damaged"):
        store.rows(path_row("a"))


def test_a_file_left_early_is_not_there(location: str, config: Config, rows: Callable[[Sample], list[Row]]) -> None:
    samples = [sample("a"), sample("b")]
    writing = write_videos(StoreFiles(location), config, samples, map(rows, samples))
    assert next(writing).video_id == "a"
    writing.close()
    assert StoreFiles(location).names("") == []
    assert not list(Path(location).glob("*"))


def test_names_depend_on_videos_and_settings() -> None:
    names = [
        file_name([sample("a"), sample("b")], {"x": 1}),
        file_name([sample("a"), sample("c")], {"x": 1}),
        file_name([sample("a"), sample("b")], {"x": 2}),
        file_name([sample("ab"), sample("")], {"x": 1}),
    ]
    assert len(set(names)) == 4
    assert file_name([sample("a", path="/elsewhere"), sample("b")], {"x": 1}) == names[0]
    assert names[0].startswith("train-")
