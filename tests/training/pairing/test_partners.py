"""Which genuine video a fake is rendered beside, and which samples a run has."""

from collections.abc import Callable
from pathlib import Path

import pytest

from aura_model.config import Config
from aura_model.errors import AuraError, ConfigError
from training.data.debugset import MEDIA
from training.data.errors import DatasetError
from training.data.manifest import Sample
from training.extraction import clip_source, training_source
from training.pairing.loose import loose
from training.pairing.partners import Partners, training_samples
from training.rows import path_row
from training.store.files import StoreFiles
from training.store.writer import write_videos

PAIRS = (
    "dataset.pseudo_fakes={enabled: true, size: 128, margin: 0.5}",
    "dataset.face.detect=false",
    "training.batch_size=2",
)
FACE = MEDIA / "face.jpg"


@pytest.fixture
def faces(tmp_path: Path, make_config: Callable[..., Config]) -> Config:
    """A manifest of a genuine picture and a fake whose partner it is."""
    manifest = tmp_path / "faces.csv"
    lines = ["video_id,label,split,path,pair", f"g,real,train,{FACE},", f"f,fake,train,{FACE},g"]
    manifest.write_text("\n".join(lines), encoding="utf-8")
    return make_config(*PAIRS, f"dataset.manifest={manifest}")


def stored(config: Config, folder: Path) -> Config:
    """The same data set in a store of clips."""
    samples = training_samples(config)
    decode = clip_source(loose(config))
    list(write_videos(StoreFiles(str(folder)), loose(config), samples, [decode(path_row(one)) for one in samples]))
    preprocessing = config.dataset.preprocessing.model_copy(update={"mode": "preextracted", "store": str(folder)})
    dataset = config.dataset.model_copy(update={"preprocessing": preprocessing, "manifest": None})
    return config.model_copy(update={"dataset": dataset})


@pytest.mark.parametrize("mode", ["on_the_fly", "preextracted"])
def test_a_fake_of_the_data_set_is_paired_with_the_genuine_one_it_names(
    faces: Config, tmp_path: Path, mode: str
) -> None:
    config = faces if mode == "on_the_fly" else stored(faces, tmp_path / "store")
    samples = {sample.video_id: sample for sample in training_samples(config)}
    assert samples.keys() == {"f", "g"}
    assert Partners(config)("f") == path_row(Sample("g", 0, "train", str(FACE)))
    rows = training_source(config)(path_row(samples["f"]))
    assert [(row["video_id"], row["label"], row["error"]) for row in rows] == [("f", 0, ""), ("f", 1, "")]


def test_a_data_set_without_fakes_is_not_read_again(make_config: Callable[..., Config], tmp_path: Path) -> None:
    config = make_config(*PAIRS, f"dataset.manifest={tmp_path / 'gone.csv'}")
    rows = training_source(config)(path_row(Sample("g", 0, "train", str(FACE))))
    assert [row["label"] for row in rows] == [0, 1]
    with pytest.raises(DatasetError):
        Partners(config)("f")


def test_a_store_that_is_not_there_is_refused(make_config: Callable[..., Config], tmp_path: Path) -> None:
    store = ("dataset.preprocessing.mode=preextracted", f"dataset.preprocessing.store={tmp_path / 'gone'}")
    with pytest.raises(AuraError):
        training_samples(make_config(*PAIRS, *store))


def test_a_store_is_not_split_anew(faces: Config, tmp_path: Path) -> None:
    config = stored(faces, tmp_path / "store")
    split = config.model_copy(update={"dataset": config.dataset.model_copy(update={"auto_split": (0.8, 0.1, 0.1)})})
    with pytest.raises(ConfigError, match="keeps the splits it was made with: leave out --auto-split"):
        training_samples(split)
