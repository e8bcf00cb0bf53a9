"""The YAML file of a study, and the plan that it makes."""

import math
import re
import shlex

import pytest
from commands import ROOT, needs_fairseq, training_options
from commands import run as output_of
from study_recipe import STUDIES, plan_of, run_study, task

from fairseq_wsum.study.plan import Run
from fairseq_wsum.study.plan_file import read_plan
from fairseq_wsum.study.requirements import check_one_gpu, check_requirements
from fairseq_wsum.study.run import state


def check(file) -> None:
    check_requirements(file, plan_of(file).runs)


def test_the_plan_has_every_model_with_every_seed_and_all_models_before_a_second_seed(
    write_study,
) -> None:
    file = write_study(
        seeds=[3, 4],
        models={"Only the encoder": {"encoder-cell": "no-srnn", "decoder_cell": "lstm"}},
        tasks={"counting": {"recipe": "recipe.sh", "options": {"cpu": True, "lr": 0.5}}},
    )
    plan = plan_of(file)
    out = file.parent.resolve() / "out" / "counting"
    assert [run.name for run in plan.runs] == [
        "counting/lstm/seed-3",
        "counting/no-srnn/seed-3",
        "counting/only-the-encoder/seed-3",
        "counting/lstm/seed-4",
        "counting/no-srnn/seed-4",
        "counting/only-the-encoder/seed-4",
    ]
    assert plan.runs[2].command() == [
        str(file.parent.resolve() / "recipe.sh"),
        f"--out={out}",
        "--cpu",
        "--lr=0.5",
        f"--run={out}/only-the-encoder/seed-3",
        "--seed=3",
        "--encoder-cell=no-srnn",
        "--decoder-cell=lstm",
    ]
    assert plan.tasks[0].baseline == "lstm"


def test_keys_without_a_value_are_not_given(write_study) -> None:
    plan = plan_of(write_study(seeds=None, baseline=None, models=None))
    assert [run.name for run in plan.runs] == ["counting/lstm/seed-1", "counting/no-srnn/seed-1"]
    assert plan.tasks[0].baseline == "lstm"


def test_a_key_without_a_value_in_a_task_leaves_that_of_the_file(write_study) -> None:
    tasks = {"copy": {"recipe": "recipe.sh", "seeds": None}}
    assert plan_of(write_study(seeds=[3, 4], tasks=tasks)).tasks[0].seeds == (3, 4)


def test_a_date_that_does_not_exist_is_invalid_yaml(write_study) -> None:
    file = write_study()
    file.write_text(file.read_text() + "x: 2020-13-45\n")
    with pytest.raises(ValueError, match=r"study\.yaml is not valid YAML: month must be in"):
        plan_of(file)


def test_a_chain_of_merge_keys_may_reach_a_mapping_above_its_depth(tmp_path) -> None:
    file = tmp_path / "study.yaml"
    (tmp_path / "recipe.sh").touch(0o755)
    file.write_text(
        "tasks:\n  a:\n    recipe: recipe.sh\n    models:\n"
        "      one: &one {lr: 1}\n      two: &two {<<: *one, lr: 2}\n"
        "  b: {recipe: recipe.sh}\nmodels: {three: {<<: *two}}\n"
    )
    assert [run.model.options["lr"] for run in plan_of(file).runs] == ["1", "2", "2"]


def test_a_study_on_this_machine_gives_each_run_one_gpu(write_study) -> None:
    check_one_gpu(plan_of(write_study(**task(options={"gpus": 0}))))
    with pytest.raises(ValueError, match=r"counting: lstm: gpus: 2: each run of a study has one"):
        check_one_gpu(plan_of(write_study(**task(options={"gpus": 2}))))


def test_the_name_of_a_model_is_one_line(write_study) -> None:
    plan = plan_of(write_study(models={"my\n best  model": {"cell": "sru"}}))
    assert plan.runs[2].model.name == "my best model"


def test_a_task_may_have_its_own_cells_and_seeds(write_study) -> None:
    tasks = {
        "a": {"recipe": "recipe.sh"},
        "b": {"recipe": "recipe.sh", "cells": ["gru", "sru"], "seeds": [7], "baseline": "sru"},
    }
    plan = plan_of(write_study(tasks=tasks, cells=["lstm"], seeds=[1, 2]))
    assert [run.name for run in plan.runs] == [
        "a/lstm/seed-1", "a/lstm/seed-2", "b/gru/seed-7", "b/sru/seed-7",
    ]  # fmt: skip
    assert plan.tasks[1].baseline == "sru"


