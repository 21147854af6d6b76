"""What can be wrong with a data set."""

from types import MappingProxyType

from aura_model.errors import AuraError

DATASET_ERRORS = MappingProxyType(
    {
        "dataset_missing": "The folder or the manifest is not there or cannot be read.",
        "manifest_invalid": "The manifest or a meta.json is not in the expected form.",
        "file_missing": "A file that the data set names is not there.",
        "label_unknown": "A label is neither real nor fake.",
        "split_unknown": "A split is none of train, val, test.",
        "video_duplicate": "Two samples have one video_id.",
        "split_empty": "A split that the run needs has no video.",
        "one_class": "All training videos have one label.",
        "partner_unknown": "A fake names no genuine video to be shown beside, where fakes are made of genuine ones.",
        "leaked_identity": "One identity is in two splits.",
        "leaked_video": "Two splits hold the same content.",
        "label_conflict": "The same content has both labels.",
    }
)
"""Every code a `DatasetError` may carry."""


class DatasetError(AuraError):
    """The data set cannot be used; `code` is a key of `DATASET_ERRORS`, `detail` names the file or the row."""
