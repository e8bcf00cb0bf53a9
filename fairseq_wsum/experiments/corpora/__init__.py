"""Prepare corpora: `fairseq-wsum prepare`.

published, folder, bpe -> text, translation, labelled -> prepare
labelled -> treebank, questions, sentiment -> prepare
"""
