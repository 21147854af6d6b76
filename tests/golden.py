"""What the default model answers for the bundled clips, and the README's example. Written anew for new weights by

python tests/golden.py
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aura_model.predictor import Predictor
from aura_model.reply import Analysis
from aura_model.settings import load_config

HERE = Path(__file__).parent
MEDIA, REPLIES, README = HERE / "media", HERE / "replies", HERE.parent / "README.md"
EXAMPLE = "talking_face"
CLIPS: Mapping[str, str] = {"talking_face": "real", "self_made_fake": "fake"}
"""The bundled clips that have a golden reply, and the truth about them."""
COMMAND = "run python tests/golden.py"


@contextmanager
def default_model() -> Iterator[Predictor]:
    """The model in the package, on the CPU, with heat-maps."""
    settings = {"inference": {"checkpoint": "default", "device": "cpu"}}
    with Predictor(load_config(settings=settings, env={}), with_heatmaps=True) as predictor:
        yield predictor


def plain_reply(analysis: Analysis) -> dict[str, Any]:
    """An answer without what differs from run to run, and without the pictures; four decimals of each number."""
    reply: dict[str, Any] = _rounded(analysis.model_dump(mode="json", exclude={"timings", "request_id"}))
    for face in reply["faces"]:
        if face["heatmap"]:
            del face["heatmap"]["image"]
    return reply


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def with_example(page: str, reply: Mapping[str, Any]) -> str:
    """The README with this reply, shortened, in its example; timings and request are the example's own."""

    def fill(match: re.Match[str]) -> str:
        """The example."""
        face, entry = reply["faces"][0], reply["timeline"][0]
        faces = [{name: value for name, value in face.items() if name != "heatmap"} | {"boxes": face["boxes"][:1]}]
        model = {name: value for name, value in reply["model"].items() if name != "operating_points"}
        example = json.loads(match[2]) | reply | {"faces": faces, "timeline": [entry], "model": model}
        lines = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in example.items())
        return match[1] + "{\n" + ",\n".join(lines) + "\n}\n" + match[3]

    return re.sub(r"(<!-- reply -->\n```json\n)(.*?)(```)", fill, page, count=1, flags=re.DOTALL)


def main() -> None:
    """Write the replies and the example."""
    REPLIES.mkdir(exist_ok=True)
    with default_model() as predictor:
        for name in CLIPS:
            reply = plain_reply(predictor.predict(MEDIA / f"{name}.mp4"))
            (REPLIES / f"{name}.json").write_text(json.dumps(reply, indent=1) + "\n")
            if name == EXAMPLE:
                README.write_text(with_example(README.read_text(), reply))
            print(f"{name}: {reply['verdict']}, {reply['fake_probability']:.3f}")


if __name__ == "__main__":
    main()
