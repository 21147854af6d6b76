import numpy as np
import pytest

from aura_model.augment.face_model import FIVE, REGIONS, apply, fit_cameras, fit_similarities, invert, unit


def similarity(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, x], [sine, cosine, y]], np.float32)


def turned(yaw: float, pitch: float = 0.0) -> np.ndarray:
    """[2, 3] the first two rows of a head's rotation."""
    around_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return (around_x @ around_y)[:2]


@pytest.mark.parametrize(("scale", "angle", "x", "y"), [(50, 0, 10, 20), (3, 1.2, -40, 8), (200, -2.9, 0, 0)])
def test_the_similarity_of_a_mean_face_is_found_again(scale: float, angle: float, x: float, y: float) -> None:
    face = similarity(scale, angle, x, y)
    landmarks = apply(face[None], FIVE[:, :2])
    np.testing.assert_allclose(fit_similarities(landmarks)[0], face, atol=1e-3)
    assert unit(face[None])[0] == pytest.approx(scale)


def test_each_frame_has_a_fit_of_its_own() -> None:
    faces = np.stack([similarity(20 + t, 0.1 * t, t, -t) for t in range(4)])
    landmarks = np.stack([apply(face[None], FIVE[:, :2])[0] for face in faces])
    np.testing.assert_allclose(fit_similarities(landmarks), faces, atol=1e-3)


def test_a_similarity_does_not_follow_one_wrong_landmark() -> None:
    landmarks = apply(similarity(50, 0, 0, 0)[None], FIVE[:, :2])
    landmarks[0, 2] += 10
    scale = unit(fit_similarities(landmarks))[0]
    assert scale == pytest.approx(50, rel=0.05)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (0.4, 0), (-0.4, 0), (0, 0.3), (0.5, -0.2)])
def test_the_camera_shows_a_turned_head_where_it_is(yaw: float, pitch: float) -> None:
    rotation = turned(yaw, pitch) * 60
    landmarks = (FIVE @ rotation.T + (100, 90))[None].astype(np.float32)
    camera = fit_cameras(landmarks)
    np.testing.assert_allclose(apply(camera, FIVE), landmarks, atol=4)
    chin = np.array([[0.0, 1.8, -0.08]], np.float32)
    np.testing.assert_allclose(apply(camera, chin)[0], chin @ rotation.T + (100, 90), atol=10)


@pytest.mark.parametrize("yaw", [0.5, -0.5])
def test_the_silhouette_of_a_turned_head_reaches_further_on_the_side_that_is_seen(yaw: float) -> None:
    landmarks = (FIVE @ (turned(yaw) * 60).T)[None].astype(np.float32)
    outline = apply(fit_cameras(landmarks), REGIONS["face"])[0]
    nose = landmarks[0, 2, 0]
    near, far = outline[:, 0].max() - nose, nose - outline[:, 0].min()
    assert (near > 1.3 * far) == (yaw > 0)


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_regions_are_symmetric(region: str) -> None:
    points = {tuple(point) for point in REGIONS[region].round(4).tolist()}
    assert {(-x, y, z) for x, y, z in points} == points


def test_an_inverse_undoes_and_survives_a_face_without_extent() -> None:
    face = similarity(30, 0.7, 5, 6)[None]
    points = np.array([[1.0, 2.0], [-3.0, 0.5]], np.float32)
    np.testing.assert_allclose(apply(invert(face), apply(face, points)[0])[0], points, atol=1e-4)
    flat = fit_similarities(np.zeros((1, 5, 2), np.float32))
    assert np.isfinite(invert(flat)).all()
