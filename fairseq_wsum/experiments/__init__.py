"""Experiments, from a corpus to a table. `scripts/*.sh` and `examples/*/*.sh` call these programs.

files -> folder, corpora -> text, translation -> prepare          scripts/prepare_*.sh
files -> train -> recipe -> recipes                               scripts/train.sh, examples/
plan -> record -> run -> study                                    fairseq-wsum study
plan, record -> results -> significance -> report                 fairseq-wsum report
"""
