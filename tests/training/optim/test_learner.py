from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from aura_model.batch import Batch, to_batch
from aura_model.checkpoint import read_checkpoint, save_checkpoint
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.errors import CheckpointError, ConfigError
from aura_model.model_loading import load_for_inference
from training.optim.learner import Learner, amp_type
from training.targets import Targets

CPU = torch.device("cpu")
LABELS = [0, 1, 1, 0]
EVERYTHING = (
    "model.fusion.dropout=0.3",
    "training.ema_decay=0.9",
    "training.warmup_steps=5",
    "training.label_smoothing=0.1",
    "training.freeze={part: stem, epochs: 1}",
    "training.scheduler={name: plateau, patience: 0, factor: 0.5}",
)

Part = tuple[Batch, Targets]


def learner(config: Config, **more: Any) -> Learner:
    return Learner(config, CPU, lambda module: module, **more)


@pytest.fixture
def clips(make_clip: Callable[..., Clip]) -> list[Clip]:
    return [make_clip(0), make_clip(1), make_clip(2, audio=False), make_clip(3, video=False)]


@pytest.fixture
def part(config: Config, clips: list[Clip]) -> Part:
    return to_batch(clips, config), Targets(torch.tensor(LABELS))


@pytest.fixture
def halves(config: Config, clips: list[Clip]) -> list[Part]:
    """The same clips in unequal parts, the last of which has no pictures."""
    cuts = (slice(0, 3), slice(3, 4))
    return [(to_batch(clips[cut], config), Targets(torch.tensor(LABELS[cut]))) for cut in cuts]


def as_in_evaluation(module: nn.Module) -> nn.Module:
    """A wrapper that leaves batch normalisation to its running statistics, which do not depend on the parts."""
    module.eval()
    module.train = lambda mode=True: module  # type: ignore[method-assign]
    return module


def gradients(student: Learner) -> dict[str, Tensor]:
    return {name: one.grad.clone() for name, one in student.model.named_parameters() if one.grad is not None}


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=0, atol=0, msg=name)


# Steps


def test_the_loss_of_a_batch_falls_when_it_is_learned(make_config: Callable[..., Config], part: Part) -> None:
    student = learner(make_config("training.learning_rate=0.01", "training.warmup_steps=0"))
    losses = [float(student.step([part], [1.0])) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]
    assert student.steps == 12


def test_learned_clips_are_told_apart_by_their_logits(make_config: Callable[..., Config], part: Part) -> None:
    student = learner(make_config("training.learning_rate=0.01", "training.warmup_steps=0"))
    for _ in range(30):
        student.step([part], [1.0])
    student.model.video.train()  # what a step leaves; `logits` must not depend on it
    real, fake, _, _ = student.logits(part[0])
    assert real < fake


def test_the_seed_makes_the_model(make_config: Callable[..., Config], part: Part) -> None:
    first, again, other = (learner(make_config(f"seed={seed}")).logits(part[0]) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_evaluation_changes_nothing(config: Config, part: Part) -> None:
    student = learner(config)
    student.step([part], [1.0])
    before = weights(student.model)
    assert student.logits(part[0]) == student.logits(part[0])
    assert_same(weights(student.model), before)


def test_a_clip_scores_the_same_in_any_company(config: Config, clips: list[Clip], part: Part) -> None:
    student = learner(config)
    alone = [student.logits(to_batch([clip], config))[0] for clip in clips]
    assert student.logits(part[0]) == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("weight", [0.1, 0.5, 2.0])
def test_the_weight_scales_the_gradient_and_not_the_reported_loss(
    make_config: Callable[..., Config], part: Part, weight: float
) -> None:
    plain, weighted = (learner(make_config("training.gradient_clip=1e9")) for _ in range(2))
    assert float(plain.step([part], [1.0])) == float(weighted.step([part], [weight]))
    for name, gradient in gradients(weighted).items():
        torch.testing.assert_close(gradient, weight * gradients(plain)[name])


def test_parts_give_the_gradient_of_the_whole(
    make_config: Callable[..., Config], part: Part, halves: list[Part]
) -> None:
    consistent = "model.fusion.temporal_consistency_loss={enabled: true, weight: 0.5}"
    config = make_config("training.gradient_clip=1e9", consistent)
    one, two = (Learner(config, CPU, as_in_evaluation, (0.5, 1.5)) for _ in range(2))
    whole, summed = one.step([part], [1.0]), two.step(halves, [3 / 4, 1 / 4])
    torch.testing.assert_close(summed, whole)
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients(one).values())
    torch.testing.assert_close(gradients(two), gradients(one), rtol=1e-4, atol=1e-6)
    assert (one.steps, two.steps) == (1, 1)


