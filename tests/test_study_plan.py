"""The YAML file of a study: what it plans, and mistakes in it."""

import re
import shlex

import pytest
from commands import ROOT, needs_fairseq, training_options
from commands import run as output_of
from study_recipe import STUDIES, plan_of, task

from fairseq_wsum.experiments.program import UserError
from fairseq_wsum.experiments.studies.plan import Run, read_plan


def test_every_model_runs_with_every_seed_and_all_models_before_a_second_seed(write_study) -> None:
    file = write_study(
        **task(options={"cpu": True, "lr": 0.5}, data="corpus"),
        cells=["lstm"],
        models={"Only the encoder!": {"encoder-cell": "no-srnn", "decoder_cell": "lstm"}},
        seeds=[1, 3],
    )
    plan = plan_of(file)
    assert [run.name for run in plan.runs] == [
        "counting/lstm/seed-1", "counting/only-the-encoder/seed-1",
        "counting/lstm/seed-3", "counting/only-the-encoder/seed-3",
    ]  # fmt: skip
    out = file.parent / "out/counting"
    assert plan.runs[3].command() == [
        str(file.parent.resolve() / "recipe.sh"),
        f"--out={out}",
        f"--data={file.parent.resolve()}/corpus",
        "--cpu",
        "--lr=0.5",
        f"--run={out}/only-the-encoder/seed-3",
        "--seed=3",
        "--encoder-cell=no-srnn",
        "--decoder-cell=lstm",
    ]
    assert plan.tasks[0].baseline == "lstm"


def test_a_task_may_have_its_own_cells_seeds_and_baseline(write_study) -> None:
    own = {"cells": ["gru", "sru"], "seeds": [7], "baseline": "sru"}
    tasks = {"a": {"recipe": "recipe.sh"}, "b": {"recipe": "recipe.sh", **own}}
    plan = plan_of(write_study(tasks=tasks, cells=["lstm"], seeds=[1, 2]))
    assert [run.name for run in plan.runs] == [
        "a/lstm/seed-1", "a/lstm/seed-2", "b/gru/seed-7", "b/sru/seed-7",
    ]  # fmt: skip
    assert plan.tasks[1].baseline == "sru"


def test_own_code_may_have_cells_of_its_own(write_study) -> None:
    own_code = task(options={"user-dir": "mine"})
    (run,) = plan_of(write_study(**own_code, cells=["my-cell"])).runs
    assert run.options == {"user-dir": "mine", "cell": "my-cell"}


MISTAKES = [
    ({"cells": []}, "give cells, such as"),
    ({"cells": "lstm"}, r"cells: write a list, such as \[lstm"),
    (
        {"tasks": {"en/de": {"recipe": "x.sh"}}},
        "tasks: en/de: name a folder: not `report`, without",
    ),
    ({"tasks": {"report": {"recipe": "x.sh"}}}, "tasks: report: name a folder"),
    ({"cels": ["lstm"]}, "the file: no key 'cels'; the keys are tasks, cells"),
    ({"tasks": None}, "tasks: write `name: value` pairs, not None"),
    ({"tasks": {"counting": {}}}, "counting: name a recipe, such as ../translation_multi30k/"),
    (task(option={}), "counting: no key 'option'; the keys are recipe, data"),
    ({"models": {"LSTM": {"lr": 2}}}, "the folder 'lstm' of 'LSTM' is taken; choose another name"),
    ({"models": {"data": {"lr": 2}}}, "the folder 'data' of 'data' is taken"),
    ({"baseline": "gru"}, "baseline: no model 'gru'; they are lstm, no-srnn"),
    ({"seeds": [1, 1]}, "seeds: write different positive whole numbers"),
    ({"seeds": 2}, "seeds: write different positive whole numbers"),
    (task(options={"--seed": 3}), "options: seed: the study sets this option itself"),
    (task(published={"values": {"gru": 1}}), "values: no key 'gru'; the keys are lstm, no-srnn"),
]


@pytest.mark.parametrize(("keys", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes_in_the_file_are_named(write_study, keys, message) -> None:
    with pytest.raises(UserError, match=rf"study\.yaml: .*{message}"):
        plan_of(write_study(**keys))


@pytest.mark.parametrize("text", ["tasks: [", "not a study", "\xff"], ids=ascii)
def test_other_files_are_not_taken_for_studies(tmp_path, text) -> None:
    (tmp_path / "study.yaml").write_text(text, "latin-1")
    with pytest.raises(UserError, match=r"study\.yaml: "):
        plan_of(tmp_path / "study.yaml")


def test_the_examples_in_the_documents_are_studies(tmp_path) -> None:
    sizes = []
    for example in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/studies.md").read_text(), re.S):
        (tmp_path / "study.yaml").write_text(example)
        sizes.append(len(plan_of(tmp_path / "study.yaml").runs))
    assert sizes == [6, 2]  # as they say, and one run of each of two cells


EXAMPLES = sorted(STUDIES.glob("*.yaml"))


@needs_fairseq
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_recipes_of_the_examples_take_the_options_of_their_studies(file, tmp_path) -> None:
    """So does fairseq's parser. A model of each kind is tried: they differ in names of options."""
    for each in read_plan(file, tmp_path).tasks:
        for model in {frozenset(model.options): model for model in each.models}.values():
            run = Run(each, model, 1, tmp_path)
            command = output_of(*run.command(), "--dry-run").splitlines()[0]
            args = training_options(shlex.split(command))
            assert args.max_epoch > 0 and args.seed == 1
            if "lr" in run.options:
                assert args.lr == [float(run.options["lr"])]
