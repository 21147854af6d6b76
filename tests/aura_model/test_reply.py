import pytest
from pydantic import ValidationError

from aura_model.reply import EXAMPLE, Analysis


def test_the_reply_is_frozen_and_closed() -> None:
    answer = Analysis.model_validate(EXAMPLE)
    with pytest.raises(ValidationError):
        answer.verdict = "real"
    with pytest.raises(ValidationError):
        Analysis.model_validate({**answer.model_dump(), "extra": 1})


def test_the_example_is_an_answer_and_is_published() -> None:
    assert Analysis.model_validate(EXAMPLE).model_dump(mode="json") == EXAMPLE
    assert Analysis.model_json_schema()["examples"] == [EXAMPLE]


def test_every_field_of_the_schema_is_described() -> None:
    schema = Analysis.model_json_schema()
    objects = [schema, *(schema["$defs"][name] for name in ("FaceReport", "FaceBox", "Heatmap", "Peak"))]
    objects += [schema["$defs"][name] for name in ("TimelineEntry", "Segment")]
    fields = [(name, field) for item in objects for name, field in item["properties"].items()]
    assert [name for name, field in fields if "description" not in field and "$ref" not in field] == []
