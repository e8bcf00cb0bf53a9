"""Import the modules of examples/quickstart, which is not a package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "quickstart"
MODULES = ("lexicon", "grammar", "captions", "make_corpus")  # in the order they import each other


def load_modules() -> SimpleNamespace:
    """The example's modules, imported as the script does: as siblings on the path."""
    hidden = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    loaded = SimpleNamespace()
    for name in MODULES:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        setattr(loaded, name, module)
    for name in MODULES:
        del sys.modules[name]
    sys.modules.update(hidden)
    return loaded
