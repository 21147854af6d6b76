import numpy as np
import pytest
from scrutiny.baselines import LinearProbe, metadata_probabilities, video_probability
from scrutiny.wild_clips import matched, read_wild

from aura_model.augment import pairs
from aura_model.augment.families import FAMILIES
from aura_model.augment.forgery import Forgery
from aura_model.clips import Clip
from aura_model.media import MediaInfo
from aura_model.metrics import compute_auc


def clip(frames: np.ndarray | None = None, track_id: int | None = 0) -> Clip:
    return Clip(np.arange(3) / 8.0, 0.4, frames, None, None, track_id, None)


def media(width: int = 640, fps: float = 25.0, codec: str = "h264", sound: str | None = "aac") -> MediaInfo:
    return MediaInfo(
        sha256="0" * 64,
        bytes=5,
        container="mp4",
        duration=4.0,
        width=width,
        height=480,
        fps=fps,
        rotation=0,
        video_codec=codec,
        audio_codec=sound,
    )


class TestLinearProbe:
    @pytest.fixture(autouse=True)
    def plain_forgery(self, monkeypatch):
        """A forgery that these features can tell: the picture is darker."""

        def darker(material, rng):
            frames = (material.frames * 0.6).astype(np.uint8)
            return Forgery.of_video("generated_picture", material, frames, np.ones(frames.shape[:3], np.float32))

        monkeypatch.setattr(pairs, "FAMILIES", {**FAMILIES, "generated_picture": darker})

    def features(self, frames: np.ndarray) -> np.ndarray:
        """The differences of neighbours: a forgery's texture is another one."""
        bright = frames.mean(-1)
        return np.array(
            [bright.mean(), *(np.abs(np.diff(bright, axis=axis)).mean() for axis in (0, 1, 2)), bright.std()]
        )

    def fitted(self, studio, make_person, count: int = 12, names: str = "efghijklmnopqrst"):
        probe = LinearProbe(self.features)
        return probe, probe.fit(studio, [make_person(name) for name in names], {"generated_picture": 1.0}, count)

    def test_it_learns_from_as_many_pairs_as_it_is_told(self, studio, make_person):
        assert self.fitted(studio, make_person)[1] == 12

    def test_people_without_a_face_are_passed_over(self, studio, people, make_person):
        probe = LinearProbe(self.features)
        names = ["nobody", "eva", "broken", "fred", "gina"]
        assert probe.fit(studio, [make_person(name) for name in names], {"self_blend": 1.0}, 2) == 2
        assert people.opened == ["nobody", "eva", "broken", "fred"]

    def test_it_tells_what_it_was_shown(self, studio, make_person):
        probe, _ = self.fitted(studio, make_person)
        shown = [
            studio.pair(studio.open(make_person(name)), make_person(name), "generated_picture", 0)
            for name in "efghijkl"
        ]
        odds = [probe.score([clip(pair.real.frames), clip(pair.fake.frames)]) for pair in shown]
        assert compute_auc([0, 1] * 8, np.ravel(odds)) > 0.7

    def test_a_clip_without_pictures_is_undecided(self, studio, make_person):
        probe, _ = self.fitted(studio, make_person)
        assert probe.score([clip(None, track_id=None)]) == [0.0]

    def test_nobody_to_learn_from_is_an_error(self, studio, make_person):
        with pytest.raises(ValueError, match="none could be made"):
            LinearProbe(self.features).fit(studio, [make_person("nobody")], {"self_blend": 1.0}, 3)


class TestVideos:
    def test_a_video_is_as_fake_as_its_worst_face(self):
        clips = [clip(track_id=0), clip(track_id=0), clip(track_id=1)]
        assert video_probability(clips, [2.0, -2.0, -1.0]) == 0.5
        assert video_probability(clips, [-2.0, -2.0, 3.0]) == pytest.approx(1 / (1 + np.exp(-3)))

    def test_nothing_to_judge_is_a_half(self):
        assert video_probability([], []) == 0.5


