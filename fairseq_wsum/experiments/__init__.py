"""Experiments, from a corpus to a table: the programs of `fairseq-wsum`, scripts/ and examples/.

    files -> folder, corpora -> text, translation, labelled -> prepare            data
    labelled -> treebank, questions, sentiment -> prepare
    files -> checkpoints -> train -> recipe -> recipes, quickstart                training
    programs -> translating -> score, distil; perplexity; model -> parse, answer  trained models
    plan -> record -> run -> study                                                many models
    plan, record -> results -> significance -> table -> pictures -> report
    results -> runs_file -> report

A recipe reads from `record` which options change no model, and writes its scores by it.
"""
