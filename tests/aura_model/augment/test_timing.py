import numpy as np
import pytest

from aura_model.augment.face_model import fit_similarities
from aura_model.augment.timing import aligned, chain, draw_shifted, draw_stumbling


def test_a_frame_of_another_time_is_moved_to_where_the_face_is_now(make_material) -> None:
    material = make_material(frames=3, scale=26.0)
    faces = fit_similarities(material.landmarks)
    moved = aligned(material.frames, faces, [2, 1, 0])
    assert moved[1] is not None
    np.testing.assert_array_equal(moved[1], material.frames[1])
    rows, columns = np.rint(material.landmarks[0, :, 1]).astype(int), np.rint(material.landmarks[0, :, 0]).astype(int)
    face = np.s_[rows.min() : rows.max(), columns.min() : columns.max()]
    before = np.abs(material.frames[2][face].astype(int) - material.frames[0][face]).mean()
    assert np.abs(moved[0][face].astype(int) - material.frames[0][face]).mean() < 0.7 * before


def test_frames_can_be_moved_into_a_clip_of_another_size(make_material) -> None:
    donor, clip = make_material(frames=1), make_material(frames=3, height=70, width=130)
    moved = aligned(
        donor.frames,
        fit_similarities(donor.landmarks),
        [0, 0, 0],
        onto=fit_similarities(clip.landmarks),
        size=clip.size,
    )
    assert [frame.shape for frame in moved] == [(70, 130, 3)] * 3


def test_a_chain_is_one_map_after_the_other() -> None:
    before, after = (np.random.default_rng(seed).normal(size=(2, 3)) for seed in (0, 1))
    point = np.array([3.0, -2.0])
    step = before[:, :2] @ point + before[:, 2]
    expected = after[:, :2] @ step + after[:, 2]
    both = chain(after, before)
    np.testing.assert_allclose(both[:, :2] @ point + both[:, 2], expected)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(10))
def test_a_shifted_order_shows_other_frames_of_the_clip(count: int, seed: int) -> None:
    order = draw_shifted(np.random.default_rng(seed), count)
    assert len(order) == count
    assert all(0 <= shown < count for shown in order)
    if count > 1:
        assert sum(shown != time for time, shown in enumerate(order)) >= count / 2
        assert max(np.abs(np.diff(order))) <= 1


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(10))
def test_a_stumbling_order_runs_on_and_stumbles_somewhere(count: int, seed: int) -> None:
    order = draw_stumbling(np.random.default_rng(seed), count)
    assert len(order) == count
    assert all(abs(shown - time) <= 1 and 0 <= shown < count for time, shown in enumerate(order) if count < 3)
    assert all(0 <= shown < count for shown in order)
    assert (order != list(range(count))) == (count > 1)
