"""Pairs of a genuine clip and its forgery: what they are made of, and what decides."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from aura_model.augment.forgery import Material
from aura_model.augment.pairs import render_generated
from aura_model.augment.rendering import RenderSettings
from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.cropping import crop_face
from aura_model.media import MediaInfo
from training.pairing import pairs
from training.pairing.loose import loose
from training.pairing.pairs import Draw, Pair, PairSource, inside, is_still, material_of
from training.rows import EVALUATION, PLACES, ClipShape, Row, error_row, rows_of, to_columns

FRAMES, SIDE, LOOSE = 2, 64, 96
PAIRS = (
    "dataset.pseudo_fakes.enabled=true",
    f"dataset.pseudo_fakes.size={LOOSE}",
    "dataset.pseudo_fakes.margin=0.45",
    "dataset.pseudo_fakes.pairs={train: 3, eval: 2}",
    "dataset.pseudo_fakes.generated={generated_swap: 0}",
)
BOX = (270.0, 190.0, 370.0, 290.0)
"""A face in a source of 640 x 480 pixels, with room for any margin."""
FACE = np.array([[38, 42], [58, 42], [48, 52], [40, 62], [56, 62]], np.float32)
"""The same in a loose crop."""

Source = Callable[..., PairSource]


@pytest.fixture
def config(make_config: Callable[..., Config]) -> Config:
    return make_config(*PAIRS)


def picture(seed: int = 0, side: int = LOOSE) -> npt.NDArray[np.uint8]:
    """Something smooth with a fine grain, which codecs and generators change."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (side, side, 3)), (0, 0), 5)
    return np.clip(128 + 500 * smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def clip(seed: int = 0, seen: bool = True, landmarks: npt.NDArray[np.float32] = FACE) -> Clip:
    """A face that does not move at all; one that is only heard where it is not `seen`."""
    return Clip(
        times=np.arange(FRAMES) / 8,
        seconds=FRAMES / 8,
        frames=np.stack([picture(seed)] * FRAMES) if seen else None,
        boxes=np.tile(np.array(BOX, np.float32), (FRAMES, 1)) if seen else None,
        landmarks=np.stack([landmarks] * FRAMES) if seen else None,
        track_id=0 if seen else None,
        wave=None if seen else np.zeros(4000, np.float32),
    )


def media(container: str = "mp4") -> MediaInfo:
    sizes: dict[str, Any] = {"bytes": 5, "duration": 2.0, "width": 640, "height": 480, "rotation": 0}
    return MediaInfo(sha256="0" * 64, container=container, fps=8.0, video_codec="h264", audio_codec=None, **sizes)


def path_row(epoch: int = 1, video_id: str = "one", **facts: Any) -> Row:
    return (
        {"video_id": video_id, "path": "/one.mp4", "label": 0, "split": "train", "slot": 4} | facts | {"epoch": epoch}
    )


@pytest.fixture
def source(config: Config) -> Source:
    """A source of pairs of these clips."""

    def build(*clips: Clip, container: str = "mp4", config: Config = config) -> PairSource:
        def rows(row: Mapping[str, Any]) -> list[Row]:
            return rows_of(Clips(clips, media(container), (), {}), row, ClipShape.of(loose(config)))

        return PairSource(config, rows)

    return build


def broken(config: Config) -> PairSource:
    shape = ClipShape.of(loose(config))
    return PairSource(config, lambda row: [error_row("corrupt_video", "no frame", row, shape)])


PARTNER = "partner"


@pytest.fixture
def matched(config: Config) -> Callable[..., PairSource]:
    """A source of pairs of a fake that shows `drawn` beside a partner that shows `genuine`; None: nothing is seen."""

    def build(drawn: Clip | None, genuine: Clip | None, container: str = "mp4") -> PairSource:
        shape = ClipShape.of(loose(config))

        def rows(row: Mapping[str, Any]) -> list[Row]:
            shown = genuine if row["video_id"] == PARTNER else drawn
            if shown is None:
                return [error_row("corrupt_video", "no frame", row, shape)]
            return rows_of(Clips((shown,), media(container), (), {}), row, shape)

        return PairSource(config, rows, {"drawn": path_row(EVALUATION, PARTNER)}.__getitem__)

    return build


DRAWN = {"video_id": "drawn", "path": "/drawn.jpg", "label": 1}
"""The path row of a fake."""


def content(rows: Sequence[Row]) -> bytes:
    """All that a model sees of these rows."""
    names = ("frames", "places", "landmarks", "label", "variant", "clip")
    return b"".join(np.asarray(row[name]).tobytes() for row in rows for name in names)


# Rows


def test_each_pair_is_two_rows_of_one_clip_the_genuine_one_first(source: Source) -> None:
    rows = source(clip())(path_row())
    assert [(row["clip"], row["label"], row["variant"].split()[0]) for row in rows] == [
        (0, 0, "#0"), (0, 1, "#0"), (1, 0, "#1"), (1, 1, "#1"), (2, 0, "#2"), (2, 1, "#2"),
    ]  # fmt: skip
    assert [row["variant"] for row in rows[::2]] == ["#0", "#1", "#2"]
    assert [row["variant"] for row in rows[1::2]] == ["#0 self_blend", "#1 self_blend", "#2 self_blend"]


def test_a_row_keeps_the_facts_of_its_video_and_can_be_used(source: Source) -> None:
    asked = path_row(split="val", slot=9)
    for row in source(clip())(asked):
        assert {name: row[name] for name in asked if name != "label"} == {
            name: value for name, value in asked.items() if name != "label"
        }
        assert (row["has_video"], row["has_audio"], row["has_places"], row["error"]) == (True, False, True, "")
        assert MediaInfo.model_validate_json(row["media"]) == media()
        assert row["times"].tolist() == [0, 1 / 8]
        assert row["seconds"] == 0.25


def test_rows_of_pairs_have_the_shapes_of_all_other_rows(source: Source, config: Config) -> None:
    rows = [*source(clip())(path_row()), error_row("corrupt_video", "no frame", path_row(), ClipShape.of(config))]
    forms = [{name: (column.dtype.kind, column.shape) for name, column in to_columns(row).items()} for row in rows]
    assert all(form == forms[0] for form in forms)
    assert forms[0]["frames"][1] == (1, FRAMES, SIDE, SIDE, 3)
    assert forms[0]["places"] == ("u", (1, FRAMES, PLACES, PLACES))


def test_training_and_validation_have_their_own_numbers_of_pairs(source: Source) -> None:
    assert len(source(clip())(path_row(epoch=7))) == 2 * 3
    assert len(source(clip())(path_row(epoch=EVALUATION, split="val"))) == 2 * 2


def test_nothing_of_a_genuine_clip_was_forged_and_some_of_its_forgery(source: Source) -> None:
    for real, fake in zip(*(source(clip())(path_row())[start::2] for start in (0, 1)), strict=True):
        assert not real["places"].any()
        assert fake["places"].any(axis=(1, 2)).all()
        assert (real["frames"] != fake["frames"]).any()
        np.testing.assert_array_equal(real["landmarks"], fake["landmarks"])


def test_places_are_the_mask_at_a_lower_resolution(source: Source) -> None:
    row = path_row()
    (pair, *_) = draw(source(clip()), 1, self_blend=1)
    (_, fake, *_) = source(clip())(row)
    blocks = pair.fake.mask.reshape(FRAMES, PLACES, SIDE // PLACES, PLACES, SIDE // PLACES).mean(axis=(2, 4))
    np.testing.assert_allclose(fake["places"] / 255, blocks, atol=1 / 255)
    assert pair.fake.mask.max() > 0.5


def test_a_forgery_that_changed_nothing_is_labelled_real(source: Source) -> None:
    """A face of less than a pixel cannot be forged."""
    rows = source(clip(landmarks=FACE * 0 + 48))(path_row())
    assert [row["label"] for row in rows] == [0] * 6
    assert not any(row["places"].any() for row in rows)


# What decides


@pytest.mark.parametrize("container", ["mp4", "jpeg"])
def test_pairs_follow_from_seed_epoch_and_video_alone(
    source: Source, make_config: Callable[..., Config], container: str
) -> None:
    def made(config: Config, **facts: Any) -> bytes:
        return content(source(clip(), container=container, config=config)(path_row(**facts)))

    config = make_config(*PAIRS)
    first = made(config)
    np.random.seed(5)  # must not matter
    assert made(config, path="/elsewhere.mp4", slot=1, split="val") == first
    others = [
        made(config, epoch=2),
        made(config, epoch=EVALUATION),
        made(config, video_id="two"),
        made(make_config(*PAIRS, "seed=1")),
    ]
    assert len({first, *others}) == 5


def test_the_pairs_of_a_video_differ_and_more_of_them_begin_alike(source: Source) -> None:
    few, many = (draw(source(clip()), count, self_blend=1) for count in (2, 4))
    assert [pair.index for pair in many] == [0, 1, 2, 3]
    assert len({pair.real.frames.tobytes() for pair in many}) == 4
    assert [pair.fake.frames.tobytes() for pair in few] == [pair.fake.frames.tobytes() for pair in many[:2]]


class Renderer:
    """Stands for `render_pair`; notes what it was given."""

    def __init__(self) -> None:
        self.materials: list[Material] = []
        self.families: list[str] = []
        self.sizes: set[int] = set()

    def __call__(
        self, material: Material, family: str, rng: np.random.Generator, settings: RenderSettings
    ) -> tuple[str, str]:
        self.materials.append(material)
        self.families.append(family)
        self.sizes.add(settings.size)
        return "real", "fake"


@pytest.fixture
def renderer(monkeypatch: pytest.MonkeyPatch) -> Renderer:
    fake = Renderer()
    monkeypatch.setattr(pairs, "render_pair", fake)
    return fake


def draw(maker: PairSource, count: int, *donors: Material, epoch: int = 1, **families: float) -> list[Pair]:
    row = path_row(epoch)
    return list(maker.pairs_of(maker.loose_rows(row), row, Draw(count, families, {}), donors))


def test_families_are_drawn_by_their_weights(source: Source, renderer: Renderer) -> None:
    made = draw(source(clip()), 600, mouth_swap=6, self_blend=2, eyes_swap=0)
    assert [pair.family for pair in made] == renderer.families
    counts = Counter(renderer.families)
    assert counts.keys() == {"mouth_swap", "self_blend"}
    assert counts["mouth_swap"] == pytest.approx(450, abs=45)


def test_the_order_in_which_families_are_named_does_not_matter(source: Source, renderer: Renderer) -> None:
    one = draw(source(clip()), 30, self_blend=1, mouth_swap=1)
    other = draw(source(clip()), 30, mouth_swap=1, self_blend=1)
    assert [pair.family for pair in one] == [pair.family for pair in other]


def test_the_families_of_training_are_those_of_the_configuration(
    source: Source, make_config: Callable[..., Config]
) -> None:
    config = make_config(*PAIRS, "dataset.pseudo_fakes.families={self_blend: 0, eyes_swap: 1}")
    rows = source(clip(), config=config)(path_row())
    assert {row["variant"].split()[-1] for row in rows[1::2]} == {"eyes_swap"}


def test_clips_are_disturbed_in_training_as_often_as_the_configuration_says_and_never_in_evaluation(
    source: Source, make_config: Callable[..., Config]
) -> None:
    calm, always = (
        source(clip(), config=make_config(*PAIRS, f"dataset.pseudo_fakes.disturbed={share}")) for share in (0, 4)
    )
    epochs = [path_row(epoch) for epoch in range(1, 6)]
    assert all(content(calm(row)) != content(always(row)) for row in epochs)
    assert content(calm(path_row(EVALUATION))) == content(always(path_row(EVALUATION)))


def test_pairs_that_are_asked_for_one_by_one_are_disturbed_where_that_is_asked_for(source: Source) -> None:
    maker, row = source(clip()), path_row()
    made = [
        next(maker.pairs_of(maker.loose_rows(row), row, Draw(1, {"self_blend": 1}, {}, **more)))
        for more in ({}, {"disturbed": 0.0}, {"disturbed": 100.0})
    ]
    assert made[0].real.frames.tobytes() == made[1].real.frames.tobytes() != made[2].real.frames.tobytes()


def test_every_clip_of_a_video_is_used_and_those_without_a_face_are_not(source: Source, renderer: Renderer) -> None:
    draw(source(clip(1), clip(seen=False), clip(2)), 40, self_blend=1)
    shown = {material.frames.tobytes() for material in renderer.materials}
    assert shown == {np.stack([picture(seed)] * FRAMES).tobytes() for seed in (1, 2)}


def test_crops_are_rendered_as_large_as_the_model_takes_them(source: Source, renderer: Renderer) -> None:
    draw(source(clip()), 1, self_blend=1)
    assert renderer.sizes == {SIDE}


def test_held_out_families_get_another_person_and_others_do_not(source: Source, renderer: Renderer) -> None:
    donors = [Material(np.stack([picture(seed)]), FACE[None]) for seed in (7, 8)]
    draw(source(clip()), 40, *donors, donor_blend=1, self_blend=1)
    used: dict[str, set[Any]] = {"donor_blend": set(), "self_blend": set()}
    for family, material in zip(renderer.families, renderer.materials, strict=True):
        used[family].add(material.donor)
    assert used == {"donor_blend": set(donors), "self_blend": {None}}


@pytest.mark.parametrize(("family", "label"), [("null_blend", 0), ("donor_blend", 1), ("donor_poisson", 1)])
def test_families_that_are_never_trained_on_can_be_had(source: Source, family: str, label: int) -> None:
    donor = Material(np.stack([picture(7)]), FACE[None])
    (pair,) = draw(source(clip()), 1, donor, **{family: 1})
    assert (pair.video_id, pair.index, pair.family) == ("one", 0, family)
    assert (pair.real.label, pair.fake.label) == (0, label)
    assert bool((pair.real.frames != pair.fake.frames).any()) == bool(label)


# Videos that cannot be used


def test_an_unusable_video_is_one_error_row_of_the_models_shape(config: Config) -> None:
    (row,) = broken(config)(path_row())
    assert (row["error"], row["detail"], row["clip"], row["has_places"]) == ("corrupt_video", "no frame", -1, False)
    assert (row["video_id"], row["path"], row["slot"]) == ("one", "/one.mp4", 4)
    assert row["frames"].shape == (FRAMES, SIDE, SIDE, 3)
    assert draw(broken(config), 1, self_blend=1) == []


def test_a_video_that_shows_no_face_is_one_error_row(source: Source) -> None:
    (row,) = source(clip(seen=False))(path_row())
    assert (row["error"], row["clip"], row["variant"]) == ("no_face", -1, "")
    assert row["frames"].shape == (FRAMES, SIDE, SIDE, 3)
    assert draw(source(clip(seen=False)), 1, self_blend=1) == []


# Fakes beside a genuine partner


def test_a_fake_is_rendered_beside_its_partner(matched: Callable[..., PairSource]) -> None:
    rows = matched(clip(1), clip(2))(path_row(**DRAWN))
    assert [(row["label"], row["variant"]) for row in rows[:4]] == [
        (0, "#0"), (1, "#0 generated_person"), (0, "#1"), (1, "#1 generated_person"),
    ]  # fmt: skip
    assert {(row["video_id"], row["path"]) for row in rows} == {("drawn", "/drawn.jpg")}
    assert [int(row["places"].min()) for row in rows] == [0, 255] * 3
    assert not any(row["places"].any() for row in rows[::2])
    swapped = matched(clip(2), clip(1))(path_row(**DRAWN))
    assert [row["frames"].tobytes() for row in rows[::2]] == [row["frames"].tobytes() for row in swapped[1::2]]
    assert [row["frames"].tobytes() for row in rows[1::2]] == [row["frames"].tobytes() for row in swapped[::2]]


def test_pairs_with_a_partner_follow_from_epoch_and_video(matched: Callable[..., PairSource]) -> None:
    maker = matched(clip(1), clip(2))
    assert content(maker(path_row(**DRAWN))) == content(maker(path_row(**DRAWN)))
    assert len(maker(path_row(EVALUATION, **DRAWN))) == 2 * 2
    made = maker(path_row(**DRAWN)) + maker(path_row(2, **DRAWN))
    assert len({row["frames"].tobytes() for row in made}) == 12


def test_stills_beside_each_other_move_alike(matched: Callable[..., PairSource]) -> None:
    rows = matched(clip(1), clip(1), "jpeg")(path_row(**DRAWN))
    assert [row["frames"].tobytes() for row in rows[::2]] == [row["frames"].tobytes() for row in rows[1::2]]
    assert all((row["frames"][0] != row["frames"][1]).any() for row in rows)


def test_a_fake_and_its_partner_are_disturbed_alike(
    matched: Callable[..., PairSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RenderSettings] = []

    def render(genuine: Material, drawn: Material, family: str, rng: np.random.Generator, settings: RenderSettings):
        seen.append(settings)
        return render_generated(genuine, drawn, family, rng, settings)

    monkeypatch.setattr(pairs, "render_generated", render)
    maker = matched(clip(1), clip(1))
    rows = maker(path_row(**DRAWN)) + maker(path_row(EVALUATION, **DRAWN))
    assert [settings.disturbed for settings in seen] == [1.0] * 3 + [0.0] * 2
    assert [row["frames"].tobytes() for row in rows[::2]] == [row["frames"].tobytes() for row in rows[1::2]]


def test_fakes_are_used_in_either_way_by_weight(matched: Callable[..., PairSource]) -> None:
    weights = {"generated_person": 1.0, "generated_swap": 3.0}
    maker = matched(clip(1), clip(2))
    row = path_row(**DRAWN)
    pairs = list(maker.pairs_beside(maker.loose_rows(row), row, Draw(200, {}, weights)))
    counts = Counter(pair.family for pair in pairs)
    assert counts.keys() == weights.keys()
    assert counts["generated_swap"] == pytest.approx(150, abs=25)
    assert all(pair.fake.label and not pair.real.label for pair in pairs)


@pytest.mark.parametrize(("missing", "code"), [("drawn", "corrupt_video"), ("genuine", "no_face"), ("seen", "no_face")])
def test_a_fake_without_a_face_on_either_side_is_one_error_row(
    matched: Callable[..., PairSource], missing: str, code: str
) -> None:
    shown = {"drawn": clip(1), "genuine": clip(2)} | (
        {"drawn": clip(seen=False)} if missing == "seen" else {missing: None}
    )
    (row,) = matched(**shown)(path_row(**DRAWN))
    assert (row["error"], row["clip"], row["video_id"]) == (code, -1, "drawn")


def test_a_fake_for_which_no_partners_are_known_is_a_fault_of_the_program(source: Source) -> None:
    with pytest.raises(ValueError, match="partner"):
        source(clip())(path_row(**DRAWN))


# Stills and footage


@pytest.mark.parametrize(("container", "moves"), [("jpeg", True), ("png", True), ("webp", True), ("mp4", False)])
def test_stills_are_made_to_move_and_videos_are_not(
    source: Source, renderer: Renderer, container: str, moves: bool
) -> None:
    draw(source(clip(), container=container), 1, self_blend=1)
    (material,) = renderer.materials
    assert material.frames.shape == (FRAMES, LOOSE, LOOSE, 3)
    assert is_still(media(container)) == moves
    assert bool((material.frames[0] != material.frames[1]).any()) == moves
    if moves:
        assert np.abs(np.diff(material.landmarks, axis=0)).max() > 0
    else:
        np.testing.assert_array_equal(material.frames, clip().frames)
        np.testing.assert_array_equal(material.landmarks, clip().landmarks)


def test_a_still_moves_otherwise_in_each_pair_and_each_epoch(source: Source, renderer: Renderer) -> None:
    for epoch in (1, 2):
        draw(source(clip(), container="jpeg"), 2, epoch=epoch, self_blend=1)
    assert len({material.frames.tobytes() for material in renderer.materials}) == 4


def test_footage_is_forged_as_it_is_and_a_still_moves_at_its_rate() -> None:
    footage = Material(np.stack([picture()] * 9), np.stack([FACE] * 9))
    assert material_of(footage, None, np.random.default_rng(0)) is footage
    slow, fast = (material_of(footage, rate, np.random.default_rng(0)) for rate in (30.0, 2.0))
    assert slow.frames.shape == fast.frames.shape == footage.frames.shape

    def motion(material: Material) -> float:
        return float(np.abs(np.diff(material.landmarks, axis=0)).mean())

    assert 0 < motion(slow) < motion(fast)


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ((270, 190, 370, 290), (slice(0, 96), slice(0, 96))),
        ((0, 190, 100, 290), (slice(0, 96), slice(23, 96))),
        ((270, 0, 370, 100), (slice(23, 96), slice(0, 96))),
        ((540, 380, 640, 480), (slice(0, 73), slice(0, 73))),
        ((200, 0, 700, 480), (slice(24, 72), slice(3, 67))),
    ],
    ids=["inside", "left", "above", "a corner", "larger than the source"],
)
def test_the_part_of_a_crop_beyond_the_source_is_left_out(box: tuple[int, ...], cut: tuple[slice, slice]) -> None:
    """What lies there is a repeated edge, which no camera filmed."""
    seen = replace(clip(), boxes=np.tile(np.array(box, np.float32), (FRAMES, 1)))
    assert seen.frames is not None
    part = inside(seen, 0.45, 640, 480)
    rows, columns = cut
    np.testing.assert_array_equal(part.frames, seen.frames[:, rows, columns])
    np.testing.assert_allclose(part.landmarks, np.stack([FACE - [columns.start, rows.start]] * FRAMES))


def test_what_is_left_was_filmed_in_every_frame() -> None:
    """Marked with -1 beyond the source, crops of a face that wanders out of it show no mark."""
    source = np.full((480, 640, 3), 200, np.uint8)
    boxes = np.array([[20, 30, 140, 150], [-30, 10, 80, 120]], np.float32)
    framed = cv2.copyMakeBorder(source, 300, 300, 300, 300, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    crops = [crop_face(framed, box + 300, FACE, 0.45, LOOSE)[0] for box in boxes]
    part = inside(replace(clip(), frames=np.stack(crops), boxes=boxes), 0.45, 640, 480)
    assert (np.stack(crops) < 100).any()
    assert part.frames.min() > 150
    assert min(part.size) > LOOSE // 2


def test_a_face_far_outside_leaves_something_to_look_at() -> None:
    boxes = np.tile(np.array([2000, 2000, 2100, 2100], np.float32), (FRAMES, 1))
    for far in (boxes, -boxes):
        assert min(inside(replace(clip(), boxes=far), 0.45, 640, 480).size) >= 1


def test_a_box_of_no_size_does() -> None:
    empty = np.tile(np.array([300, 200, 300, 200], np.float32), (FRAMES, 1))
    assert min(inside(replace(clip(), boxes=empty), 0.45, 640, 480).size) >= 1


def test_a_clip_without_a_face_is_no_material() -> None:
    with pytest.raises(ValueError, match="no face"):
        inside(clip(seen=False), 0.45, 640, 480)
