"""Prepare corpora: `fairseq-wsum prepare`.

reading -> published; published, folder, bpe -> text, translation, labelled -> prepare
labelled -> treebank, questions, sentiment -> prepare
"""
