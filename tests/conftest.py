"""Fixtures for all tests: fixed seeds, and one thread, as the tensors are tiny."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin slow the other worker

import torch
from questions import write_questions
from sentiment_trees import write_trees
from shell import prepare_here, succeeds
from translation_corpus import prepare_options, write_corpus
from treebanks import write_treebank

LONGEST = (
    "test_triton.py",
    "test_triton_compiled.py",
    "test_translation_cli.py",
    "test_language_modeling_cli.py",
    "test_lm_recipes.py",
    "test_study_stops.py",
    "test_study.py",
    "test_resuming.py",
    "test_damaged_checkpoints.py",
    "test_translation_recipes.py",
    "test_score_script.py",
    "test_train_script.py",
    "test_weights_command.py",
    "test_distil.py",
    "test_prepare_translation.py",
    "test_prepare_text.py",
    "test_mistakes.py",
    "test_own_cell.py",
    "test_safe_checkpoints.py",
    "test_triton_memory_cell.py",
    "test_cpp.py",
    "test_cpp_operators.py",
    "test_weights_page.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that no core is left with a long one at the end."""
    order = {name: place for place, name in enumerate(LONGEST)}
    assert all(Path(__file__).with_name(name).is_file() for name in LONGEST)
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "with a blank")


@pytest.fixture(scope="session")
def prepared(corpus, tmp_path_factory):
    """Lower-cased tokens in BPE units."""
    out = tmp_path_factory.mktemp("data") / "bpe data"
    succeeds("prepare.sh", "translation", *prepare_options(corpus, out))
    return out


def _labelled(kind, write):
    @pytest.fixture(scope="session", name=kind)
    def made(tmp_path_factory):
        """A folder with small files for a task; its `data` is prepared of them."""
        folder = write(tmp_path_factory.mktemp(kind) / "raw")
        prepare_here(kind, "--data", folder, "--out", folder / "data")
        return folder

    return made


treebank = _labelled("treebank", write_treebank)
questions = _labelled("questions", write_questions)
sentiment = _labelled("sentiment", write_trees)


@pytest.fixture
def write_study(tmp_path):
    """Write a study of the recipe that takes no time; keyword arguments replace its keys."""
    from study_recipe import writer  # which starts the warm interpreter

    return writer(tmp_path)
