"""Who else is told about a run: TensorBoard's event files, and MLflow."""

import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter  # type: ignore[import-untyped]
from tensorboardX.proto.event_pb2 import Event as Record  # type: ignore[import-untyped]
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

from aura_model.atomic import replacing
from aura_model.config import Config, TrackingConfig
from aura_model.errors import ConfigError
from aura_model.logging import get_logger
from aura_model.redaction import redact, redact_text
from training.watch.listeners import Background, Event, Guarded, Listener

EXPERIMENT = "aura"
"""The MLflow experiment that holds all runs."""
RUN_FILE = "mlflow_run"
"""Holds the id of the MLflow run, in the run's folder."""

_NAMES = {"loss": "loss/train", "val_auc": "auc/val"}
_SECTIONS = ("val", "clip")
_COUNTERS = ("epoch", "epochs", "step")
_SPEEDS = ("loss", "clips_per_second", "data_wait_share")
# What one request to MLflow may hold.
_PARAMETERS, _METRICS = 100, 1000


def make_trackers(tracking: TrackingConfig, folder: Path, run_name: str, params: Mapping[str, str]) -> list[Listener]:
    """Everyone whom `training.tracking` names. Once made, each one's first failure is logged, and none ends the run.

    Args:
        tracking: who is to be told.
        folder: of the run, on this machine.
        run_name: how MLflow shows the run.
        params: what MLflow shows with it; see `parameters`.

    Raises:
        ConfigError: MLflow is asked for and not installed, or it cannot use the URI.
        OSError: the folder cannot be written.
    """
    warn, trackers = get_logger(__name__).warning, list[Listener]()
    if tracking.mlflow is not None:
        mlflow = Guarded(MlflowTracker(tracking.mlflow, folder, run_name, params), "MLflow", warn)
        trackers.append(Background(mlflow, "MLflow", warn))
    if tracking.tensorboard:
        trackers.append(Guarded(TensorBoardTracker(folder), "TensorBoard", warn))
    return trackers


def parameters(config: Config) -> dict[str, str]:
    """Every setting by its dotted key, as text, without secrets."""
    return {key: str(value) for key, value in _leaves(redact(config.plain()), ".")}


