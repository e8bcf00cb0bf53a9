"""Imports run one way, and the layer needs torch alone."""

import ast
from pathlib import Path

import pytest
from commands import ROOT, run

PACKAGE = ROOT / "fairseq_wsum"
ORDER = ["cells", "training", "recurrence", "layer", "plugin", "weights", "experiments", "cli"]
# they import nothing else of ours
SHARED = {"argument_types", "checkpoint_files", "files", "machine"}
SHARED |= {"csrc", "kernels", "products", "transforms"}


def imported(path: Path, root: Path = PACKAGE) -> set[str]:
    """The parts of a folder that a module in it imports, without those for type checkers."""
    tree = ast.parse(path.read_text())
    branches = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    typing = [node for node in branches if ast.unparse(node.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for node in typing for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in skipped or not node.level:
            continue
        base = path.parents[node.level - 1]
        if base.is_relative_to(root):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {(*base.relative_to(root).parts, *name.split("."))[0] for name in names}
    return found


def absolute(path: Path) -> set[str]:
    """The first parts of the names of all modules that are not imported relatively."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split(".")[0] for name in plain | names if name}


def test_imports_run_one_way() -> None:
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).with_suffix("").parts[0]
        assert part in {*ORDER, *SHARED, "__init__"}, path
        theirs = imported(path) & {*ORDER, *SHARED}
        if part in ORDER:
            assert theirs <= {*ORDER[: ORDER.index(part) + 1], *SHARED}, path
        elif part in SHARED:
            assert theirs <= SHARED, path
        # --user-dir puts the root of the repository on the path
        found = absolute(path)
        assert not found & {"tests", "examples", "scripts", "benchmarks", "fairseq_wsum"}, path
        if part in ("cells", "training", "recurrence", "layer", "kernels", "products"):
            assert not found & {"fairseq", "omegaconf", "hydra", "numpy"}, path


WITHIN_THE_PLUGIN = {
    "compat": (),
    "modules": (),
    "models": ("modules",),
    "data": ("modules",),
    "decoding": ("modules",),
    "criterions": ("modules", "models", "data"),
    "tasks": ("modules", "models", "data", "compat"),
}


@pytest.mark.parametrize("part", WITHIN_THE_PLUGIN)
def test_imports_within_the_plugin_run_one_way(part) -> None:
    plugin = PACKAGE / "plugin"
    for path in (plugin / part).rglob("*.py"):
        found = imported(path, plugin) & WITHIN_THE_PLUGIN.keys()
        assert found <= {part, *WITHIN_THE_PLUGIN[part]}, path


def test_imports_within_the_experiments_run_one_way() -> None:
    experiments = PACKAGE / "experiments"
    for path in experiments.rglob("*.py"):
        parts = path.relative_to(experiments).parts[:-1]
        found = imported(path, experiments)
        if parts == ("corpora",):
            assert found <= {"corpora", "program", "text_files"}, path
        elif parts == ("recipes",):
            assert "studies" not in found, path
        elif parts == ("studies",):
            assert not {"corpora", "recipes"} & found, path
        else:
            assert not {"recipes", "studies"} & found, path


def test_the_layer_needs_only_torch() -> None:
    """It imports neither fairseq, which configures the root logger, nor anything slow."""
    code = """
import logging, sys
import torch, fairseq_wsum
assert not {"fairseq", "torch._dynamo", "triton"} & sys.modules.keys()
y, _ = fairseq_wsum.WsumLSTM(3, 4, cell="no-srnn-hidden")(torch.zeros(2, 1, 3))
assert y.shape == (2, 1, 4)
root = logging.getLogger()
assert root.level == logging.WARNING and not root.handlers
"""
    run("python", "-c", code)


def test_the_tool_shows_backends_where_torch_is_the_only_package() -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(("numpy", "omegaconf", "yaml", "matplotlib")))  # no such modules
from fairseq_wsum import cli
cli.main(["info"])
assert "fairseq" not in sys.modules
"""
    assert "C++ kernels: " in run("python", "-c", code)


def test_corpora_can_be_prepared_without_what_their_kind_does_not_need() -> None:
    code = "import sys, fairseq_wsum.experiments.corpora.prepare; print(*sorted(sys.modules))"
    found = set(run("python", "-c", code).split())
    assert "fairseq_wsum.experiments.corpora.prepare" in found
    assert not {"fairseq", "sentencepiece", "sacremoses"} & found


def test_the_models_are_registered_if_fairseq_was_imported_before() -> None:
    """As with --user-dir. Otherwise nothing of fairseq is patched."""
    code = "import sys, {}fairseq_wsum; print('found', 'fairseq_wsum.plugin' in sys.modules)"
    for before, expected in (("fairseq, ", "found True"), ("", "found False")):
        assert expected in run("python", "-c", code.format(before))
