"""The plan of a study: a YAML file with tasks, models and seeds, and the command line of each run.

    tasks:
      multi30k:                        # a table
        recipe: strong.sh              # relative to this file
        data: ~/corpora/multi30k       # --data of the recipe; relative to this file
        options: {max-epoch: 3}        # of the recipe, scripts/train.sh and fairseq-train
        published: {source: Levy et al. (2018), values: {lstm: 38.2}}
    cells: [lstm, no-srnn-hidden]      # one model for each
    models:                            # other models, with the options that make them
      only the encoder: {encoder-cell: no-srnn, decoder-cell: lstm}
    seeds: [1, 2]
    baseline: lstm                     # the others are tested against it; the first by default

A task may have its own `cells`, `models`, `seeds` and `baseline`, which replace those of the study.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..program import UserError, command_line

SHARED = ("cells", "models", "seeds", "baseline")  # keys of the study or of a task
TASK_KEYS = ("recipe", "data", "options", "published", *SHARED)

Options = Mapping[str, str | bool]


@dataclass(frozen=True)
class Model:
    """A row of the table: the name that the report shows, and the options that make the model."""

    name: str
    options: Options

    @property
    def folder(self) -> str:
        """The name as the name of a folder."""
        return re.sub(r"(?:[^\w.]|_)+", "-", self.name.lower()).strip("-.")


@dataclass(frozen=True)
class Task:
    """A table: what a recipe trains and scores, for several models and seeds.

    Attributes:
        name: of the table, and of its folder.
        recipe, data: paths as in the study's file, relative to `folder`; no `data` is the recipe's.
        options: of all models.
        models, seeds: the runs.
        baseline: the name of the model that the others are tested against.
        source, published: figures of a publication by the name of the model, and where they stand.
    """

    name: str
    recipe: str
    data: str | None
    folder: Path
    options: Options
    models: tuple[Model, ...]
    seeds: tuple[int, ...]
    baseline: str
    source: str
    published: Mapping[str, float]

    def path(self, written: str) -> Path:
        """Where a path of the study's file leads."""
        return (self.folder / Path(written).expanduser()).resolve()


@dataclass(frozen=True)
class Run:
    """One training with its scores. Its folder has its checkpoints, logs and scores."""

    task: Task
    model: Model
    seed: int
    out: Path  # of the task: the data, and the folders of its runs

    @property
    def name(self) -> str:
        """Such as `opennmt/lstm/seed-1`; unique in a study."""
        return f"{self.task.name}/{self.model.folder}/seed-{self.seed}"

    @property
    def folder(self) -> Path:
        """The folder of this run."""
        return self.out / self.model.folder / f"seed-{self.seed}"

    @property
    def options(self) -> Options:
        """The options of the task, where the model has no other."""
        return {**self.task.options, **self.model.options}

    def command(self, prepare: bool = False) -> list[str]:
        """The command line of the recipe; with `prepare`, to make the data of the task only."""
        task = self.task
        data = [] if task.data is None else [f"--data={task.path(task.data)}"]
        recipe = str(task.path(task.recipe))
        shared = [recipe, f"--out={self.out}", *data, *command_line(task.options)]
        if prepare:
            return [*shared, "--prepare-only"]
        own = command_line(self.model.options)
        return [*shared, f"--run={self.folder}", f"--seed={self.seed}", *own]


@dataclass(frozen=True)
class Plan:
    """A study: its file, the folder of its results, and its tasks."""

    file: Path
    out: Path
    tasks: tuple[Task, ...]

    @property
    def runs(self) -> list[Run]:
        """All runs; within a task, every model runs once before any runs with a second seed."""
        return [
            Run(task, model, seed, self.out / task.name)
            for task in self.tasks
            for seed in task.seeds
            for model in task.models
        ]