def with_places(part: Part) -> Part:
    """The first frame's left half of the fakes was forged; of the last clip nothing is known."""
    batch, targets = part
    places = torch.zeros(4, 2, 16, 16)
    places[1:3, 0, :, :8] = 1
    return batch, Targets(targets.labels, places, torch.tensor([True, True, True, False]))


def test_the_heat_map_learns_the_places_that_are_known(make_config: Callable[..., Config], part: Part) -> None:
    student = learner(make_config("training.learning_rate=0.01", "training.warmup_steps=0"))
    batch, targets = with_places(part)
    losses = [float(student.step([(batch, targets)], [1.0])) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    heat = student.model.train().forward_full(batch.video, batch.audio, video_mask=batch.video_mask).heatmap
    assert heat is not None
    left, right = heat[1, 0, :, :1].mean(), heat[1, 0, :, 1:].mean()
    assert heat[0].mean() < left > right


@pytest.mark.parametrize(("weight", "places", "trained"), [(1.0, True, True), (0.0, True, False), (1.0, False, False)])
def test_places_train_the_heat_map_by_their_weight(
    make_config: Callable[..., Config], part: Part, weight: float, places: bool, trained: bool
) -> None:
    student = learner(make_config(f"training.place_loss_weight={weight}"))
    student.step([with_places(part) if places else part], [1.0])
    assert any(name.startswith("map_head.") for name in gradients(student)) == trained


@pytest.mark.parametrize("side", [32, 40])
def test_pictures_of_any_size_are_learned_from(
    make_config: Callable[..., Config], make_clip: Callable[..., Clip], side: int
) -> None:
    """As in the epochs of a low resolution; places keep their own."""
    small = replace(make_clip(0), frames=make_clip(0).frames[:, :side, :side])  # type: ignore[index]
    known = Targets(torch.tensor([1, 0]), torch.rand(2, 2, 32, 32), torch.tensor([True, True]))
    student = learner(make_config())
    assert student.step([(to_batch([small, small], student._config), known)], [1.0]).isfinite()


def test_it_returns_the_loss_summed_over_clips(config: Config, part: Part) -> None:
    """Of untrained heads with no weights: the logarithm of 2, also for each of a clip's modalities."""
    student = learner(config)
    for head in (student.model.head, student.model.video_head, student.model.audio_head):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    expected = torch.tensor(2.0).log() * (4 + 0.3 * (3 + 3))
    loss = student.step([part], [7.0])
    torch.testing.assert_close(loss, expected)
    assert not loss.requires_grad


def test_each_step_begins_without_the_gradient_of_the_last(make_config: Callable[..., Config], part: Part) -> None:
    student = Learner(make_config("training.learning_rate=1e-12", "training.gradient_clip=1e9"), CPU, as_in_evaluation)
    student.step([part], [1.0])
    first = gradients(student)
    student.step([part], [1.0])
    torch.testing.assert_close(gradients(student), first, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_once_for_all_parts(make_config: Callable[..., Config], halves: list[Part]) -> None:
    student = learner(make_config("training.gradient_clip=0.01"))
    student.step(halves, [0.75, 0.25])
    norms = [gradient.norm() for gradient in gradients(student).values()]
    assert float(torch.stack(norms).norm()) == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_no_number_is_returned_as_it_is(config: Config, part: Part) -> None:
    student = learner(config)
    nn.init.constant_(student.model.head.bias, torch.nan)
    assert student.step([part], [1.0]).isnan()


@pytest.mark.parametrize(("video", "audio"), [(True, False), (False, True)])
def test_a_batch_may_lack_a_modality(config: Config, make_clip: Callable[..., Clip], video: bool, audio: bool) -> None:
    student = learner(config)
    before = weights(student.model)
    batch = to_batch([make_clip(0, video, audio), make_clip(1, video, audio)], config)
    assert student.step([(batch, Targets(torch.tensor([0, 1])))], [1.0]).isfinite()
    assert any(not torch.equal(before[name], value) for name, value in student.model.state_dict().items())


def test_a_step_that_weighs_nothing_leaves_running_statistics_alone(
    make_config: Callable[..., Config], part: Part
) -> None:
    """A worker that has run out of clips steps along on a blank one."""
    student = learner(make_config())
    means = {name: value.clone() for name, value in student.model.named_buffers() if "running" in name}
    assert means
    student.step([part], [0.0])
    assert not any(gradient.any() for gradient in gradients(student).values())
    assert_same({name: dict(student.model.named_buffers())[name] for name in means}, means)
    student.step([part], [1.0])
    assert any((dict(student.model.named_buffers())[name] != value).any() for name, value in means.items())


def test_class_weights_scale_the_gradient_of_their_class(make_config: Callable[..., Config], clips: list[Clip]) -> None:
    config = make_config("training.gradient_clip=1e9")
    fake = to_batch(clips[:1], config), Targets(torch.tensor([1]))
    plain, weighted = (Learner(config, CPU, as_in_evaluation, pair) for pair in ((1.0, 1.0), (9.0, 0.5)))
    torch.testing.assert_close(weighted.step([fake], [1.0]), 0.5 * plain.step([fake], [1.0]))
    for name, gradient in gradients(weighted).items():
        torch.testing.assert_close(gradient, 0.5 * gradients(plain)[name])


def test_labels_are_smoothed(make_config: Callable[..., Config], clips: list[Clip]) -> None:
    """A certain and right answer costs nothing without smoothing, and something with it."""
    sure = torch.tensor([-20.0, 20.0])
    losses = []
    for share in (0.0, 0.2):
        student = learner(make_config(f"training.label_smoothing={share}", "training.modality_loss_weight=0"))
        nn.init.zeros_(student.model.head.weight)
        student.model.head.bias.data.copy_(sure)
        fakes = Targets(torch.ones(4, dtype=torch.int64))
        losses.append(float(student.step([(to_batch(clips, student._config), fakes)], [1.0])))
    assert losses == pytest.approx([0.0, 4 * 0.1 * 40], abs=1e-4)


def test_weights_decay(make_config: Callable[..., Config], part: Part) -> None:
    config = make_config("training.learning_rate=0.1", "training.weight_decay=0.5", "training.warmup_steps=0")
    student = learner(config)
    before = student.model.head.weight.detach().clone()
    student.step([part], [0.0])
    torch.testing.assert_close(student.model.head.weight.detach(), before * (1 - 0.1 * 0.5))


# Weights to start with


def test_a_run_starts_with_the_weights_of_a_checkpoint(
    make_config: Callable[..., Config], part: Part, tmp_path: Path
) -> None:
    first = learner(make_config("seed=1", "training.ema_decay=0.5", "training.learning_rate=0.1"))
    first.step([part], [1.0])
    first.save(tmp_path / "a.pth", 1, {})
    second = learner(make_config("seed=2", f"training.start_from={tmp_path / 'a.pth'}", "training.ema_decay=0.9"))
    second.begin_epoch(1)
    assert_same(weights(second.model), weights(first.evaluated))
    assert_same(weights(second.evaluated), weights(first.evaluated))
    assert second.steps == 0
    assert second.optimizer.state_dict()["state"] == {}
    assert not set(weights(learner(make_config("seed=2")).model)) - set(weights(second.model))


def test_a_checkpoint_that_is_served_will_do_to_start_with(
    make_config: Callable[..., Config], config: Config, tmp_path: Path
) -> None:
    first = learner(config)
    save_checkpoint(tmp_path / "a.pth", first.model, config, 1, {})
    second = learner(make_config("seed=2", f"training.start_from={tmp_path / 'a.pth'}"))
    second.begin_epoch(1)
    assert_same(weights(second.model), weights(first.model))


def test_a_resumed_run_goes_on_with_its_own_weights(
    make_config: Callable[..., Config], part: Part, tmp_path: Path
) -> None:
    """The file that it started from is not looked at again, and may be gone."""
    config = make_config(f"training.start_from={tmp_path / 'start.pth'}")
    learner(make_config("seed=1")).save(tmp_path / "start.pth", 1, {})
    first = learner(config)
    first.begin_epoch(1)
    first.step([part], [1.0])
    first.save(tmp_path / "a.pth", 1, {})
    (tmp_path / "start.pth").unlink()
    second = learner(config)
    second.restore(read_checkpoint(tmp_path / "a.pth"))
    second.begin_epoch(2)
    assert_same(weights(second.model), weights(first.model))


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "checkpoint_missing"), (b"no checkpoint", "checkpoint_damaged"), ("other", "checkpoint_damaged")],
)
def test_a_file_that_cannot_be_started_from_is_refused(
    make_config: Callable[..., Config], tmp_path: Path, content: bytes | str | None, code: str
) -> None:
    path = tmp_path / "a.pth"
    if content == "other":
        learner(make_config("model.fusion.hidden_dim=24")).save(path, 1, {})
    elif isinstance(content, bytes):
        path.write_bytes(content)
    student = learner(make_config(f"training.start_from={path}"))
    with pytest.raises(CheckpointError) as caught:
        student.begin_epoch(1)
    assert caught.value.code == code
    assert str(path) in caught.value.detail


