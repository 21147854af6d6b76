"""What may import what: rules that keep `import aura_model` light, the library free of Ray, and dangerous calls out."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import aura_model

ROOT = Path(aura_model.__file__).parents[1]
HEAVY = ("torch", "torchvision", "torchaudio", "timm", "onnxruntime", "ray", "av", "cv2", "sklearn", "numpy")
CHILD_MODULES = ("errors", "config", "media", "faces", "mtcnn", "speech", "tracks", "clips", "sandbox", "decode_child")
"""Modules of the decode child, which starts often and must not pay for torch."""

EXCEPTIONS = {"aura_model/mtcnn.py": ["joblib", "joblib.load"]}
"""The mtcnn package keeps its weights as joblib files; they are read only after their digest was compared."""
FETCHING = "deployments/fetching/"
"""The one way to outside addresses."""


def sources(*packages: str) -> list[Path]:
    return sorted(file for package in packages for file in (ROOT / package).rglob("*.py"))


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


LIBRARY = sources("aura_model")
ALL = sources("aura_model", "deployments", "training")


def imported(tree: ast.AST) -> set[str]:
    """The dotted names that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def dangers(tree: ast.AST) -> list[str]:
    """Calls and imports that no source may hold."""
    found = [bad for bad in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "decord") if bad in imported(tree)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("VideoCapture", "unsafe_load", "full_load"):
            found.append(node.attr)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "VideoCapture" for alias in node.names):
            found.append("VideoCapture")
        if isinstance(node, ast.Attribute) and node.attr == "load" and ast.unparse(node.value) in ("pickle", "joblib"):
            found.append(ast.unparse(node))
        if isinstance(node, ast.Call):
            found += _dangerous_call(node)
    return found


def _dangerous_call(call: ast.Call) -> list[str]:
    function = ast.unparse(call.func)
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    found = ["shell=True"] if keywords.get("shell", "False") != "False" else []
    if function in ("eval", "exec", "os.system", "os.popen"):
        found.append(function)
    if function == "torch.load" and keywords.get("weights_only") != "True":
        found.append("torch.load without weights_only=True")
    if keywords.get("weights_only", "True") != "True":
        found.append("weights_only=False")
    if function.endswith("load") and keywords.get("allow_pickle", "False") != "False":
        found.append("allow_pickle")
    if function == "yaml.load":
        found.append(function)
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import cv2\ncv2.VideoCapture(0)", ["VideoCapture"]),
        ("from cv2 import VideoCapture", ["VideoCapture"]),
        ("import pickle", ["pickle"]),
        ("from pickle import load", ["pickle"]),
        ("def f():\n    import pickle", ["pickle"]),
        ("torch.load(p, weights_only=False)", ["torch.load without weights_only=True", "weights_only=False"]),
        ("torch.load(p)", ["torch.load without weights_only=True"]),
        ("torch.load(p, weights_only=True)", []),
        ("Checkpoint.load(p, weights_only=flag)", ["weights_only=False"]),
        ("np.load(p, allow_pickle=True)", ["allow_pickle"]),
        ("joblib.load(p)", ["joblib.load"]),
        ("yaml.load(t, Loader=L)", ["yaml.load"]),
        ("yaml.safe_load(t)", []),
        ("subprocess.run(c, shell=True)", ["shell=True"]),
        ("model.eval()", []),
        ("eval(t)", ["eval"]),
        ("'cv2.VideoCapture and pickle.load'", []),
    ],
)
def test_the_check_for_dangers_sees_them(source: str, expected: list[str]) -> None:
    assert dangers(ast.parse(source)) == expected


@pytest.mark.parametrize("file", ALL, ids=name)
def test_no_source_holds_a_danger(file: Path) -> None:
    assert dangers(ast.parse(file.read_text())) == EXCEPTIONS.get(name(file), [])


@pytest.mark.parametrize("file", LIBRARY, ids=name)
def test_the_library_knows_neither_ray_nor_the_services(file: Path) -> None:
    packages = {module.split(".")[0] for module in imported(ast.parse(file.read_text()))}
    assert not packages & {"ray", "deployments", "training"}


@pytest.mark.parametrize("file", [file for file in ALL if not name(file).startswith(FETCHING)], ids=name)
def test_only_the_download_opens_outside_addresses(file: Path) -> None:
    clients = {"requests", "urllib3", "urllib.request", "aiohttp", "httpx", "httpcore", "http.client", "websockets"}
    assert not imported(ast.parse(file.read_text())) & clients


@pytest.mark.parametrize("file", ALL, ids=name)
def test_imports_are_absolute(file: Path) -> None:
    assert not [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom) and n.level]


def loaded_after(statement: str, candidates: tuple[str, ...]) -> list[str]:
    """Which of the candidate modules a fresh interpreter has loaded after the statement; it must print nothing."""
    script = f"import json, sys\n{statement}\njson.dump([m for m in {candidates!r} if m in sys.modules], sys.stdout)"
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: list[str] = json.loads(done.stdout)
    return found


def test_the_check_for_loaded_modules_sees_them() -> None:
    assert loaded_after("import numpy", HEAVY) == ["numpy"]


@pytest.mark.parametrize(
    "module", ["aura_model", "aura_model.config", "aura_model.settings", "aura_model.errors", "aura_model.logging"]
)
def test_a_light_import_loads_nothing_heavy(module: str) -> None:
    assert loaded_after(f"import {module}", HEAVY) == []


def test_the_decode_child_never_loads_torch_or_ray() -> None:
    statement = "import " + ", ".join(f"aura_model.{module}" for module in CHILD_MODULES)
    assert loaded_after(statement, ("torch", "torchvision", "torchaudio", "timm", "ray", "sklearn")) == []


@pytest.mark.parametrize("file", ALL, ids=name)
def test_a_module_does_no_work_at_import(file: Path) -> None:
    """At its top a module imports, defines and assigns; it calls nothing for its effect and opens no file."""
    top = ast.parse(file.read_text()).body
    calls = [node for node in top if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    assert [ast.unparse(node) for node in calls] == []
    loops = (ast.For, ast.While, ast.With, ast.Try)
    assert [type(node).__name__ for node in top if isinstance(node, loops)] == []
