"""Prepare corpora: `fairseq-wsum prepare`.

reading, folder -> published, bpe -> text, translation, labelled -> prepare
labelled -> treebank, questions, sentiment -> prepare
"""
