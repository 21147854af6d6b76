"""What the command lines of training share."""

import argparse
import sys
from pathlib import Path

import pytest
from rich.console import Console

from aura_model.errors import ConfigError
from aura_model.settings import load_config
from training.command_line import (
    auto_split_option,
    data_options,
    fail,
    given_overrides,
    make_console,
    refuse_beside_table,
    run_command,
    settings_options,
    warn,
    whole_number,
)

KEYS = {"epochs": "training.epochs"}


def parsed(*line: str) -> argparse.Namespace:
    options = argparse.ArgumentParser(exit_on_error=False)
    data_options(options)
    auto_split_option(options)
    options.add_argument("--epochs", type=whole_number)
    settings_options(options)
    return options.parse_args(line)


def given(*line: str) -> list[str]:
    return given_overrides(parsed(*line), KEYS)


def test_what_was_not_given_overrides_nothing() -> None:
    assert given() == []


def test_options_become_keys_whose_values_are_json() -> None:
    assert given("--manifest", "a b.csv", "--epochs", "3") == ['dataset.manifest="a b.csv"', "training.epochs=3"]


def test_a_path_with_a_quote_stays_one_value() -> None:
    assert given("--manifest", 'a"b.csv') == ['dataset.manifest="a\\"b.csv"']


@pytest.mark.parametrize("name", ["Zoë", "吉野/𠮷田", "🎬 clips", "tab\tand\\backslash", "a: b # c"])
def test_any_name_arrives_as_it_is(name: str) -> None:
    config = load_config(env={}, overrides=given("--data-root", name))
    assert config.dataset.data_root == Path(name)


def test_a_folder_of_data_takes_the_place_of_a_configured_manifest() -> None:
    assert given("--data-root", "faces") == ["dataset.manifest=null", 'dataset.data_root="faces"']


def test_what_is_set_by_key_comes_last_in_its_order() -> None:
    line = ("--set", "training.epochs=9", "--epochs", "3", "--set", "seed=1")
    assert given(*line) == ["training.epochs=3", "training.epochs=9", "seed=1"]


def test_an_option_without_a_key_is_left_to_the_command() -> None:
    assert given_overrides(parsed("--epochs", "3")) == []


@pytest.mark.parametrize(
    ("line", "shares"), [(("--auto-split",), "[0.8,0.1,0.1]"), (("--auto-split", "0.5,0.2,0.3"), "[0.5,0.2,0.3]")]
)
def test_shares_of_a_split_have_a_default(line: tuple[str, ...], shares: str) -> None:
    assert given(*line) == [f"dataset.auto_split={shares}"]


def test_a_command_without_these_options_can_use_the_overrides() -> None:
    assert given_overrides(argparse.Namespace(set=["seed=1"], epochs=None), {"epochs": "training.epochs"}) == ["seed=1"]


def test_a_data_set_is_named_once() -> None:
    with pytest.raises(argparse.ArgumentError, match="not allowed with"):
        parsed("--data-root", "a", "--manifest", "b.csv")


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("016", 16)])
def test_a_number_from_1(text: str, number: int) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "one", "", " 1"])
def test_what_is_no_number_from_1_is_named(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number from 1"):
        whole_number(text)


def test_an_option_that_does_not_go_with_a_table_is_named() -> None:
    refuse_beside_table(parsed("--epochs", "3"), ["auto_split", "manifest"])
    with pytest.raises(ConfigError, match="--auto-split does not go with --from-csv"):
        refuse_beside_table(parsed("--auto-split"), ["manifest", "auto_split"])


def refused(error: OSError) -> int:
    return fail(7, f"the work failed: {error}")


def test_a_command_has_the_output_stream_to_itself(capsys: pytest.CaptureFixture[str]) -> None:
    def work(console: Console) -> int:
        print("a library's words", file=sys.stdout)
        console.print("a result")
        return 3

    assert run_command(work, failed=refused) == 3
    assert capsys.readouterr() == ("a result\n", "a library's words\n")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigError("seed: not a number"), 2, "seed: not a number"),
        (OSError("no space"), 7, "the work failed: no space"),
        (KeyboardInterrupt(), 130, "interrupted; run it again"),
    ],
)
def test_what_ends_a_command_is_told_in_a_sentence(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: Console) -> int:
        raise error

    assert run_command(work, failed=refused, interrupted="interrupted; run it again") == status
    assert capsys.readouterr() == ("", said + "\n")


def test_a_warning_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    warn(make_console(), "no [faces] in /a" + "/long" * 60)
    assert capsys.readouterr() == ("no [faces] in /a" + "/long" * 60 + "\n", "")


def test_a_failure_is_told_as_it_is_on_the_error_stream(capsys: pytest.CaptureFixture[str]) -> None:
    said = "no [faces] in /a" + "/long" * 60
    assert fail(2, said) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", said + "\n")
