"""From a sample's path to what a `Sandbox` takes: a local file, or the bytes of a remote one or of packed frames."""

from pathlib import Path

from pyarrow.fs import FileType

from aura_model.config import Config
from aura_model.errors import MediaError
from training.data.frame_folder import pack_folder
from training.data.locations import locate, plain_errors, read_bounded
from training.data.manifest import is_uri


def open_media_source(path: str, config: Config) -> Path | bytes:
    """What `Sandbox.load_clips` takes for a sample's path; nothing is decoded here.

    Args:
        path: of a file or of a folder of frames (see `training.data.frame_folder`), or a URI of either.
        config: `limits` bounds what is read.

    Raises:
        OSError: nothing is there, or it cannot be read; the text holds no secrets.
        MediaError: beyond the limits, or frames or sound that do not fit together.
    """
    if not is_uri(path) and not Path(path).is_dir():
        return Path(path)
    system, place = locate(path)
    with plain_errors(path):
        kind = system.get_file_info(place).type
        if kind == FileType.NotFound:
            raise FileNotFoundError("nothing is there")
        if kind == FileType.Directory:
            return pack_folder(system, place, config)
        content = read_bounded(system, place, config.limits.max_bytes)
    if len(content) > config.limits.max_bytes:
        raise MediaError("file_too_large", f"The file has more than {config.limits.max_bytes} bytes.")
    return content
