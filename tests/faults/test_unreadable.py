"""A file that cannot be read is not taken for one that is not there."""

import errno

import pytest

from bids_group import input_files
from bids_group.errors import MissingInputError
from bids_group.json_files import peek_json


@pytest.mark.parametrize("error", ["EIO", "EACCES", "ESTALE", "ETIMEDOUT", "ENOENT", "EINVAL", "ELOOP"])
def test_peeking_into_a_file_that_cannot_be_opened(monkeypatch, tmp_path, error):
    path = tmp_path / "dataset_description.json"
    path.write_text("{}")

    def fail(*_):
        raise OSError(getattr(errno, error), "no luck")

    monkeypatch.setattr(input_files.os, "open", fail)
    if error in ("ENOENT", "EINVAL", "ELOOP"):
        assert peek_json(path) is None
        return
    with pytest.raises(MissingInputError, match="cannot be read") as caught:
        peek_json(path)
    assert caught.value.found == "no luck"
    assert str(path) in str(caught.value)