# The file


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `read_plan` to a command line."""
    parser.add_argument("file", type=Path, metavar="FILE.yaml", help="the study")
    help = "folder for data, runs, scores and report (default runs/studies/FILE)"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=help)


def read_plan(file: Path, out: Path | None = None) -> Plan:
    """Read and check the file of a study; `out` is by default a folder with its name."""
    file = file.absolute()
    folder = (out or Path("runs", "studies", file.stem)).absolute()
    try:
        study = _mapping(yaml.safe_load(file.read_text("utf-8")), ("tasks", *SHARED), "the file")
        tasks = [
            _task(str(name), _mapping(task, TASK_KEYS, f"tasks: {name}"), study, file.parent)
            for name, task in _mapping(study.get("tasks"), None, "tasks").items()
        ]
        _check(bool(tasks), "tasks: name at least one")
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file}: {error}") from error
    return Plan(file, folder, tuple(tasks))


def _check(right: bool, message: str) -> None:
    if not right:
        raise ValueError(message)


def _mapping(value: Any, known: Collection[str] | None, key: str) -> dict[str, Any]:
    """A mapping, all keys of which are in `known`, if that is given."""
    _check(isinstance(value, dict), f"{key}: write `name: value` pairs, not {value!r}")
    for name in value:
        listed = known is None or name in known
        _check(listed, f"{key}: no key {name!r}; the keys are {', '.join(known or ())}")
    return value


def _task(name: str, own: Mapping[str, Any], study: Mapping[str, Any], folder: Path) -> Task:
    """A task with its own keys, and those that it shares with the others."""
    key, given = f"tasks: {name}", {**study, **own}
    right = name[:1] != "." and name != "report" and not {*"/:"} & {*name}
    _check(right, f"{key}: name a folder: not `report`, without '/' and ':', and no '.' first")
    _check("recipe" in own, f"{key}: name a recipe, such as ../translation_multi30k/strong.sh")
    options = _options(own.get("options") or {}, f"{key}: options")
    models = _models(given, key)
    names = [model.name for model in models]
    baseline, listed = str(given.get("baseline") or names[0]), ", ".join(names)
    _check(baseline in names, f"{key}: baseline: no model {baseline!r}; they are {listed}")
    seeds = given.get("seeds") or [1]
    whole = isinstance(seeds, list) and all(type(seed) is int and seed > 0 for seed in seeds)
    right = whole and len({*seeds}) == len(seeds)
    _check(right, f"{key}: seeds: write different positive whole numbers, such as [1, 2]")
    published = _mapping(own.get("published") or {}, ("source", "values"), f"{key}: published")
    values = _mapping(published.get("values") or {}, names, f"{key}: published: values")
    return Task(
        name,
        str(own["recipe"]),
        str(own["data"]) if own.get("data") else None,
        folder,
        options,
        models,
        tuple(seeds),
        baseline,
        str(published.get("source", "")),
        {name: float(figure) for name, figure in values.items()},
    )


def _models(given: Mapping[str, Any], key: str) -> tuple[Model, ...]:
    cells, others = given.get("cells") or [], given.get("models") or {}
    _check(isinstance(cells, list), f"{key}: cells: write a list, such as [lstm, no-srnn-hidden]")
    models = [Model(str(cell), {"cell": str(cell)}) for cell in cells]
    for name, options in _mapping(others, None, f"{key}: models").items():
        models.append(Model(str(name), _options(options, f"{key}: models: {name}")))
    _check(bool(models), f"{key}: give cells, such as [lstm, no-srnn-hidden], or models")
    taken = {"", "data"}  # the recipes have their data there
    for model in models:
        folder = f"the folder {model.folder!r} of {model.name!r} is taken"
        _check(model.folder not in taken, f"{key}: {folder}; choose another name")
        taken.add(model.folder)
    return tuple(models)


def _options(value: Any, key: str) -> Options:
    """Options as on the command line; true stands for one without a value."""
    options = {
        str(name).lstrip("-").replace("_", "-"): setting if setting is True else str(setting)
        for name, setting in _mapping(value, None, key).items()
    }
    for name in ("data", "out", "run", "save-dir", "seed"):
        _check(name not in options, f"{key}: {name}: the study sets this option itself")
    return options
