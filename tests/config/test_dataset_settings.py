"""Settings of the kind that looks at the benchmark."""

import pytest
from pydantic import ValidationError

from circuit.config.benchmark import SPLITS
from circuit.kinds.dataset_geometry.settings import Settings


def test_all_splits_by_default_and_train_first():
    assert Settings(kind="dataset_geometry").splits == SPLITS


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["test_iid"], "train is missing, which the other splits are compared with"),
        (["train", "test_iid", "test_iid"], "'test_iid' is named twice; name each once"),
    ],
)
def test_splits_that_cannot_be_compared_are_refused(splits, message):
    with pytest.raises(ValidationError, match=message):
        Settings(kind="dataset_geometry", splits=splits)