# The wrapper


class Wrapper(nn.Module):
    """Stands for a data-parallel wrapper; notes what happens to it."""

    def __init__(self, module: nn.Module, notes: list[str]) -> None:
        super().__init__()
        self.module, self.notes = module, notes
        self.trainable = sum(one.requires_grad for one in module.parameters())

    def forward(self, batch: Batch, targets: Targets) -> Tensor:
        self.notes.append("forward")
        loss: Tensor = self.module(batch, targets)
        loss.register_hook(lambda _: self.notes.append("backward"))
        return loss

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        self.notes.append("alone")
        yield
        self.notes.append("together")


def test_only_the_last_part_is_synchronised(config: Config, part: Part) -> None:
    notes: list[str] = []
    student = Learner(config, CPU, lambda module: Wrapper(module, notes))
    student.step([part], [1.0])
    assert notes == ["forward", "backward"]
    notes.clear()
    student.step([part] * 3, [1 / 3] * 3)
    assert notes == ["alone", "forward", "backward", "together"] * 2 + ["forward", "backward"]


def test_evaluation_does_not_go_through_the_wrapper(config: Config, part: Part) -> None:
    notes: list[str] = []
    Learner(config, CPU, lambda module: Wrapper(module, notes)).logits(part[0])
    assert notes == []


