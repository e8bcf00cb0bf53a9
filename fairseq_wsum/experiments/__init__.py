"""Experiments: corpora, recipes, and studies of many training runs with their report.

plan -> record -> run -> study                            `fairseq-wsum study`
plan, record -> results -> significance -> table -> report        `fairseq-wsum report`
"""
