"""The tables of results whose runs are in the repository are those of `fairseq-wsum report`."""

import pytest
from commands import ROOT

from fairseq_wsum.experiments.plan import read_plan
from fairseq_wsum.experiments.report import markdown
from fairseq_wsum.experiments.runs_file import read_runs
from fairseq_wsum.experiments.table import Table

RUNS = sorted(ROOT.glob("examples/*/*.runs.json"))


@pytest.mark.parametrize("runs", RUNS, ids=lambda path: path.name)
def test_the_page_has_the_tables_of_its_runs(runs) -> None:
    name = runs.name.removesuffix(".runs.json")
    plan = read_plan(runs.with_name(f"{name}.yaml"))
    results, page = read_runs(plan, [runs]), runs.with_name("README.md").read_text("utf-8")
    tables = [Table(task, results) for task in plan.tasks]
    shown = [markdown(table) for table in tables if any(table.runs.values())]
    assert shown and all(table in page for table in shown)
