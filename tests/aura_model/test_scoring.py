import math
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from aura_model.batch import to_batch
from aura_model.calibration import Calibration
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.denoising import denoised
from aura_model.model import ModelOutput
from aura_model.model_loading import LoadedModel, load_for_inference
from aura_model.scores import ClipScore
from aura_model.scoring import CPU_FRAMES, LOWEST_PRIORITY, Scorer, log_odds
from aura_model.settings import load_config

MakeClip = Callable[..., Clip]
MakeConfig = Callable[..., Config]
NO_RESTORATION = "inference.restoration={bars_below: null, least_light: null, least_colour: null, most_noise: null}"
KINDS = [(True, True), (True, False), (False, True), (True, True), (False, True), (True, False), (True, True)]


@pytest.fixture
def clips(make_clip: MakeClip) -> list[Clip]:
    return [make_clip(seed, video=video, audio=audio) for seed, (video, audio) in enumerate(KINDS)]


@pytest.fixture(scope="module")
def loaded(tiny_config: MakeConfig) -> LoadedModel:
    """The clips of these tests are noise, which should stay in them."""
    return load_for_inference(
        None,
        tiny_config(
            "inference.batch_clips=3",
            NO_RESTORATION,
        ),
        "cpu",
    )


def as_numbers(score: ClipScore) -> tuple[float | None, ...]:
    return score.fake, score.video, score.audio


def test_one_score_a_clip_in_order(loaded: LoadedModel, clips: list[Clip]) -> None:
    scores = Scorer(loaded, "cpu").score(clips)
    assert [(score.video is not None, score.audio is not None) for score in scores] == KINDS
    backwards = Scorer(loaded, "cpu").score(clips[::-1])
    for one, other in zip(scores, backwards[::-1], strict=True):
        assert as_numbers(one) == pytest.approx(as_numbers(other), abs=1e-5)


def test_log_odds_are_taken_in_full_precision() -> None:
    """In bfloat16 the difference of 256 and -1 would be 256."""
    assert log_odds(torch.tensor([[-1.0, 256.0], [2.0, -3.0]], dtype=torch.bfloat16)) == [257.0, -5.0]


def test_scores_are_the_log_odds_of_fake(loaded: LoadedModel, clips: list[Clip]) -> None:
    batch = to_batch(clips[:1], loaded.config)
    output = loaded.model.forward_full(batch.video, batch.audio)
    score = Scorer(loaded, "cpu").score(clips[:1])[0]
    for odds, logits in zip(as_numbers(score), (output.logits, output.video_logits, output.audio_logits), strict=True):
        assert odds is not None
        assert logits is not None
        assert 1 / (1 + math.exp(-odds)) == pytest.approx(float(logits.softmax(dim=1)[0, 1]), abs=1e-5)


def test_a_clip_scores_the_same_in_any_company(loaded: LoadedModel, clips: list[Clip]) -> None:
    scorer = Scorer(loaded, "cpu")
    for clip, score in zip(clips, scorer.score(clips), strict=True):
        assert as_numbers(scorer.score([clip])[0]) == pytest.approx(as_numbers(score), abs=1e-5)


