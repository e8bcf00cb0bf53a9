"""No program that reads an untrusted checkpoint runs code from it."""

import ast
import sys
from argparse import Namespace
from itertools import product
from pathlib import Path

import numpy
import pytest
import torch

pytest.importorskip("fairseq")
import fairseq
from commands import BIN, ROOT, USER_DIR, run, train
from shell import fails
from translation_corpus import TINY

import fairseq_wsum.plugin  # noqa: F401  # applies the shims
from fairseq_wsum.checkpoint_files import allowed, damage, read
from fairseq_wsum.plugin.compat.literals import literal


class Runs:
    """An object that is pickled as a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


@pytest.fixture
def trap(tmp_path) -> Path:
    """A file that a checkpoint creates if its code is run."""
    return tmp_path / "trapped"


def calls(trap: Path) -> str:
    return f"__import__('pathlib').Path({str(trap)!r}).touch()"


def in_pickle(state: dict, trap: Path) -> None:
    state["extra_state"]["val_loss"] = Runs(f"touch {trap}")


def in_options(state: dict, trap: Path) -> None:
    """As fairseq saves them: a Namespace in a dict."""
    state["cfg"]["model"].decoder_attention = calls(trap)


def in_old_options(state: dict, trap: Path) -> None:
    """As fairseq saved them up to 0.10: one Namespace."""
    parts = state["cfg"]
    args = {**vars(parts["model"]), "decoder_attention": calls(trap)}
    args |= {key: value for key, value in parts["task"].items() if key != "_name"}
    args |= {"task": parts["task"]["_name"], "criterion": "cross_entropy"}
    state["args"], state["cfg"] = Namespace(**args), None


PLACES = {"pickle": in_pickle, "options": in_options, "old-options": in_old_options}


def make(honest: Path, place: str, trap: Path, folder: Path) -> Path:
    state = read(honest / "checkpoint_last.pt")
    PLACES[place](state, trap)
    path = folder / "checkpoint1.pt"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def translator(prepared, tmp_path_factory) -> Path:
    """fairseq's own LSTM: its options are a Namespace, and it evaluates some of them."""
    folder = tmp_path_factory.mktemp("lstm")
    options = [*TINY.replace("wsum_lstm", "lstm").split(), "--decoder-out-embed-dim", "8"]
    train(prepared, folder, *options, "--max-epoch", 1)
    return folder


def programs(data: Path, checkpoint: Path, folder: Path) -> dict[str, list]:
    """Every program of fairseq that reads a checkpoint of a translation model."""
    common = [data, "--user-dir", USER_DIR, "--cpu"]
    reading = [*common, "--path", checkpoint]
    training = [*common, "--save-dir", folder, "--max-epoch", 1, *TINY.split()]
    return {
        "generate": ["fairseq-generate", *reading, "--gen-subset", "valid"],
        "interactive": ["fairseq-interactive", *reading],
        "validate": ["fairseq-validate", *reading, "--task", "translation", "--batch-size", 8],
        "resume": ["fairseq-train", *training, "--restore-file", checkpoint],
        "finetune": ["fairseq-train", *training, "--finetune-from-model", checkpoint],
    }


READ = [
    *product(programs(Path(), Path(), Path()), ["pickle"]),
    *(("generate", "options"), ("generate", "old-options")),
]  # a training reads no options


@pytest.mark.parametrize(("program", "place"), READ)
def test_no_fairseq_program_runs_code_from_a_checkpoint(
    program, place, prepared, translator, trap, tmp_path
) -> None:
    checkpoint = make(translator, place, trap, tmp_path)
    command = programs(prepared, checkpoint, tmp_path / "new")[program]
    output = run(*command, check=False, stdin="a\n")
    assert not trap.exists()
    assert CODE[place.removeprefix("old-")] in output


CODE = {"pickle": "it holds posix.system", "options": "malformed node or string"}


def scripts(data: Path, checkpoint: Path, folder: Path) -> dict[str, list]:
    """Every program of ours that reads a checkpoint; some expect that of another model."""
    one = ["--checkpoints", checkpoint]
    arrays = ["--data", data, "--sentence", "a", "--arrays", folder / "a.npz"]
    return {
        "score": ["scripts/score.sh", data, "--checkpoints", folder, "--average", 1],
        "distil": ["scripts/distil.sh", data, *one, "--out", folder / "out", "--cpu"],
        "weights": ["fairseq-wsum", "weights", checkpoint, *arrays],
        "parse": ["fairseq-wsum", "parse", checkpoint, "--data", data],
    }


