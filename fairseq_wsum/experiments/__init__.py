"""Experiments, from a corpus to a table: the programs of `fairseq-wsum`, scripts/ and examples/.

    program, text_files -> corpora/        corpora as fairseq's binary data
    these -> train, score, parse, ...      programs that call fairseq, or load one model
    these -> recipes/                      from a corpus to a score
    train -> studies/                      many recipes, and a report on them

A study starts recipes as processes; they can be programs of one's own.
"""
