import pytest

from aura_model.intervals import Interval
from training.evaluation.html_parts import counted, header, show, show_range, table, text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;"),
        ("a\nb\0", "a\\nb\\x00"),
        ("x\N{RIGHT-TO-LEFT OVERRIDE}y", "x\\u202ey"),
        ("\udcff", "\\udcff"),
        (
            "Gr\N{LATIN SMALL LETTER O WITH DIAERESIS}\N{SNOWMAN}",
            "Gr\N{LATIN SMALL LETTER O WITH DIAERESIS}\N{SNOWMAN}",
        ),
        (3, "3"),
    ],
)
def test_text_from_outside_is_only_text(value: object, shown: str) -> None:
    assert text(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.12345, "0.123"), (1.0, "1.000"), (None, "\N{EN DASH}")])
def test_a_figure_has_three_digits(value: float | None, shown: str) -> None:
    assert show(value) == shown


def test_an_interval_is_shown_where_there_is_one() -> None:
    assert show_range(Interval(0.1, 0.98765)) == "0.100 to 0.988"
    assert show_range(Interval(None, None, reason="too few")) == ""


@pytest.mark.parametrize(("number", "shown"), [(0, "0 videos"), (1, "1 video"), (2, "2 videos")])
def test_a_number_goes_with_its_noun(number: int, shown: str) -> None:
    assert counted(number, "video") == shown


def test_a_table_has_a_header_with_numbers_to_the_right() -> None:
    assert header("a", "<b>", numbers=1) == "<tr><th>a</th><th class=number>&lt;b&gt;</th></tr>"
    assert table("H", ["R", "S"], "stacked") == (
        '<div class="scroll"><table class="stacked"><thead>H</thead><tbody>RS</tbody></table></div>'
    )