@pytest.mark.parametrize(
    ("count", "passes", "sizes"),
    [(0, 2, []), (1, 2, [1]), (4, 2, [2, 2]), (5, 2, [3, 2]), (7, 2, [3, 3, 1]), (7, 4, [2, 2, 2, 1]), (2, 9, [1, 1])],
)
def test_passes_side_by_side_share_the_clips_and_keep_their_order(
    count: int, passes: int, sizes: list[int], loaded: LoadedModel, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, forward, threads = [], loaded.model.forward_full, set()

    def noted(video: object, audio: object, *, video_mask: torch.Tensor, audio_mask: torch.Tensor) -> object:
        seen.append(len(video_mask))
        threads.add(threading.current_thread().name)
        assert torch.is_inference_mode_enabled()
        return forward(video, audio, video_mask=video_mask, audio_mask=audio_mask)

    alone = Scorer(loaded, "cpu").score(clips[:count])
    monkeypatch.setattr(loaded.model, "forward_full", noted)
    found = Scorer(loaded, "cpu", passes).score(clips[:count])
    assert sorted(seen, reverse=True) == sizes
    assert threading.current_thread().name not in threads
    for one, other in zip(found, alone, strict=True):
        assert as_numbers(one) == pytest.approx(as_numbers(other), abs=1e-5)


@pytest.mark.parametrize(
    ("window", "batch_clips", "expected"), [(2, 64, CPU_FRAMES // 2), (2, 3, 3), (CPU_FRAMES, 8, 1), (32, 8, 1)]
)
def test_a_pass_on_a_cpu_holds_a_bounded_number_of_frames(
    tiny_config: MakeConfig, make_clip: MakeClip, window: int, batch_clips: int, expected: int
) -> None:
    config = tiny_config(f"inference.batch_clips={batch_clips}", f"dataset.video.temporal_window={window}")
    loaded = replace(load_for_inference(None, tiny_config(), "cpu"), config=config)
    assert Scorer(loaded, "cpu").pass_clips == expected
    sizes, clips = [], [make_clip(seed) for seed in range(2 * CPU_FRAMES)]
    scorer = Scorer(replace(loaded, config=tiny_config(f"inference.batch_clips={batch_clips}")), "cpu")
    forward = loaded.model.forward_full

    def noted(video: torch.Tensor, *args: object, **kwargs: object) -> object:
        sizes.append(len(video))
        return forward(video, *args, **kwargs)

    loaded.model.forward_full = noted
    scorer.score(clips)
    assert max(sizes) == scorer.pass_clips


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives threads priorities of their own")
def test_passes_side_by_side_give_way_and_the_process_does_not(
    loaded: LoadedModel, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, seen, forward = os.getpriority(os.PRIO_PROCESS, 0), [], loaded.model.forward_full

    def noted(*args: object, **kwargs: object) -> object:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return forward(*args, **kwargs)

    monkeypatch.setattr(loaded.model, "forward_full", noted)
    Scorer(loaded, "cpu", 2).score(clips[:2])
    Scorer(loaded, "cpu").score(clips[:1])
    assert seen == [LOWEST_PRIORITY, LOWEST_PRIORITY, own]
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (3, [3]), (7, [3, 3, 1])])
def test_the_model_sees_no_more_than_batch_clips_at_once(
    count: int, sizes: list[int], loaded: LoadedModel, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, forward = [], loaded.model.forward_full

    def noted(video: object, audio: object, *, video_mask: torch.Tensor, audio_mask: torch.Tensor) -> object:
        seen.append(len(video_mask))
        assert torch.is_inference_mode_enabled()
        return forward(video, audio, video_mask=video_mask, audio_mask=audio_mask)

    monkeypatch.setattr(loaded.model, "forward_full", noted)
    assert len(Scorer(loaded, "cpu").score(clips[:count])) == count
    assert seen == sizes


def test_on_the_cpu_nothing_is_rounded_to_bfloat16(
    loaded: LoadedModel, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, inside = loaded.model.forward_full, []

    def noted(*args: object, **masks: object) -> object:
        inside.append(torch.is_autocast_enabled("cpu"))
        return forward(*args, **masks)

    monkeypatch.setattr(loaded.model, "forward_full", noted)
    Scorer(loaded, "cpu").score(clips)
    assert not any(inside)


class TestRestoration:
    @pytest.fixture
    def noisy(self, make_clip: MakeClip) -> Clip:
        clip = make_clip(0, video=True, audio=False)
        assert clip.frames is not None
        grey = np.random.default_rng(0).normal(180, 12, clip.frames.shape)
        return replace(clip, frames=np.clip(grey, 0, 255).astype(np.uint8))

    def seen(self, loaded: LoadedModel, clip: Clip, least: str, tiny_config: MakeConfig) -> torch.Tensor:
        """What the model is given of a clip."""
        given: list[torch.Tensor] = []
        config = tiny_config(NO_RESTORATION, f"inference.restoration.most_noise={least}")
        with pytest.MonkeyPatch.context() as patch:
            forward = loaded.model.forward_full
            patch.setattr(
                loaded.model,
                "forward_full",
                lambda video, *rest, **more: given.append(video) or forward(video, *rest, **more),
            )
            Scorer(replace(loaded, config=config), "cpu").score([clip])
        return given[0][0].permute(0, 2, 3, 1)

    def test_the_model_does_not_see_it(self, loaded: LoadedModel, noisy: Clip, tiny_config: MakeConfig) -> None:
        assert noisy.frames is not None
        given = self.seen(loaded, noisy, "1.5", tiny_config).numpy()
        assert given.std() < noisy.frames.std() / 3
        assert np.array_equal(given[: len(noisy.frames)], denoised(noisy.frames, 1.5))

    @pytest.mark.parametrize("least", ["null", "200"])
    def test_it_stays_where_that_is_wanted_or_where_it_is_less(
        self, loaded: LoadedModel, noisy: Clip, tiny_config: MakeConfig, least: str
    ) -> None:
        assert noisy.frames is not None
        assert np.array_equal(self.seen(loaded, noisy, least, tiny_config)[: len(noisy.frames)], noisy.frames)

    def test_the_score_says_so(
        self, loaded: LoadedModel, noisy: Clip, clips: list[Clip], tiny_config: MakeConfig
    ) -> None:
        assert noisy.frames is not None
        config = tiny_config(NO_RESTORATION, "inference.restoration.most_noise=40")
        loud = replace(noisy, frames=np.random.default_rng(1).integers(0, 256, noisy.frames.shape, dtype=np.uint8))
        scores = Scorer(replace(loaded, config=config), "cpu").score([noisy, loud, clips[2]])
        assert [score.restored for score in scores] == [False, True, False]

    def test_the_clip_itself_keeps_it(self, loaded: LoadedModel, noisy: Clip, tiny_config: MakeConfig) -> None:
        """The contact sheet shows what was sent."""
        assert noisy.frames is not None
        before = noisy.frames.copy()
        self.seen(loaded, noisy, "1.5", tiny_config)
        assert np.array_equal(noisy.frames, before)


def test_calibration_moves_the_answer_and_leaves_its_parts(loaded: LoadedModel, clips: list[Clip]) -> None:
    plain = Scorer(loaded, "cpu").score(clips)
    calibrated = Scorer(replace(loaded, calibration=Calibration(scale=3.0, bias=-1.0)), "cpu").score(clips)
    for before, after, (video, audio) in zip(plain, calibrated, KINDS, strict=True):
        assert after.fake == pytest.approx(3.0 * before.fake - 1.0)
        if video and audio:
            assert (after.video, after.audio) == (before.video, before.audio)


def test_a_modality_that_is_alone_says_what_the_whole_says(loaded: LoadedModel, clips: list[Clip]) -> None:
    """Its own head would contradict the verdict: nobody calibrated it."""
    scorer = Scorer(replace(loaded, calibration=Calibration(scale=3.0, bias=-1.0)), "cpu")
    for score, (video, audio) in zip(scorer.score(clips), KINDS, strict=True):
        parts = {(True, False): (score.fake, None), (False, True): (None, score.fake)}
        assert (score.video, score.audio) == parts.get((video, audio), (score.video, score.audio))
        assert (score.fake in (score.video, score.audio)) == (not (video and audio))


def test_a_map_of_probabilities_for_each_of_the_clips_own_frames(loaded: LoadedModel, make_clip: MakeClip) -> None:
    """A short clip fills the window of the model by repeating its last frame; there is no map of the filler."""
    window = loaded.config.dataset.video.temporal_window
    clips = [make_clip(0, frames=count) for count in (window, 1, window - 1)]
    batch = to_batch(clips, loaded.config)
    odds = loaded.model.forward_full(batch.video, batch.audio, audio_mask=batch.audio_mask).heatmap
    assert odds is not None
    for score, clip, expected in zip(Scorer(loaded, "cpu").score(clips), clips, odds.sigmoid(), strict=True):
        assert clip.frames is not None
        assert score.heatmap is not None
        assert score.heatmap.dtype == np.float32
        assert score.heatmap == pytest.approx(expected[: len(clip.frames)].numpy(), abs=1e-5)


def test_a_clip_without_pictures_has_no_map(loaded: LoadedModel, clips: list[Clip]) -> None:
    assert [score.heatmap is not None for score in Scorer(loaded, "cpu").score(clips)] == [video for video, _ in KINDS]


def test_a_model_without_a_grid_gives_no_maps(
    loaded: LoadedModel, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = loaded.model.forward_full

    def without(*args: Any, **masks: Any) -> ModelOutput:
        return replace(forward(*args, **masks), heatmap=None)

    monkeypatch.setattr(loaded.model, "forward_full", without)
    assert [score.heatmap for score in Scorer(loaded, "cpu").score(clips)] == [None] * len(clips)


def test_maps_do_not_keep_their_batch_in_memory(loaded: LoadedModel, clips: list[Clip]) -> None:
    maps = [score.heatmap for score in Scorer(loaded, "cpu").score(clips)]
    assert all(one.base is None for one in maps if one is not None)


def test_a_score_without_its_map_is_the_same_score(loaded: LoadedModel, clips: list[Clip]) -> None:
    score = Scorer(loaded, "cpu").score(clips[:1])[0]
    bare = score.without_heatmap()
    assert bare.heatmap is None
    assert bare == score
    assert score.heatmap is not None


def test_a_clip_with_nothing_in_it_is_an_error(loaded: LoadedModel, clips: list[Clip], make_clip: MakeClip) -> None:
    with pytest.raises(ValueError, match=r"samples \[1\] have neither"):
        Scorer(loaded, "cpu").score([clips[0], make_clip(0, video=False, audio=False)])


def test_the_default_model_answers(make_clip: MakeClip) -> None:
    loaded = load_for_inference(None, load_config(env={}), "cpu")
    score = Scorer(loaded, "cpu").score([make_clip(0, frames=8, size=224)])[0]
    assert all(value is not None and math.isfinite(value) for value in as_numbers(score))


def test_a_score_travels_without_torch() -> None:
    score = ClipScore(fake=1.5, video=None, audio=-0.5)
    code = (
        "import pickle, sys; "
        f"score = pickle.loads({pickle.dumps(score)!r}); "
        "assert (score.fake, score.video, score.audio) == (1.5, None, -0.5); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_scores_are_those_of_the_cpu_to_bfloat16(tiny_config: MakeConfig, clips: list[Clip]) -> None:
    on_cpu = Scorer(load_for_inference(None, tiny_config(), "cpu"), "cpu").score(clips)
    on_cuda = Scorer(load_for_inference(None, tiny_config(), "cuda"), "cuda").score(clips)
    for one, other in zip(on_cpu, on_cuda, strict=True):
        assert as_numbers(other) == pytest.approx(as_numbers(one), abs=0.05)
