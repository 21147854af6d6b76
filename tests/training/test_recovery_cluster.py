"""A run that lost a worker, or its driver, ends as one that nothing happened to."""

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from aura_model.checkpoint import read_checkpoint
from training.run import ray_cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # Ray Data's own settings
]

SCRIPT = Path(__file__).with_name("store_run.py")
MODULE = runpy.run_path(str(SCRIPT), run_name="store_run")
EPOCHS: int = MODULE["EPOCHS"]
LAST_SIGNS = 60
"""Seconds that the training workers of a killed driver may take to end."""

FIGURES = ("step", "loss", "clips", "skipped", "val_skipped", "val_auc", "val", "clip", "learning_rate", "monitor")
"""What must not differ, however a run came about."""

Epochs = dict[int, dict[str, Any]]


@dataclass
class Heard:
    """What was told of a run."""

    epochs: Epochs = field(default_factory=dict)
    """The figures of each epoch; of one that came twice the later ones."""
    again: list[Epochs] = field(default_factory=list)
    """Figures that were replaced."""
    restarts: list[int] = field(default_factory=list)
    """The epoch after which each restart went on."""

    def hear(self, event: Mapping[str, Any]) -> None:
        if event["kind"] == "restart":
            self.restarts.append(event["epoch"])
        if event["kind"] != "epoch":
            return
        epoch = event["epoch"]
        if epoch in self.epochs:
            self.again.append({epoch: self.epochs[epoch]})
        self.epochs[epoch] = {name: event[name] for name in FIGURES}


@dataclass(frozen=True)
class Ended:
    """A run that has ended by itself."""

    heard: Heard
    weights: Mapping[str, Any]
    """Of the exported checkpoint."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    MODULE["make_store"](folder)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster(local=True, cpus=3):
        yield


def run(folder: Path, name: str, react: Callable[[Mapping[str, Any]], None] = lambda _: None) -> Ended:
    """Run `name` to its end; `react` hears each event too."""
    heard = Heard()

    def hear(event: Mapping[str, Any]) -> None:
        heard.hear(event)
        react(event)

    outcome = MODULE["run"](folder, name, hear)
    return Ended(heard, dict(read_checkpoint(outcome.checkpoint).model_state_dict))


@pytest.fixture(scope="module")
def undisturbed(folder: Path, cluster: None) -> Ended:
    return run(folder, "undisturbed")


def numbers(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted path and value of each figure."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def differences(found: Epochs, expected: Epochs) -> list[tuple[int, str, Any, Any]]:
    """Epoch and name of each figure that is not the same, with both; counts exactly, others within 1e-6.

    A last bit may differ: the order in which some kernels add depends on where an array lies in memory.
    """
    return [
        (epoch, name, value, other)
        for epoch, figures in found.items()
        for (name, value), (_, other) in zip(numbers(figures), numbers(expected[epoch]), strict=True)
        if (value != pytest.approx(other, rel=0, abs=1e-6) if isinstance(other, float) else value != other)
    ]


def assert_same_end(found: Ended, undisturbed: Ended) -> None:
    """The figures of every epoch, the number of optimiser steps among them, and the weights."""
    expected = undisturbed.heard.epochs
    assert max(found.heard.epochs) == EPOCHS
    assert [one for epochs in (found.heard.epochs, *found.heard.again) for one in differences(epochs, expected)] == []
    torch.testing.assert_close(found.weights, undisturbed.weights, rtol=0, atol=1e-6)


def test_an_undisturbed_run_is_uneven_and_learns(undisturbed: Ended) -> None:
    """Else the other tests would say little."""
    epochs = undisturbed.heard.epochs
    assert list(epochs) == list(range(1, EPOCHS + 1))
    assert undisturbed.heard.restarts == []
    steps = [epoch["step"] for epoch in epochs.values()]
    assert steps == sorted(set(steps))
    assert len({epoch["loss"] for epoch in epochs.values()}) == EPOCHS
    assert all((epoch["skipped"], epoch["val_skipped"]) == (1, 1) for epoch in epochs.values())


def workers_of(root: psutil.Process) -> list[psutil.Process]:
    """The training workers of the cluster that this process started."""
    return [process for process in root.children(recursive=True) if "RayTrainWorker" in title(process)]


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(folder: Path, undisturbed: Ended) -> None:
    workers: list[psutil.Process] = []
    killed: list[psutil.Process] = []

    def kill_one(event: Mapping[str, Any]) -> None:
        """In the epoch after the second one; by then Ray Train has noted the first one's checkpoint."""
        workers.extend([] if workers else workers_of(psutil.Process()))
        if (event["kind"], event.get("epoch")) == ("epoch", 2) and not killed:
            killed.append(workers[-1])
            workers[-1].kill()

    found = run(folder, "worker_killed", kill_one)
    assert len(killed) == 1
    assert list(found.heard.epochs) == list(range(1, EPOCHS + 1))
    assert len(found.heard.restarts) == 1
    assert 1 <= found.heard.restarts[0] < EPOCHS
    assert_same_end(found, undisturbed)


def kill_driver_after(epoch: int, folder: Path, name: str) -> Heard:
    """Start a run in a process of its own, and kill it once it told of `epoch`."""
    heard, workers, family = Heard(), list[psutil.Process](), list[psutil.Process]()
    with subprocess.Popen([sys.executable, SCRIPT, folder, name], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        watchdog = threading.Timer(300, driver.kill)
        watchdog.start()
        for event in map(json.loads, driver.stdout):
            heard.hear(event)
            workers = workers or workers_of(psutil.Process(driver.pid))
            family = family or psutil.Process(driver.pid).children(recursive=True)
            if (event["kind"], event.get("epoch")) == ("epoch", epoch):
                break
        os.kill(driver.pid, signal.SIGKILL)
        watchdog.cancel()
    _, alive = psutil.wait_procs(workers, timeout=LAST_SIGNS)
    for process in family:  # Ray's agents take a minute to see that they are alone
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert len(workers) == 2
    assert alive == []
    return heard


def test_a_run_whose_driver_was_killed_goes_on_to_the_same_end(folder: Path, undisturbed: Ended) -> None:
    before = kill_driver_after(2, folder, "driver_killed")
    assert list(before.epochs) == [1, 2]
    assert differences(before.epochs, undisturbed.heard.epochs) == []
    found = run(folder, "driver_killed")
    assert 1 <= found.heard.restarts[0] < EPOCHS  # Ray Train notes a checkpoint a moment after it was told of
    assert list(found.heard.epochs) == list(range(found.heard.restarts[0], EPOCHS + 1))
    assert_same_end(found, undisturbed)
