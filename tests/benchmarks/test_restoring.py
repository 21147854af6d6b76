import numpy as np
import pytest
import restoring
from restoring import BASELINE, CHANGES, NOTHING, changed, main, measure, unrestoring

from aura_model.predictor import load_scorer
from aura_model.restoration import restored
from aura_model.settings import load_config

TINY = (
    "inference.checkpoint=null",
    "inference.device=cpu",
    "model.video.backbone=test_efficientnet",
    "model.video.pretrained=false",
    "model.fusion.hidden_dim=16",
    "dataset.face.detector=center_crop",
    "dataset.face.size=64",
    "dataset.audio.enabled=false",
)


@pytest.fixture(scope="module")
def config():
    return load_config(env={}, overrides=TINY)


def test_each_way_has_a_cost(config):
    costs = measure(config, rounds=1)
    assert list(costs) == [BASELINE, *CHANGES]
    assert all(cost > 0 for cost in costs.values())


def test_the_baseline_restores_nothing(config):
    scorer = load_scorer(config)
    assert unrestoring(scorer).loaded.config.inference.restoration == NOTHING
    assert scorer.loaded.config.inference.restoration != NOTHING


@pytest.mark.parametrize("name", [name for name, steps in CHANGES.items() if steps])
def test_changed_clips_are_restored_and_the_usual_ones_are_not(config, name):
    clip = restoring.load_clips(restoring.VIDEO, config).clips[0]
    settings = config.inference.restoration
    assert np.array_equal(restored(clip.frames, settings), clip.frames)
    frames = changed(clip, CHANGES[name]).frames
    assert not np.array_equal(restored(frames, settings), frames)


def test_the_ratios_are_printed(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["restoring.py", "--rounds", "3"])
    monkeypatch.setattr(restoring, "measure", lambda config, rounds: {BASELINE: 0.03, "noisy": 0.06 * rounds / 3})
    monkeypatch.setattr(restoring.torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(restoring.cv2, "setNumThreads", lambda count: None)
    main()
    noisy = capsys.readouterr().out.splitlines()[1].split()
    assert noisy == ["noisy", "60.0", "ms", "a", "clip", "2.00", "x", *BASELINE.split()]