def test_the_wrapper_is_made_while_nothing_is_frozen(make_config: Callable[..., Config]) -> None:
    """A data-parallel one leaves out for ever what wants no gradient when it is made."""
    made: list[Wrapper] = []

    def wrap(module: nn.Module) -> nn.Module:
        made.append(Wrapper(module, []))
        return made[0]

    student = Learner(make_config("training.freeze={part: backbone, epochs: null}"), CPU, wrap)
    student.begin_epoch(1)
    assert made[0].trainable == len(list(student.model.parameters()))


# Learning rate, averaging, freezing


def test_the_rate_warms_up_and_falls_by_epoch(make_config: Callable[..., Config], part: Part) -> None:
    scheduler = "training.scheduler={name: cosine_restarts, period: 2, floor: 0}"
    student = learner(make_config("training.learning_rate=0.1", "training.warmup_steps=2", scheduler))
    rates, used = [], []
    step = student.optimizer.step

    def spy(*args: Any, **kwargs: Any) -> Any:
        used.append(student.optimizer.param_groups[0]["lr"])
        return step(*args, **kwargs)

    with patch.object(student.optimizer, "step", spy):
        for epoch in (1, 2, 3):
            student.begin_epoch(epoch)
            rates.append(student.learning_rate)
            student.step([part], [1.0])
            student.end_epoch(None)
    assert rates == used == pytest.approx([0.05, 0.05, 0.1])