class TestMetadata:
    def test_it_finds_a_giveaway(self):
        videos = [media(fps=30.0 if one % 2 else 25.0) for one in range(24)]
        labels, groups = [one % 2 for one in range(24)], [str(one) for one in range(24)]
        assert compute_auc(labels, metadata_probabilities(videos, labels, groups)) == 1.0

    @pytest.mark.parametrize("kept", ["codec", "sound", "width"])
    def test_each_fact_counts(self, kept):
        facts = {"codec": ("h264", "hevc"), "sound": (None, "aac"), "width": (320, 640)}
        videos = [media(**{kept: facts[kept][one % 2]}) for one in range(24)]
        labels = [one % 2 for one in range(24)]
        assert compute_auc(labels, metadata_probabilities(videos, labels, [str(one) for one in range(24)])) == 1.0

    def test_matched_videos_give_nothing_away(self):
        videos = [media(width=300 + 20 * (one // 2)) for one in range(24)]
        labels, groups = [one % 2 for one in range(24)], [str(one // 2) for one in range(24)]
        assert compute_auc(labels, metadata_probabilities(videos, labels, groups)) == pytest.approx(0.5)

    def test_a_group_is_judged_by_the_others_alone(self):
        """One group holds all fakes: nothing is left to tell them by."""
        videos = [media(fps=30.0 if one < 6 else 25.0) for one in range(12)]
        labels, groups = [int(one < 6) for one in range(12)], ["x" if one < 6 else str(one) for one in range(12)]
        assert metadata_probabilities(videos, labels, groups)[:6].tolist() == [0.5] * 6

    def test_unreadable_videos_are_judged_too(self):
        videos = [None if one % 6 == 0 else media(fps=30.0 if one % 2 else 25.0) for one in range(24)]
        labels, groups = [one % 2 for one in range(24)], [str(one) for one in range(24)]
        assert np.isfinite(metadata_probabilities(videos, labels, groups)).all()


class TestFolder:
    HEAD = "file,label,kind,group,pair,notes\n"

    def read(self, tmp_path, *lines: str):
        (tmp_path / "manifest.csv").write_text(self.HEAD + "\n".join(lines) + "\n", encoding="utf-8")
        return read_wild(tmp_path)

    def test_a_manifest_is_read(self, tmp_path):
        (found,) = self.read(tmp_path, "fake/a.mp4,fake,face_swap,g1,a_orig,Zoë")
        assert (found.file, found.label, found.kind, found.group, found.pair) == (
            "fake/a.mp4",
            1,
            "face_swap",
            "g1",
            "a_orig",
        )
        assert found.path == tmp_path / "fake" / "a.mp4"

    def test_a_video_without_a_group_is_one(self, tmp_path):
        (found,) = self.read(tmp_path, "real/a.mp4,real,original,,,")
        assert (found.group, found.pair, found.label) == ("real/a.mp4", "", 0)

    @pytest.mark.parametrize("label", ["", "1", "Fake"])
    def test_other_labels_are_refused(self, tmp_path, label):
        with pytest.raises(ValueError, match="not real or fake"):
            self.read(tmp_path, f"a.mp4,{label},x,,,")

    def test_a_folder_without_a_manifest_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            read_wild(tmp_path)

    def test_fakes_are_matched_with_their_originals(self, tmp_path):
        clips = self.read(
            tmp_path,
            "fake/a_swap.mp4,fake,face_swap,a,a_orig,",
            "real/a_orig.mp4,real,original,a,,",
            "fake/b.mp4,fake,face_swap,b,b_orig,",
            "fake/c.mp4,fake,reenactment,a,a_orig,",
            "fake/d.mp4,fake,face_swap,d,,",
        )
        assert matched(clips).tolist() == [[0, 1], [3, 1]]
        assert matched(clips, "face_swap").tolist() == [[0, 1]]
        assert matched(clips, "lip_sync").shape == (0, 2)
