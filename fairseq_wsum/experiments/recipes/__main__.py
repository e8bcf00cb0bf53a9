"""`python -m fairseq_wsum.experiments.recipes NAME`: run a recipe."""

from . import main

main()
