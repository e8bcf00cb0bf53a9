"""scripts/quickstart.sh from beginning to end, shortened, in a copy of the clone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fairseq")
ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_quickstart_trains_and_scores_and_its_second_run_is_quick(tmp_path) -> None:
    clone = tmp_path / "a clone"
    for folder in ("fairseq_wsum", "scripts", "examples"):
        shutil.copytree(ROOT / folder, clone / folder)
    # without VENV and .venv the environment on PATH is used and not set up again
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if k != "VENV"} | {"PATH": path}

    def quickstart() -> str:
        command = [str(clone / "scripts" / "quickstart.sh"), "--epochs", "2"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout + done.stderr

    first, second = quickstart(), quickstart()
    for output in (first, second):
        bleu = {
            what: float(re.search(rf"{what} +([\d.]+)", output)[1])
            for what in ("this model", "copying the English")
        }
        assert bleu["this model"] > 30 + bleu["copying the English"]
        assert "BLEU|nrefs:1|case:mixed|eff:no|tok:none" in output
    assert "epoch 2 done" in first
    assert "epoch 2 done" not in second and "done before" in second