def test_a_plateau_of_the_monitored_figure_lowers_the_rate(make_config: Callable[..., Config], part: Part) -> None:
    scheduler = "training.scheduler={name: plateau, patience: 0, factor: 0.5}"
    student = learner(make_config("training.learning_rate=0.1", "training.warmup_steps=0", scheduler))
    student.step([part], [1.0])
    for figure, expected in [(0.5, 0.1), (None, 0.1), (0.6, 0.1), (0.6, 0.05)]:
        student.end_epoch(figure)
        assert student.learning_rate == pytest.approx(expected)


def test_the_average_is_evaluated_and_the_model_trained(make_config: Callable[..., Config], part: Part) -> None:
    student = learner(make_config("training.ema_decay=0.5", "training.learning_rate=0.1", "training.warmup_steps=0"))
    expected = weights(student.model)
    for steps in range(3):
        student.step([part], [1.0])
        share = 1 - min(0.5, (1 + steps) / (10 + steps))
        for name, value in student.model.state_dict().items():
            expected[name] = expected[name].lerp(value, share) if value.is_floating_point() else value.clone()
    torch.testing.assert_close(weights(student.evaluated), expected)
    before = student.logits(part[0])
    for parameter in student.model.parameters():
        nn.init.zeros_(parameter)
    assert student.logits(part[0]) == before


def test_without_an_average_the_model_itself_is_evaluated(config: Config) -> None:
    student = learner(config)
    assert student.evaluated is student.model


