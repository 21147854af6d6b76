import copy
import json
import os
import pickle
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from aura_model.augment.families import FAMILIES, HELD_OUT, PROBES
from aura_model.config import PACKAGED_CHECKPOINT, Config, Family, LoggingConfig
from aura_model.errors import ConfigError
from aura_model.settings import DEFAULTS, load_config, parse_config, read_yaml

TREE: dict[str, Any] = yaml.safe_load(DEFAULTS.read_text())
MAPPINGS = {("dataset", "pseudo_fakes", name) for name in ("families", "generated")}
"""Keys whose value is a mapping, and no section."""


def sections(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each section, the root first."""
    yield path
    for key, value in tree.items():
        if isinstance(value, dict) and (*path, key) not in MAPPINGS:
            yield from sections(value, (*path, key))


def leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if isinstance(value, dict) and (*path, key) not in MAPPINGS:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def at(config: BaseModel, path: tuple[str, ...]) -> Any:
    node: Any = config
    for part in path:
        node = node.json_lines if part == "json" else getattr(node, part)
    return node


def nest(path: tuple[str, ...], value: object) -> dict[str, Any]:
    for part in reversed(path):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def refusal(*overrides: str, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=overrides, env={}, **more)
    assert caught.value.code == "invalid_config"
    return caught.value.detail


# --- defaults ----------------------------------------------------------------------------------------------------


def keys_of(model: type[BaseModel]) -> dict[str, Any]:
    found = {}
    for name, field in model.model_fields.items():
        section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        found[field.alias or name] = keys_of(field.annotation) if section else None  # type: ignore[arg-type]
    return found


def keys_in(tree: object, path: tuple[str, ...] = ()) -> Any:
    if not isinstance(tree, dict) or path in MAPPINGS:
        return None
    return {key: keys_in(value, (*path, key)) for key, value in tree.items()}


def test_the_defaults_file_has_every_key_and_no_other_in_the_same_order() -> None:
    assert json.dumps(keys_in(TREE)) == json.dumps(keys_of(Config))


def test_no_field_has_a_default_outside_the_file() -> None:
    def required(model: type[BaseModel]) -> bool:
        return all(
            field.is_required()
            and (
                not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel))
                or required(field.annotation)
            )
            for field in model.model_fields.values()
        )

    assert required(Config)


@pytest.mark.parametrize("path", list(leaves(TREE)), ids=".".join)
def test_a_default_is_the_files(path: tuple[str, ...]) -> None:
    value = at(load_config(env={}), path)
    expected: Any = TREE
    for part in path:
        expected = expected[part]
    plain = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
    assert plain == expected


def test_a_clips_length_in_seconds_and_samples() -> None:
    config = load_config(overrides=["dataset.video.temporal_window=12", "dataset.video.frame_rate=8"], env={})
    assert config.dataset.video.clip_seconds == 1.5
    assert config.dataset.video.clip_samples == 24_000


# --- precedence --------------------------------------------------------------------------------------------------


def test_command_line_then_environment_then_settings_then_file_then_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training: {epochs: 1, batch_size: 1, num_workers: 1, gradient_clip: 11}\n")
    settings = {"training": {"epochs": 2, "batch_size": 2, "num_workers": 2}}
    env = {"AURA_TRAINING__EPOCHS": "3", "AURA_TRAINING__BATCH_SIZE": "3"}
    config = load_config(file, settings=settings, env=env, overrides=["training.epochs=4"]).training
    assert (config.epochs, config.batch_size, config.num_workers, config.gradient_clip) == (4, 3, 2, 11)
    assert config.weight_decay == TREE["training"]["weight_decay"]


def test_the_last_override_wins() -> None:
    assert load_config(overrides=["seed=1", "seed=2"], env={}).seed == 2


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("AURA_SEED", "7", ("seed",), 7),
        ("AURA_DATASET__FACE__SIZE", "112", ("dataset", "face", "size"), 112),
        ("AURA_DATASET__VIDEO__CLIPS_PER_VIDEO__EVAL", "9", ("dataset", "video", "clips_per_video", "eval"), 9),
        ("AURA_LOGGING__JSON", "false", ("logging", "json"), False),
        ("AURA_INFERENCE__CHECKPOINT", "a b/c=d.pth", ("inference", "checkpoint"), Path("a b/c=d.pth")),
        ("AURA_INFERENCE__CHECKPOINT", "null", ("inference", "checkpoint"), None),
        ("AURA_INFERENCE__CHECKPOINT", "default", ("inference", "checkpoint"), "default"),
        ("AURA_INFERENCE__UNCERTAIN_BAND", "[0.1, 0.2]", ("inference", "uncertain_band"), (0.1, 0.2)),
        ("AURA_TRAINING__LEARNING_RATE", "1e-4", ("training", "learning_rate"), 1e-4),
        ("AURA_DATASET__MANIFEST", "", ("dataset", "manifest"), None),
    ],
)
def test_environment_and_overrides_set_any_key(name: str, text: str, path: tuple[str, ...], value: object) -> None:
    assert at(load_config(env={name: text}), path) == value
    assert at(load_config(env={}, overrides=[f"{'.'.join(path)}={text}"]), path) == value


@pytest.mark.parametrize("name", ["AURA_INSECURE", "AURA", "AURA_", "aura_seed", "XAURA_SEED", "LOG_DIR", "SEED"])
def test_other_environment_variables_are_left_alone(name: str) -> None:
    assert load_config(env={name: "1"}) == load_config(env={})


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_an_empty_variable_is_one_that_is_not_set(text: str) -> None:
    """As `${CHECKPOINT}` gives one where nobody set it: no reason to serve an untrained model."""
    env = {"AURA_INFERENCE__CHECKPOINT": text, "AURA_SEED": text}
    assert load_config(env=env) == load_config(env={})
    assert load_config(env=env, settings={"inference": {"checkpoint": "default"}}).inference.checkpoint == "default"


def test_a_misspelt_environment_key_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.face\.sise: unknown key; allowed here: detect, detector"):
        load_config(env={"AURA_DATASET__FACE__SISE": "1"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AURA_")]:
        monkeypatch.delenv(name)
    return tmp_path


def test_dotenv_of_the_working_folder_lies_below_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text(
        "AURA_SEED=5\nexport AURA_TRAINING__EPOCHS='6'\n# AURA_TRAINING__BATCH_SIZE=9\nEMPTY\n"
    )
    monkeypatch.setenv("AURA_SEED", "4")
    config = load_config()
    assert (config.seed, config.training.epochs) == (4, 6)
    assert config.training.batch_size == TREE["training"]["batch_size"]
    assert "AURA_TRAINING__EPOCHS" not in os.environ


def test_dotenv_of_a_folder_above_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("AURA_SEED=5\n")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert load_config().seed == TREE["seed"]


def test_a_given_environment_is_the_only_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("AURA_SEED=5\n")
    monkeypatch.setenv("AURA_SEED", "4")
    assert load_config(env={}).seed == TREE["seed"]


def test_a_binary_dotenv_is_a_config_error(folder: Path) -> None:
    (folder / ".env").write_bytes(b"\xff\xfe\x00AURA_SEED=1")
    with pytest.raises(ConfigError, match=r"cannot read \.env"):
        load_config()


def test_aura_config_names_the_file_unless_one_is_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.yaml").write_text("seed: 1")
    (folder / "b.yaml").write_text("seed: 2")
    monkeypatch.setenv("AURA_CONFIG", "a.yaml")
    assert load_config().seed == 1
    assert load_config(Path("b.yaml")).seed == 2
    (folder / ".env").write_text("AURA_CONFIG=b.yaml")
    assert load_config().seed == 1
    monkeypatch.delenv("AURA_CONFIG")
    assert load_config().seed == 2
    assert load_config(env={"AURA_CONFIG": ""}).seed == TREE["seed"]


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", list(sections(TREE)), ids=lambda path: ".".join(path) or "root")
def test_an_unknown_key_is_named_with_what_is_allowed(path: tuple[str, ...]) -> None:
    allowed: Any = TREE
    for part in path:
        allowed = allowed[part]
    key = ".".join((*path, "nonsense"))
    expected = f"{key}: unknown key; allowed here: {', '.join(allowed)}"
    assert refusal(f"{key}=1") == expected
    assert refusal(settings=nest((*path, "nonsense"), {"deeper": 1})) == expected


def test_a_field_is_known_by_its_key_only() -> None:
    assert refusal("logging.json_lines=true") == "logging.json_lines: unknown key; allowed here: level, json, log_file"


def test_all_faults_are_told_at_once() -> None:
    detail = refusal("seed=-1", "training.epochs=x", "dataset.nonsense=1")
    assert all(f"{key}: " in detail for key in ("seed", "training.epochs", "dataset.nonsense"))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("dataset.face.detector=yolo", ["'retinaface', 'mtcnn' or 'center_crop'", "'yolo'"]),
        ("dataset.video.clip_sampling_strategy=all", ["'random', 'uniform' or 'start_at'"]),
        ("dataset.preprocessing.mode=none", ["'on_the_fly' or 'preextracted'"]),
        ("model.video.temporal=lstm", ["'avg_pool', 'temporal_conv' or 'transformer'"]),
        ("model.fusion.strategy=sum", ["'concat', 'attention' or 'cross_modal'"]),
        ("model.audio.sample_rate=44100", ["16000", "44100"]),
        ("model.num_classes=3", ["2", "3"]),
        ("inference.device=tpu", ["'auto', 'cpu' or 'cuda'"]),
        ("logging.level=info", ["'TRACE', 'DEBUG', 'INFO'", "'info'"]),
        ("seed=-1", ["greater than or equal to 0", "-1"]),
        ("seed=4294967296", ["less than 4294967296"]),
        ("dataset.video.temporal_window=65", ["less than or equal to 64", "65"]),
        ("dataset.video.frame_rate=0", ["greater than 0"]),
        ("dataset.face.threshold=1.5", ["less than or equal to 1"]),
        ("dataset.face.threshold=.nan", ["nan"]),
        ("training.learning_rate=.inf", ["finite"]),
        ("model.fusion.dropout=1", ["less than 1"]),
        ("model.fusion.hidden_dim=12", ["multiple of 8"]),
        ("training.epochs=1.5", ["integer", "1.5"]),
        ("training.epochs=", ["integer", "None"]),
        ("dataset.face.detect=maybe", ["boolean", "'maybe'"]),
        ("dataset=3", ["dictionary", "3"]),
        ("dataset.video=[1]", ["dictionary"]),
        ("inference.uncertain_band=[0.6, 0.4]", ["low <= high"]),
        ("inference.uncertain_band=[0.6]", ["required"]),
        ("inference.operating_point=lax", ["screening", "balanced", "strict"]),
        ("inference.operating_point=null", ["screening", "balanced", "strict"]),
        ("dataset.augmentation.jpeg={range: [100, 60]}", ["low <= high"]),
        ("dataset.pseudo_fakes.families={face_swap: 1}", ["face_swap", "'self_blend', 'mouth_swap'"]),
        ("dataset.pseudo_fakes.families={donor_blend: 1}", ["donor_blend", "'self_blend', 'mouth_swap'"]),
        ("dataset.pseudo_fakes.families={null_blend: 1}", ["null_blend"]),
        ("dataset.pseudo_fakes.generated={self_blend: 1}", ["self_blend", "'generated_person' or 'generated_swap'"]),
        ("dataset.pseudo_fakes.generated={generated_person: 0, generated_swap: 0}", ["at least one family"]),
        ("dataset.pseudo_fakes.families={self_blend: -1}", ["greater than or equal to 0"]),
        ("dataset.pseudo_fakes.families={self_blend: 0}", ["at least one family"]),
        ("dataset.pseudo_fakes.pairs.train=0", ["greater than 0"]),
        ("dataset.pseudo_fakes.size=63", ["greater than or equal to 64"]),
        ("dataset.pseudo_fakes.margin=2.1", ["less than or equal to 2"]),
        ("training.place_loss_weight=-1", ["greater than or equal to 0"]),
        ("training.low_resolution.epochs=-1", ["greater than or equal to 0"]),
        ("training.low_resolution.size=31", ["greater than or equal to 32"]),
        ("training.threads=0", ["greater than 0"]),
    ],
)
def test_a_bad_value_is_told_with_what_is_allowed(override: str, told: list[str]) -> None:
    detail = refusal(override)
    key = override.partition("=")[0]
    assert detail.startswith(key.rsplit(".", 1)[0])
    for part in told:
        assert part in detail


def test_the_families_of_the_configuration_are_those_that_may_be_trained_on() -> None:
    """It cannot ask `aura_model.augment`, which brings torch."""
    of_sound = {"copy_synthesis", "desync"}
    assert set(get_args(Family)) == set(FAMILIES) - HELD_OUT - PROBES - of_sound


def test_families_are_added_to_those_of_the_layer_below() -> None:
    given = ["dataset.pseudo_fakes.families={mouth_swap: 2}", "dataset.pseudo_fakes.families.eyes_swap=0.5"]
    families = load_config(env={}, overrides=given).dataset.pseudo_fakes.families
    assert families == {"self_blend": 1.0, "mouth_swap": 2.0, "eyes_swap": 0.5}


@pytest.mark.parametrize("batch_size", [1, 7])
def test_a_batch_that_would_part_a_pair_is_refused(batch_size: int) -> None:
    odd = f"training.batch_size={batch_size}"
    detail = refusal("dataset.pseudo_fakes.enabled=true", odd)
    assert "training.batch_size must be even" in detail
    assert detail.startswith("training.batch_size")  # and not with all of the configuration
    assert "dataset.pseudo_fakes" in detail
    assert load_config(env={}, overrides=[odd]).training.batch_size == batch_size
    assert load_config(env={}, overrides=["dataset.pseudo_fakes.enabled=true"]).training.batch_size % 2 == 0


@pytest.mark.parametrize("item", ["", "seed", "=1", "se ed=1", ".seed=1", "seed.=1", "a..b=1", "--seed=1", "a-b=1"])
def test_an_override_of_another_form_is_refused(item: str) -> None:
    assert refusal(item) == f"{item!r} is not of the form section.key=value"


@pytest.mark.parametrize(
    "text",
    [
        *["[", "{a", "!!python/object/apply:os.system [ls]", "!!python/name:os.system", "=", "\x00", "*a", "<<"],
        *['!!int ""', '!!float ""', "!!bool x", "!!timestamp x", "2001-99-99", "0001-01-01T00:00:00+23:59", "0x_"],
        *["[" * 500, "9" * 5_000, "? [a]", "!!binary '\xe9'", "a: b: c", "!unknown x"],
    ],
)
def test_a_value_that_is_not_yaml_is_refused(text: str, tmp_path: Path) -> None:
    assert refusal(f"seed={text}").startswith("seed: ")
    file = tmp_path / "bad.yaml"
    file.write_text(f"seed: {text}\n")
    refusal(path=file)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("storage.example.com", ["storage.example.com"]),
        ("*", ["*"]),
        ("*.s3.amazonaws.com, minio.example.com:9000", ["*.s3.amazonaws.com", "minio.example.com:9000"]),
        ("[a.example, '*.b.example']", ["a.example", "*.b.example"]),
        ("[]", []),
    ],
)
def test_hosts_are_listed_as_the_environment_can_hold_them(text: str, hosts: list[str]) -> None:
    assert list(load_config(env={"AURA_SERVING__ALLOWED_HOSTS": text}).serving.allowed_hosts) == hosts


def test_origins_are_listed_likewise() -> None:
    env = {"AURA_SERVING__CORS_ORIGINS": "https://app.example.com,https://b.example:8443"}
    assert load_config(env=env).serving.cors_origins == ("https://app.example.com", "https://b.example:8443")


def test_no_entry_of_a_list_is_empty() -> None:
    assert refusal("serving.allowed_hosts=a.example,").startswith("serving.allowed_hosts.1: ")


def test_a_huge_number_is_refused_in_few_words() -> None:
    detail = refusal("seed=0x" + "f" * 5_000)
    assert "a huge int" in detail
    assert len(detail) < 200


# --- files -------------------------------------------------------------------------------------------------------


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing\n")
    assert load_config(file, env={}) == load_config(env={})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"- seed\n", "must hold a mapping of sections, not a list"),
        (b"seed", "must hold a mapping of sections, not a str"),
        (b"3", "must hold a mapping of sections, not a int"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", "is not YAML"),
        (b"seed: \x01", "is not YAML"),
        (b"\xff\xfes\x00", "is not YAML"),
        (b"seed: !!python/object/apply:os.system ['touch pwned']", "is not YAML"),
        (b"seed: !!python/object/new:subprocess.Popen [[touch, pwned]]", "is not YAML"),
        (b"a: 1\n---\nb: 2\n", "is not YAML"),
        (b"dataset: {1: 2}", "dataset.1"),
        (b"1: 2", "1: "),
    ],
)
def test_a_hostile_file_is_refused(content: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "hostile.yaml"
    file.write_bytes(content)
    assert told in refusal(path=file)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("key", ["seed", "nonsense", "dataset", "inference"])
def test_an_alias_bomb_is_refused_without_being_expanded(key: str, tmp_path: Path) -> None:
    levels = [f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 8)]
    file = tmp_path / "bomb.yaml"
    file.write_text("\n".join([f"{key}:", "  - &l0 [boom]", *levels]))
    tracemalloc.start()
    try:
        detail = refusal(path=file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert detail.startswith(key)
    assert len(detail) < 500
    assert peak < 10_000_000, "written out, these seven levels are 80 MB; each further one is ten times that"


def test_a_structure_that_holds_itself_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cycle.yaml"
    file.write_text("dataset: &d\n  video: *d\n")
    assert refusal(path=file).startswith("dataset.video.video: unknown key")


@pytest.mark.parametrize("name", ["none.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    assert refusal(path=tmp_path / name).startswith(f"cannot read {tmp_path / name}: ")


def test_read_yaml_gives_the_mapping(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("\ufeffdataset:\r\n  data_root: č\r\n", encoding="utf-8")
    assert read_yaml(file) == {"dataset": {"data_root": "č"}}


# --- the tree as data --------------------------------------------------------------------------------------------


def test_every_section_is_frozen() -> None:
    config = load_config(env={})
    for path in sections(TREE):
        node = at(config, path)
        for name in type(node).model_fields:
            with pytest.raises(ValidationError):
                setattr(node, name, getattr(node, name))
    with pytest.raises(TypeError):
        load_config(env={}, overrides=["inference.uncertain_band=[0.1, 0.2]"]).inference.uncertain_band[0] = 0.0  # type: ignore[index]


@pytest.fixture
def changed() -> Config:
    return load_config(
        env={},
        settings={
            "seed": 3,
            "logging": {"json": False, "log_file": "a.log"},
            "inference": {"checkpoint": "a/b.pth", "uncertain_band": [0.1, 0.9]},
            "dataset": {"auto_split": [0.5, 0.25, 0.25]},
        },
    )


def test_pickle_and_copy_give_an_equal_tree(changed: Config) -> None:
    assert pickle.loads(pickle.dumps(changed)) == changed
    assert copy.deepcopy(changed) == changed


def test_plain_goes_through_json_and_back(changed: Config) -> None:
    plain = changed.plain()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert json.dumps(keys_in(plain)) == json.dumps(keys_in(TREE))
    assert parse_config(plain) == changed
    assert parse_config(plain).plain() == plain
    assert plain["inference"]["checkpoint"] == "a/b.pth"


def test_plain_goes_through_a_yaml_file_and_back(changed: Config, tmp_path: Path) -> None:
    file = tmp_path / "saved.yaml"
    file.write_text(yaml.safe_dump(changed.plain()))
    assert load_config(file, env={}) == changed


def test_later_layers_lie_on_top_and_none_is_changed() -> None:
    low, high = {"dataset": {"face": {"size": 64}}}, {"dataset": {"face": {"every": 2}}}
    face = parse_config(low, high).dataset.face
    assert (face.size, face.every) == (64, 2)
    assert (low, high) == ({"dataset": {"face": {"size": 64}}}, {"dataset": {"face": {"every": 2}}})
    assert parse_config().dataset.face.size == TREE["dataset"]["face"]["size"]


def test_a_section_can_be_built_by_field_name() -> None:
    assert LoggingConfig(level="INFO", json_lines=True, log_file=None).json_lines


# --- only ConfigError escapes ------------------------------------------------------------------------------------

keys = st.sampled_from([".".join(path) for path in (*leaves(TREE), *sections(TREE)) if path])
yaml_ish = st.text(alphabet="[]{}:,-!&*?|>'\"#%@` \n\t\x00\ud800é0123456789.eExX_+aynft<=/") | st.text()
tags = st.sampled_from(
    ["!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!binary", "!!set", "!!omap", "!!pairs"]
)


def tried(**arguments: Any) -> None:
    with suppress(ConfigError):
        config = load_config(**arguments)
        assert parse_config(config.plain()) == config


@given(keys, yaml_ish)
def test_any_value_of_a_key_is_taken_or_refused(key: str, text: str) -> None:
    tried(overrides=[f"{key}={text}"], env={})


@given(keys, tags, yaml_ish)
def test_any_tagged_value_is_taken_or_refused(key: str, tag: str, text: str) -> None:
    tried(overrides=[f"{key}={tag} {text}"], env={})


@given(st.lists(st.text(), max_size=3))
def test_any_override_is_taken_or_refused(overrides: list[str]) -> None:
    tried(overrides=overrides, env={})


@given(
    st.dictionaries(st.text().map("AURA_{}".format) | st.text().map("AURA_DATASET__{}".format), yaml_ish, max_size=3)
)
def test_any_environment_is_taken_or_refused(env: dict[str, str]) -> None:
    tried(env={name: text for name, text in env.items() if name != "AURA_CONFIG"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(keys, json_values)
def test_any_settings_are_taken_or_refused(key: str, value: object) -> None:
    tried(settings=nest(tuple(key.split(".")), value), env={})


@pytest.mark.parametrize(
    ("named", "file"),
    [
        ("null", None),
        ("default", PACKAGED_CHECKPOINT),
        ("./default", Path("default")),
        ("models/best.pth", Path("models/best.pth")),
    ],
)
def test_which_file_a_checkpoint_is(named: str, file: Path | None) -> None:
    """A file that happens to be called `default` is named as a path."""
    assert load_config(env={}, overrides=[f"inference.checkpoint={named}"]).inference.checkpoint_file == file
