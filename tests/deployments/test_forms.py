"""The names that clients give to files."""

import pytest

from deployments.forms import MAX_NAME, safe_name


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("clip.mp4", "clip.mp4"),
        ("my clip-1_a.mp4", "my clip-1_a.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\videos\\clip.mp4", "clip.mp4"),
        ("a\nINFO forged line", "a_INFO forged line"),
        ("naïve.mp4", "na_ve.mp4"),
        ("a\x00b", "a_b"),
        ("<b>.mp4", "_b_.mp4"),
        ("clip.mp4?X-Amz-Signature=SECRET", "clip.mp4"),
        ("https://h/clip.mp4?sig=S/ECRET.mp4#SECRET", "clip.mp4"),
        ("https://eve:SECRET@h", "h"),
        ("token=SECRET.mp4", "token__redacted_"),
        ("clip_eyJhbGciOi.eyJzdWIi.SECRET-S.mp4", "clip__redacted_.mp4"),
        ("", ""),
        ("a" * 1000, "a" * MAX_NAME),
    ],
)
def test_names_fit_for_a_log_line(given: str, kept: str) -> None:
    assert safe_name(given) == kept