@pytest.mark.parametrize("frozen", ["stem", "backbone"])
def test_what_is_frozen_stays_as_it_was_until_it_is_let_go(
    make_config: Callable[..., Config], part: Part, frozen: str
) -> None:
    student = learner(make_config(f"training.freeze={{part: {frozen}, epochs: 1}}", "training.learning_rate=0.1"))
    prefixes = ("conv_stem", "bn1", "blocks.0.") if frozen == "stem" else ("",)
    net = student.model.video.backbone.net
    before = weights(net)
    student.begin_epoch(1)
    student.step([part], [1.0])
    same = {name for name, value in net.state_dict().items() if torch.equal(value, before[name])}
    assert same == {name for name in before if name.startswith(prefixes)}
    student.begin_epoch(2)
    student.step([part], [1.0])
    assert not any(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_stem_that_is_not_known_is_refused_when_the_learner_is_built(make_config: Callable[..., Config]) -> None:
    with patch("training.optim.freezing.group_parameters", lambda *_: {0: []}), pytest.raises(ConfigError):
        learner(make_config("training.freeze={part: stem, epochs: null}"))


# Memory format, compilation, precision


def formats(student: Learner, run: Callable[[], object]) -> set[bool]:
    """Whether the maps that the convolutions of the backbone take in are channels-last; one place alone is both."""
    seen: list[Tensor] = []
    net = student.model.video.backbone.net
    hooks = [one.register_forward_pre_hook(lambda _, x: seen.append(x[0])) for one in net.modules() if is_wide(one)]
    run()
    for hook in hooks:
        hook.remove()
    maps = [one for one in seen if one.shape[2] > 1]
    assert len(maps) > 5
    return {one.is_contiguous(memory_format=torch.channels_last) for one in maps}


def is_wide(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.in_channels > 1


def test_channels_last_is_the_format_of_weights_and_of_what_flows(
    make_config: Callable[..., Config], part: Part
) -> None:
    for wanted in (True, False):
        student = learner(make_config(f"training.channels_last={str(wanted).lower()}"))
        kernels = [one.weight for one in student.model.video.backbone.net.modules() if isinstance(one, nn.Conv2d)]
        square = [one for one in kernels if one.shape[1] > 1 and one.shape[2] > 1]
        assert {one.is_contiguous(memory_format=torch.channels_last) for one in square} == {wanted}
        assert formats(student, lambda student=student: student.step([part], [1.0])) == {wanted}
        assert formats(student, lambda student=student: student.logits(part[0])) == {wanted}


def test_the_memory_format_changes_no_result(make_config: Callable[..., Config], part: Part) -> None:
    last, first = (
        Learner(make_config(f"training.channels_last={value}"), CPU, as_in_evaluation) for value in ("true", "false")
    )
    torch.testing.assert_close(last.step([part], [1.0]), first.step([part], [1.0]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradients(last), gradients(first), rtol=1e-4, atol=1e-4)
    assert last.logits(part[0]) == pytest.approx(first.logits(part[0]), abs=1e-4)


def test_compiled_encoders_train_and_evaluate_under_the_same_names(
    make_config: Callable[..., Config], part: Part
) -> None:
    calls: list[bool] = []

    def compiler(call: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def compiled(*args: Any) -> Any:
            calls.append(torch.is_grad_enabled())
            return call(*args)

        return compiled

    plain = learner(make_config("training.ema_decay=0.5"))
    with patch("torch.compile", compiler):
        student = learner(make_config("training.ema_decay=0.5", "training.compile=true"))
    assert student.model.state_dict().keys() == plain.model.state_dict().keys()
    assert student.evaluated.state_dict().keys() == plain.model.state_dict().keys()
    assert float(student.step([part], [1.0])) == float(plain.step([part], [1.0]))
    assert calls == [True, True]
    assert student.logits(part[0]) == plain.logits(part[0])
    assert calls == [True, True, False, False]


@pytest.mark.parametrize(
    ("device", "bfloat16", "expected"),
    [("cpu", True, None), ("cuda", True, torch.bfloat16), ("cuda", False, torch.float16)],
)
def test_mixed_precision_is_for_gpus_only(device: str, bfloat16: bool, expected: torch.dtype | None) -> None:
    with patch("torch.cuda.is_bf16_supported", lambda including_emulation: bfloat16):
        assert amp_type(torch.device(device)) is expected


@pytest.fixture
def half(make_config: Callable[..., Config]) -> Iterator[Callable[[], Learner]]:
    """Makes learners in float16 with a scaler, which also runs on the CPU."""
    config = make_config("training.learning_rate=0.01", "training.warmup_steps=0", "training.gradient_clip=0.01")
    with patch("training.optim.learner.amp_type", lambda device: torch.float16):
        yield lambda: learner(config)


def test_float16_learns(half: Callable[[], Learner], part: Part) -> None:
    student = half()
    losses = [float(student.step([part], [1.0])) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]


def test_float16_clips_the_gradient_after_it_is_unscaled(half: Callable[[], Learner], part: Part) -> None:
    student = half()
    student.step([part], [1.0])
    norms = [gradient.norm() for gradient in gradients(student).values()]
    assert float(torch.stack(norms).norm()) == pytest.approx(0.01, rel=1e-2)


def test_float16_skips_a_step_whose_gradient_overflows(half: Callable[[], Learner], part: Part) -> None:
    student = half()
    student.step([part], [1.0])
    before = [parameter.clone() for parameter in student.model.parameters()]
    student.step([part], [torch.inf])
    assert all(torch.equal(*pair) for pair in zip(before, student.model.parameters(), strict=True))


def test_the_scale_of_float16_outlives_a_resume(half: Callable[[], Learner], part: Part, tmp_path: Path) -> None:
    first, second = half(), half()
    for weight in (1.0, torch.inf, 1.0):
        first.step([part], [weight])
    first.save(tmp_path / "a.pth", 1, {})
    second.restore(read_checkpoint(tmp_path / "a.pth"))
    assert second._scaler.state_dict() == first._scaler.state_dict()
    assert second._scaler.get_scale() == 2.0**15
    assert float(second.step([part], [1.0])) == float(first.step([part], [1.0]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, None])
def test_a_gpu_learns_too(
    make_config: Callable[..., Config], part: Part, tmp_path: Path, precision: torch.dtype | None
) -> None:
    config = make_config("training.learning_rate=0.01", "training.warmup_steps=0", "training.ema_decay=0.5")
    with patch("training.optim.learner.amp_type", lambda device: precision):
        student, resumed = (Learner(config, torch.device("cuda"), lambda module: module) for _ in range(2))
    losses = [float(student.step([part], [1.0])) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]
    student.save(tmp_path / "a.pth", 1, {})
    resumed.restore(read_checkpoint(tmp_path / "a.pth"))
    assert resumed.logits(part[0]) == student.logits(part[0])
    assert float(resumed.step([part], [1.0])) == pytest.approx(float(student.step([part], [1.0])), abs=0.05)


# Resuming


def epoch_of_steps(student: Learner, epoch: int, parts: Sequence[Part]) -> list[float]:
    """Three steps of two forward passes, and a figure that a plateau is seen by from the second epoch on."""
    torch.manual_seed(epoch)
    student.begin_epoch(epoch)
    losses = [float(student.step(parts, [0.75, 0.25])) for _ in range(3)]
    student.end_epoch(0.5)
    return losses


@pytest.mark.parametrize("settings", [EVERYTHING, (), ("training.scheduler.name=constant",)])
@pytest.mark.parametrize("done", [1, 2])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(
    make_config: Callable[..., Config], halves: list[Part], tmp_path: Path, settings: tuple[str, ...], done: int
) -> None:
    config = make_config(*settings)
    straight, first, second = (learner(config, class_weights=(0.5, 1.5)) for _ in range(3))
    expected = [epoch_of_steps(straight, epoch, halves) for epoch in (1, 2, 3, 4)]
    found = [epoch_of_steps(first, epoch, halves) for epoch in range(1, done + 1)]
    first.save(tmp_path / "a.pth", done, {"auc": 0.5})
    second.restore(read_checkpoint(tmp_path / "a.pth"))
    assert second.learning_rate == first.learning_rate
    found += [epoch_of_steps(second, epoch, halves) for epoch in range(done + 1, 5)]
    assert found == expected
    assert_same(weights(second.model), weights(straight.model))
    assert_same(weights(second.evaluated), weights(straight.evaluated))
    assert (second.steps, second.learning_rate) == (straight.steps, straight.learning_rate)
    assert second.logits(halves[0][0]) == straight.logits(halves[0][0])


def test_the_saved_model_is_the_evaluated_one_and_is_served(
    make_config: Callable[..., Config], part: Part, tmp_path: Path
) -> None:
    config = make_config("training.ema_decay=0.5", "training.learning_rate=0.1")
    student = learner(config)
    student.step([part], [1.0])
    student.save(tmp_path / "a.pth", 4, {"auc": 0.5})
    checkpoint = read_checkpoint(tmp_path / "a.pth")
    assert (checkpoint.epoch, checkpoint.metrics) == (4, {"auc": 0.5})
    assert_same(dict(checkpoint.model_state_dict), weights(student.evaluated))
    assert checkpoint.training_state_dict is not None
    assert_same(checkpoint.training_state_dict["weights"], weights(student.model))
    served = load_for_inference(tmp_path / "a.pth", config, "cpu").model
    batch = part[0]
    logits = served(batch.video, batch.audio, video_mask=batch.video_mask, audio_mask=batch.audio_mask)
    assert (logits[:, 1] - logits[:, 0]).tolist() == pytest.approx(student.logits(batch), abs=1e-4)


@pytest.mark.parametrize(("before", "after"), [("null", "0.5"), ("0.5", "null")])
def test_averaging_may_begin_or_end_with_a_resume(
    make_config: Callable[..., Config], part: Part, tmp_path: Path, before: str, after: str
) -> None:
    first, second = (learner(make_config(f"training.ema_decay={decay}")) for decay in (before, after))
    first.step([part], [1.0])
    first.save(tmp_path / "a.pth", 1, {})
    second.restore(read_checkpoint(tmp_path / "a.pth"))
    assert_same(weights(second.model), weights(first.model))
    assert_same(weights(second.evaluated), weights(first.evaluated if after != "null" else first.model))


def refused(student: Learner, path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        student.restore(read_checkpoint(path))
    assert str(path) in caught.value.detail
    return caught.value


@pytest.mark.parametrize(
    "other",
    [
        "model.fusion.hidden_dim=24",
        "model.fusion.strategy=attention",
        "model.video.backbone=test_resnet",
        "model.video.temporal=temporal_conv",
    ],
)
def test_another_architecture_is_foreign(make_config: Callable[..., Config], tmp_path: Path, other: str) -> None:
    student = learner(make_config())
    before = weights(student.model)
    learner(make_config(other)).save(tmp_path / "a.pth", 1, {})
    error = refused(student, tmp_path / "a.pth")
    assert (error.code, "architecture" in error.detail) == ("checkpoint_foreign", True)
    assert_same(weights(student.model), before)


def test_another_scheduler_is_foreign(make_config: Callable[..., Config], tmp_path: Path) -> None:
    learner(make_config("training.scheduler.name=plateau")).save(tmp_path / "a.pth", 1, {})
    error = refused(learner(make_config()), tmp_path / "a.pth")
    assert (error.code, "training.scheduler.name" in error.detail) == ("checkpoint_foreign", True)


def test_a_served_checkpoint_holds_no_training(config: Config, tmp_path: Path) -> None:
    student = learner(config)
    save_checkpoint(tmp_path / "a.pth", student.model, config, 1, {})
    assert refused(student, tmp_path / "a.pth").code == "checkpoint_foreign"


@pytest.mark.parametrize(
    "change",
    [
        {"training_state_dict": {}},
        {"training_state_dict": {"steps": 1, "weights": {"a": torch.ones(1)}, "scaler": {}}},
        {"optimizer_state_dict": {"state": {}, "param_groups": []}},
        {"optimizer_state_dict": {}},
    ],
    ids=["nothing", "weights", "groups", "optimiser"],
)
def test_a_training_state_that_fits_nothing_is_damaged(config: Config, tmp_path: Path, change: dict[str, Any]) -> None:
    student = learner(config)
    student.save(tmp_path / "a.pth", 1, {})
    torch.save(torch.load(tmp_path / "a.pth", weights_only=True) | change, tmp_path / "a.pth")
    assert refused(student, tmp_path / "a.pth").code == "checkpoint_damaged"


def test_weights_that_are_not_finite_are_damaged(config: Config, tmp_path: Path) -> None:
    student = learner(config)
    nn.init.constant_(student.model.head.bias, torch.inf)
    student.save(tmp_path / "a.pth", 1, {})
    assert refused(student, tmp_path / "a.pth").code == "checkpoint_damaged"
