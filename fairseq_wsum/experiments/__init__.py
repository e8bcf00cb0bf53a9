"""Experiments from a corpus to a score; so far, the corpora.

`python -m fairseq_wsum.experiments.prepare` prepares them for fairseq, and `scripts/prepare_*.sh`
call it. Only the steps that need fairseq, sentencepiece or sacremoses import them.
"""
