"""Files that are complete or absent, and compressed ones."""

import os

import pytest

from fairseq_wsum.files import whole


@pytest.mark.parametrize("before", [{}, {"a.json": "old"}], ids=["new", "replaced"])
def test_a_file_is_replaced_once_it_is_complete_and_not_if_its_writer_fails(
    tmp_path, before
) -> None:
    def found() -> dict[str, str]:
        return {file.name: file.read_text() for file in tmp_path.iterdir()}

    path = tmp_path / "a.json"
    for text in before.values():
        path.write_text(text)
    with pytest.raises(OSError, match="no space"), whole(path) as partial:
        partial.write_text("ne")
        raise OSError("no space")
    assert found() == before
    with whole(path) as partial:
        partial.write_text("new")
        assert path.exists() == bool(before) and partial.parent == tmp_path
    assert found() == {"a.json": "new"}


def test_what_is_not_a_file_is_written_to_itself(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")  # as /dev/stdout of a pipe
    with whole(tmp_path / "pipe") as partial:
        assert partial == tmp_path / "pipe"
    assert partial.is_fifo()