def figures(event: Event) -> dict[str, float]:
    """The numbers of an epoch by name: `loss/train`, `auc/val`, `val/…`, `clip/…`, `learning_rate` and so on.

    What is undefined, infinite or no number is left out.
    """
    top = {_NAMES.get(name, name): value for name, value in event.items() if name not in _COUNTERS}
    chosen = {name: value for name, value in top.items() if name in _SECTIONS or not isinstance(value, Mapping)}
    return {name: float(value) for name, value in _leaves(chosen, "/") if _is_figure(value)}


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _leaves(tree: Mapping[str, Any], separator: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values inside nested mappings, with the names on the way joined."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, separator, f"{prefix}{name}{separator}")
        else:
            yield f"{prefix}{name}", value


class TensorBoardTracker:
    """Scalars for TensorBoard: `figures` by epoch, and `progress/…` of training by optimiser step.

    An epoch that comes again is written again: TensorBoard shows the later one. Nothing is written in the background:
    an event is in the file when `hear` returns.
    """

    def __init__(self, folder: Path) -> None:
        """Write a further event file into `folder`, which is made.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        earlier = len(list(folder.glob("events.out.tfevents.*")))
        # File names hold the second they were made in: without the number, a quick resume would overwrite one.
        self._writer = EventsWriter(str(folder / "events"), f".{earlier}")

    def hear(self, event: Event) -> None:
        """Write an epoch, or the progress of training, down."""
        if event["kind"] == "epoch":
            self._write(figures(event), event["epoch"])
        elif event["kind"] == "progress" and event["phase"] == "train":
            speeds = {name: event[name] for name in _SPEEDS}
            self._write(
                {f"progress/{name}": value for name, value in speeds.items() if _is_figure(value)}, event["step"]
            )

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, scalars: Mapping[str, float], step: int) -> None:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._writer.write_event(Record(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self._writer.flush()


class MlflowTracker:
    """An MLflow run: parameters at its start, `figures` by epoch, and how it ended.

    Epochs that cannot be sent are kept, and go with the next one. The run's id lies in the run's folder, so that a
    resumed run goes on in it. It ends as FINISHED after the last epoch, or after one that says `stop`; else as KILLED.
    """

    def __init__(self, uri: str, folder: Path, run_name: str, params: Mapping[str, str]) -> None:
        """Track at `uri`: an `http` or `https` server, or a local `sqlite:///file.db`. No server is asked yet.

        Args:
            uri: as MLflow takes it.
            folder: of the run, on this machine.
            run_name: how MLflow shows the run.
            params: what MLflow shows with it.

        Raises:
            ConfigError: MLflow is not installed, or it cannot use the URI.
        """
        self._mlflow = _mlflow()
        self._client = _client(self._mlflow, uri)
        self._file, self._name = folder / RUN_FILE, run_name
        self._run: str | None = None
        self._begun, self._ended = False, False
        self._params = [self._mlflow.entities.Param(name, value) for name, value in params.items()]
        self._metrics: list[Any] = []

    def hear(self, event: Event) -> None:
        """Begin the run with the first event, and send each epoch.

        Raises:
            Exception: whatever MLflow raises.
        """
        if event["kind"] == "epoch":
            self._ended = event["epoch"] == event["epochs"] or bool(event.get("stop"))
            self._metrics += self._metrics_of(event)
            self._send()
        elif not self._begun:
            self._send()

    def close(self) -> None:
        """Send what waits, and end the run; one that has heard nothing is not begun.

        Raises:
            Exception: whatever MLflow raises.
        """
        if self._begun:
            self._send()
            self._client.set_terminated(self._run, "FINISHED" if self._ended else "KILLED")

    def _metrics_of(self, event: Event) -> list[Any]:
        now, metric = int(time.time() * 1000), self._mlflow.entities.Metric
        return [metric(_allowed(name), value, now, event["epoch"]) for name, value in figures(event).items()]

    def _send(self) -> None:
        """Send what waits; what fails waits on."""
        self._begun = True
        self._run = self._run or self._earlier_run() or self._new_run()
        while self._params:
            self._client.log_batch(self._run, params=self._params[:_PARAMETERS])
            del self._params[:_PARAMETERS]
        while self._metrics:
            self._client.log_batch(self._run, metrics=self._metrics[:_METRICS])
            del self._metrics[:_METRICS]

    def _earlier_run(self) -> str | None:
        """What this folder's run was before it was resumed; it has its parameters, and MLflow never changes these."""
        if not self._file.exists():
            return None
        run = self._file.read_text(encoding="utf-8")
        try:
            self._client.update_run(run, status="RUNNING")
        except self._mlflow.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # of another server, or deleted for good
                return None
            raise
        self._params = []
        return run

    def _new_run(self) -> str:
        run: str = self._client.create_run(self._experiment(), run_name=self._name).info.run_id
        with replacing(self._file, f".{RUN_FILE}-") as file:
            file.write(run.encode())
        return run

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        made: str = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        return made


def _mlflow() -> Any:
    # MLflow would report its use to its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        return import_module("mlflow")
    except ImportError as error:
        raise ConfigError(
            f"training.tracking.mlflow needs a package that is not installed ({error}): install it with "
            "pip install -e '.[mlflow]' in Aura's folder, or set it to null"
        ) from None


def _client(mlflow: Any, uri: str) -> Any:
    try:
        return mlflow.MlflowClient(tracking_uri=uri)
    except Exception as error:  # MLflow lets through what its stores raise
        raise ConfigError(f"training.tracking.mlflow: MLflow cannot use {redact_text(f'{uri!r}: {error}')}") from error


def _allowed(name: str) -> str:
    """A name that MLflow takes for a metric."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
