"""Studies: many training runs from one file, and a report with tables, tests and pictures.

    plan -> run -> progress, launch          the training runs
    plan, run, progress -> results -> significance -> tables, pictures, describe -> report
    launch, report -> commands -> arguments  `fairseq-wsum study`, `fairseq-wsum report`

`plan` reads the file, `run` does one training with its scores, `launch` gives the runs to one of
hydra's launchers, and `progress` watches them. `results` reads what they left.
"""
