"""Many runs and what they show: `fairseq-wsum study` and `fairseq-wsum report`.

plan -> record -> run -> study
plan, record -> results -> significance -> table -> pictures -> report
results -> runs_file -> report
"""
