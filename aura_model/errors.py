"""Errors with stable codes: what a caller may match on, and a sentence that says what to do."""

from types import MappingProxyType

MEDIA_ERRORS = MappingProxyType(
    {
        "empty_file": "The file has no bytes.",
        "file_too_large": "The file is larger than the service accepts.",
        "invalid_video": "The bytes are not a readable media file.",
        "unsupported_container": "This container format is not accepted.",
        "unsupported_codec": "This video codec is not accepted.",
        "no_video_stream": "The file holds neither video nor sound that can be decoded.",
        "resolution_too_large": "A frame has more pixels than the service accepts.",
        "resolution_too_small": "A frame is too small to hold a face.",
        "too_long": "The video is longer than the service accepts.",
        "too_many_frames": "The video has more frames than the service accepts.",
        "too_many_streams": "The file has more streams than the service accepts.",
        "corrupt_video": "The video stream cannot be decoded.",
        "decode_timeout": "Decoding took longer than the service allows.",
        "decode_out_of_memory": "Decoding needed more memory than the service allows.",
        "decode_crashed": "The decoder crashed on this file.",
    }
)
"""Every code a `MediaError` may carry, with its title."""


def media_status(code: str) -> int:
    """The HTTP status that goes with a media error's code: the client's fault, always."""
    return 413 if code == "file_too_large" else 422


def problem_type(code: str) -> str:
    """The `type` of a problem document (RFC 9457): a URI that names the code."""
    return f"urn:problem-type:aura:{code}"


class AuraError(Exception):
    """Base of Aura's own errors; `code` is stable, `detail` says what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class ConfigError(AuraError):
    """The configuration holds an unknown key or a bad value; `detail` names it and what is allowed."""

    def __init__(self, detail: str) -> None:
        super().__init__("invalid_config", detail)

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[str]]:
        return type(self), (self.detail,)


class MediaError(AuraError):
    """The media is at fault, not the service; `code` is a key of `MEDIA_ERRORS`."""

    def __init__(self, code: str, detail: str) -> None:
        if code not in MEDIA_ERRORS:
            raise ValueError(f"unknown media error code {code!r}")
        super().__init__(code, detail)


class DecoderError(AuraError):
    """No decode child can be had now, which is not the media's fault: a later call may find one."""

    def __init__(self, detail: str) -> None:
        super().__init__("no_decoder", detail)

    def __reduce__(self) -> tuple[type["DecoderError"], tuple[str]]:
        return type(self), (self.detail,)


class CheckpointError(AuraError):
    """A checkpoint is missing, damaged or foreign."""


class ModelNotReadyError(AuraError):
    """The model is not loaded (yet); `detail` gives the cause."""