@pytest.mark.parametrize("place", CODE)
@pytest.mark.parametrize("script", scripts(Path(), Path(), Path()))
def test_no_script_runs_code_from_a_checkpoint(
    script, place, prepared, translator, trap, tmp_path
) -> None:
    pytest.importorskip("sacremoses")
    checkpoint = make(translator, place, trap, tmp_path)
    command, *options = scripts(prepared, checkpoint, tmp_path)[script]
    command = ROOT / command if command.startswith("scripts/") else command
    assert CODE[place] in run(command, *options, check=False)
    assert not trap.exists()


def test_looking_for_the_newest_runs_no_code_from_a_checkpoint(
    prepared, translator, trap, tmp_path
) -> None:
    make(translator, "pickle", trap, tmp_path)
    message = fails("train.sh", prepared, "--save-dir", tmp_path, *TINY.split(), "--gpus", 0)
    assert "no intact checkpoint to continue from" in message and "give a new --save-dir" in message
    assert not trap.exists()


def test_scoring_a_language_model_runs_no_code_from_a_checkpoint(
    translator, trap, tmp_path
) -> None:
    checkpoint = make(translator, "pickle", trap, tmp_path)
    for name in ("dict.txt", "test.bin", "test.idx"):
        (tmp_path / name).touch()
    options = ["--checkpoint", checkpoint, "--splits", "test"]
    assert CODE["pickle"] in fails("perplexity.sh", tmp_path, *options)
    assert not trap.exists()


def test_the_trap_works(translator, trap, tmp_path) -> None:
    """Without the plugin fairseq runs the option."""
    program = """
import argparse, sys, torch
torch.serialization.add_safe_globals([argparse.Namespace])
from fairseq import checkpoint_utils
checkpoint_utils.load_model_ensemble_and_task([sys.argv[1]], arg_overrides={"data": sys.argv[2]})
"""
    checkpoint = make(translator, "options", trap, tmp_path)
    data = read(checkpoint)["cfg"]["task"]["data"]
    run(BIN / "python", "-c", program, checkpoint, data, check=False)
    assert trap.exists()


def test_every_eval_in_fairseq_is_covered() -> None:
    """By the source of fairseq: every module with a call of eval."""
    root = Path(fairseq.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        if "examples" in parts or "eval(" not in path.read_text("utf-8"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in ("eval", "exec"):
                found.add(".".join(parts))
    assert len(found) > 10
    assert all(vars(sys.modules[name])["eval"] is literal for name in found)


@pytest.mark.parametrize(
    "text",
    [
        *("1", "True", "None", "-2.5e-3", "10000,50000", "(0.9, 0.98)", "[(512, 3)] * 20", "'a'"),
        *("[(512, 10, 5)] + [(512, 8, 4)] + [(512, 4, 2)] * 3", "2 * [1]", " 4 "),
    ],
)
def test_a_literal_evaluates_to_its_value(text) -> None:
    assert literal(text) == eval(text.strip())


@pytest.mark.parametrize(
    "text",
    [
        *("__import__('os')", "a", "(1).real", "[x for x in 'ab']", "f'{1}'", "lambda: 1"),
        *("9**9**9", "", "1/0"),
    ],
)
def test_nothing_else_is_evaluated(text) -> None:
    with pytest.raises((ValueError, SyntaxError)):
        literal(text)


def test_checkpoints_are_read_with_an_allowlist_of_types() -> None:
    """None of the allowed types can be used to run code."""
    names = {getattr(kind, "__name__", "") for kind in allowed() if not isinstance(kind, tuple)}
    assert names == {
        *("Namespace", "ndarray", "dtype", "Int64DType", "Float64DType", "_reconstruct", "scalar")
    }


def test_a_score_may_be_a_number_of_numpy(tmp_path) -> None:
    """As the F1 of a classifier."""
    torch.save({"model": {}, "best": numpy.float64(0.5)}, tmp_path / "best.pt")
    assert read(tmp_path / "best.pt")["best"] == 0.5 and damage(tmp_path / "best.pt") is None


def test_a_pickle_with_a_call_is_distinguished_from_a_broken_file(tmp_path, monkeypatch) -> None:
    torch.save({"model": {}, "x": Runs("true")}, tmp_path / "calls.pt")
    what = damage(tmp_path / "calls.pt")
    assert what is not None
    assert what.startswith("it holds posix.system, which is neither a tensor nor a plain value")
    assert "if you trust the file, set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1" in what
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert damage(tmp_path / "calls.pt") is None
