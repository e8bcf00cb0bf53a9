"""Files that are complete or absent."""

import pytest

from fairseq_wsum.files import whole


@pytest.mark.parametrize("before", [{}, {"a.json": "old"}], ids=["new", "replaced"])
def test_a_file_has_its_name_only_when_it_is_complete(tmp_path, before) -> None:
    path = tmp_path / "a.json"
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    with whole(path) as partial:
        partial.write_text("new")
        assert path.exists() == bool(before) and partial.parent == tmp_path
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.json": "new"}


@pytest.mark.parametrize("before", [{}, {"a.json": "old"}], ids=["new", "replaced"])
def test_a_writer_that_fails_halfway_changes_nothing(tmp_path, before) -> None:
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(OSError, match="no space"), whole(tmp_path / "a.json") as partial:
        partial.write_text("ne")
        raise OSError("no space")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == before