def test_a_cell_of_the_users_own_is_known_to_fairseq_only(write_study) -> None:
    tasks = {"counting": {"recipe": "recipe.sh", "options": {"user-dir": "mine"}}}
    assert (
        plan_of(write_study(tasks=tasks, cells=["my-cell"])).runs[0].name
        == "counting/my-cell/seed-1"
    )
    models = {"mine": {"cell": "my-cell", "user-dir": "mine"}}
    assert plan_of(write_study(models=models)).runs[2].model.options["cell"] == "my-cell"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cells": ["lstm", "no-such"]}, "cells: no cell 'no-such'; choose from lstm, no-srnn"),
        ({"cels": ["lstm"]}, "no key 'cels'; the keys are tasks, cells"),
        (task(option={}), "counting: no key 'option'; the keys are recipe, data"),
        ({"tasks": {"counting": {}}}, "recipe: name a script, such as ../translation_multi30k/"),
        (task(options={"lr": None}), "options: lr: write the option without dashes"),
        (task(options={"seed": 3}), "options: seed: the study sets this option itself"),
        (task(options={"stop-time-hours": 3}), "each run of a study trains to the end"),
        ({"baseline": ["lstm"]}, r"baseline: no model \['lstm'\]"),
        ({"models": {"prepare.log": {"cell": "lstm"}}}, "the task has prepare.log beside"),
        (task(options={"--lr": 3}), "options: --lr: write the option without dashes"),
        (task(options={"lr": [1, 2]}), "options: lr: write the option without dashes"),
        (task(options={"max-epoch": 1, "max_epoch": 2}), "max_epoch: the option is given twice"),
        ({"seeds": [1, 1]}, "seeds: seed 1 is given twice"),
        (task(data=None), "counting: data: write a path, or remove the line"),
        ({"seeds": [0]}, r"write positive whole numbers, such as \[1, 2\], not \[0\]"),
        ({"cells": ["lstm", "lstm"]}, "'lstm' and 'lstm' would have one folder, lstm"),
        ({"models": {"No SRNN": {"cell": "sru"}}}, "'no-srnn' and 'No SRNN' would have one folder"),
        ({"models": {"x": {"decoder-cell": "y"}}}, "models: x: decoder-cell: no cell 'y'"),
        ({"models": {"x": 3}}, "models: x: write a mapping"),
        ({"models": {"x" * 201: {"cell": "sru"}}}, "'x*' is too long for a folder"),
        (task(options={"lr": "1\0"}), r"options: lr: a command line cannot have the character"),
        ({"models": {"x": {"feeding": False}}}, "models: x: feeding: no, off and false are one"),
        ({"models": {"Data": {"cell": "lstm"}}}, "the task has data beside its models; choose"),
        ({"baseline": "gru"}, "baseline: no model 'gru'; there are lstm, no-srnn"),
        ({"tasks": {}}, "tasks: name at least one task"),
        ({"tasks": {"runs": {"recipe": "recipe.sh"}}}, "runs: the report has a file of this name"),
        ({"tasks": {"report": {"recipe": "recipe.sh"}}}, "report: the report goes into a folder"),
        ({"models": {300: {"cell": "lstm"}}}, "models: 300 is not text in YAML: quote the name"),
        ({"tasks": {"a/b": {"recipe": "recipe.sh"}}}, "a task's name has letters"),
        ({"tasks": {"x" * 201: {"recipe": "recipe.sh"}}}, "is longer than 200 letters"),
        ({"cells": []}, "give cells, such as"),
        ({"cells": "lstm"}, r"cells: write a list, such as \[lstm, no-srnn-hidden\]"),
        ({"models": {"--": {"cell": "lstm"}}}, "counting: models: '--' has no letter or digit"),
        (task(published={"source": "x", "values": {"gru": 1}}), "published: values: no key 'gru'"),
        (task(published={"source": "x", "values": {"lstm": "1"}}), "lstm: '1' is not a decimal"),
        (task(published={"source": "x", "values": {"lstm": math.nan}}), "lstm: '.nan' is not a"),
        (task(options={"learning rate": 3}), "learning rate: an option's name has letters"),
        ({"models": {"x": {"bpe-dropout": 0.2}}}, "bpe-dropout: the models of a task share its"),
        (
            task(options={"own-corpus": True}) | {"models": {"x": {"bpe-dropout": 0.1}}},
            "data, which is made for 0: write another value below the task's options",
        ),
        (
            task(options={"bpe-dropout": 0.2}) | {"models": {"x": {"bpe-dropout": 0}}},
            "data, which is made for 0.2: write another value below the task's options",
        ),
        ({"models": {"x": {"bpe-dropout": "x"}}}, "x: bpe-dropout: 'x' is not a number"),
        (task(recipe="~no-such-user/recipe.sh"), "recipe: ~no-such-user/recipe.sh: Could not"),
        (task(data=""), "data: write a path, or remove the line"),
        ({"models": {"x": {"bpe-size": 99}}}, "x: bpe-size: the models of a task share its data"),
        (task(published={"source": "x", "values": {"lstm": 10**400}}), "is not a decimal number"),
        (task(published={"source": "x", "values": {"a b": 1, "a  b": 2}}), "differ in white space"),
        (task(published={"values": {"lstm": 1}}), "published: give the source as text, and the"),
    ],
)  # fmt: skip
def test_mistakes_in_the_file_are_named(write_study, keys, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        plan_of(write_study(**keys))
    assert "study.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("keys", "text", "message"),
    [
        ({"seeds": [12345]}, "010", r"whole numbers, such as \[1, 2\], not.*010"),
        (task(published={"source": "x", "values": {"lstm": 12345}}), "1:30", "'1:30' is not a"),
        (task(options={"lr": 12345}), "!!bool maybe", "is not valid YAML"),
        (task(options={"lr": 12345}), "!!timestamp x", "is not valid YAML"),
    ],
    ids=["octal", "minutes", "bool", "timestamp"],
)
def test_values_that_yaml_reads_otherwise_than_they_look_are_errors(
    write_study, keys, text, message
) -> None:
    file = write_study(**keys)
    file.write_text(file.read_text().replace("12345", text))
    with pytest.raises(ValueError, match=message):
        plan_of(file)


