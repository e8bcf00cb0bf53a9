"""`python -m fairseq_wsum.experiments.recipes NAME`: run a recipe."""

from ..files import run_module

run_module("fairseq_wsum.experiments.recipes")