def test_text_that_is_no_study_is_not_repeated_in_full(tmp_path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a study\n" * 1000)
    with pytest.raises(ValueError, match="the file: write a mapping") as error:
        plan_of(file)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("place", ["options", "mine"])
def test_a_missing_folder_of_own_code_is_named(write_study, place) -> None:
    options = {"user-dir": "gone", "cell": "my-cell"}
    keys = {"models": {"mine": options}} if place == "mine" else task(options={"user-dir": "gone"})
    with pytest.raises(
        ValueError, match=rf"tasks: counting: {place}: user-dir: no folder gone in "
    ):
        check(write_study(**keys))


OWN_CELL = """
from fairseq_wsum import register_cell
from fairseq_wsum.cells import MinGRU
print("a line of the user's own")
register_cell(MinGRU(name="mine"))
"""


@needs_fairseq
def test_a_cell_that_the_own_code_does_not_register_is_an_error(
    write_study, warm_python, tmp_path
) -> None:
    folder = tmp_path / "code_with_a_cell"
    folder.mkdir()
    (folder / "__init__.py").write_text(OWN_CELL)
    options = {"user-dir": str(folder)}
    check(write_study(cells=["lstm", "mine"], **task(options=options)))
    for keys, place in (
        ({"cells": ["mine", "yours"], **task(options=options)}, "yours: cell"),
        ({"models": {"x": {"encoder-cell": "yours", **options}}}, "x: encoder-cell"),
    ):
        message = f"tasks: counting: {place}: no cell 'yours'; choose from .*, mine"
        with pytest.raises(ValueError, match=message):
            check(write_study(**keys))


@needs_fairseq
def test_own_code_that_cannot_be_imported_is_an_error(write_study, warm_python, tmp_path) -> None:
    folder = tmp_path / "code_with_a_mistake"
    folder.mkdir()
    (folder / "__init__.py").write_text("import no_such_module")
    keys = task(options={"user-dir": str(folder)})
    message = f"lstm2: user-dir: {folder} cannot be imported: .*No module named 'no_such_module'"
    with pytest.raises(ValueError, match=message):
        check(write_study(cells=["lstm2"], **keys))


@pytest.mark.parametrize(("key", "what"), [("data", "folder"), ("recipe", "file")])
def test_what_is_missing_is_named(write_study, key, what) -> None:
    file = write_study(**task(**{key: "gone"}))
    message = rf"study.yaml: tasks: counting: {key}: no {what} .*gone; the path is relative to"
    with pytest.raises(ValueError, match=message):
        check(file)


def test_a_path_of_data_is_taken_as_it_is_written(write_study) -> None:
    file = write_study(**task(data="2016.10"))
    file.write_text(file.read_text().replace("'2016.10'", "2016.10"))
    assert "data: 2016.10" in file.read_text()
    assert plan_of(file).tasks[0].data == file.parent / "2016.10"
    with pytest.raises(ValueError, match=r"data: write a path, not \['a'\]"):
        plan_of(write_study(**task(data=["a"])))


def test_a_recipe_that_cannot_be_executed_is_named(write_study) -> None:
    file = write_study()
    (file.parent / "recipe.sh").chmod(0o644)
    with pytest.raises(ValueError, match="cannot be executed: run chmod"):
        check(file)


def test_models_may_have_names_in_any_script(write_study) -> None:
    file = write_study(
        models={"ohne Gedächtnis (1)": {"cell": "gru"}, "無門": {"cell": "no-gates"}}
    )
    assert run_study(file)[0] == 0
    runs = plan_of(file).runs[2:]
    assert [run.folder.parent.name for run in runs] == ["ohne-gedächtnis-1", "無門"]
    assert [state(run) for run in runs] == ["finished", "finished"]


def test_a_model_may_take_over_the_options_of_another(write_study) -> None:
    file = write_study(cells=[])
    with file.open("a") as study:
        study.write("models:\n  a: &a {cell: gru, lr: 1}\n  b: &b {<<: *a, lr: 2}\n  c: {<<: *b}\n")
        study.write("seeds: [1]\n")
    assert [run.model.options["lr"] for run in plan_of(file).runs] == ["1", "2", "2"]
    assert {run.model.options["cell"] for run in plan_of(file).runs} == {"gru"}


def test_numbers_reach_the_recipe_as_they_are_written(write_study) -> None:
    file = write_study(cells=[])
    with file.open("a") as study:
        study.write(
            "models: {a: {cell: gru, lr: 1.0e-5, dropout: 0.10, b: 010, c: 1_000, d: 1:30}}\n"
        )
    assert plan_of(file).runs[0].command()[-5:] == [
        "--lr=1.0e-5", "--dropout=0.10", "--b=010", "--c=1_000", "--d=1:30",
    ]  # fmt: skip


def test_a_key_that_is_there_twice_and_text_that_is_no_yaml_are_errors(tmp_path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("seeds: [1]\nseeds: [2]\n")
    with pytest.raises(ValueError, match="the key 'seeds' is given twice"):
        plan_of(file)
    file.write_text("tasks: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        plan_of(file)


def test_a_mistake_ends_the_command_before_anything_is_made(write_study) -> None:
    file = write_study(cells=["no-such"])
    status, said = run_study(file)
    assert status == 1
    assert "no cell 'no-such'" in said and "Traceback" not in said
    assert not (file.parent / "out").exists()


def test_the_examples_in_the_documents_are_studies(tmp_path) -> None:
    (tmp_path / "captions.sh").touch(0o755)
    sizes = []
    for example in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/studies.md").read_text(), re.S):
        (tmp_path / "study.yaml").write_text(example)
        sizes.append(len(plan_of(tmp_path / "study.yaml").runs))
    assert sizes == [6, 2]  # as they say, and one run of each of two cells


EXAMPLES = sorted(STUDIES.glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_recipes_of_the_examples_take_the_options_of_their_studies(file, tmp_path) -> None:
    """So does fairseq's parser. A model of each kind is tried: they differ in names of options."""
    for each in read_plan(file, tmp_path).tasks:
        for model in {frozenset(model.options): model for model in each.models}.values():
            command = output_of(*Run(each, model, 1, tmp_path).command(), "--dry-run")
            args = training_options(shlex.split(command))
            assert args.max_epoch > 0 and args.seed == 1
            if "lr" in (given := each.options_of(model)):
                assert args.lr == [float(given["lr"])]
