"""The plan of a study: a YAML file with tasks, models and seeds, and the command line of each run.

    tasks:
      captions:                        # a table
        recipe: captions.sh            # relative to this file
        data: ~/corpora/captions       # --data of the recipe; relative to this file
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

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..cells import CELLS

SHARED = ("cells", "models", "seeds", "baseline")  # keys of the study or of a task
TASK_KEYS = ("recipe", "data", "options", "published", *SHARED)
# A study sets the first of these itself; with the others a recipe would end before the training.
RESERVED = (
    "data",
    "out",
    "prepare-only",
    "run",
    "save-dir",
    "seed",
    "dry-run",
    "stop-time-hours",
    "help",
)

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
        recipe, data: paths; `data` is None for the recipe's own.
        written: the same two as they are written in the file.
        options: of all models.
        models, seeds: the runs.
        baseline: the name of the model that the others are tested against.
        source, published: figures of a publication by the name of the model, and where they stand.
    """

    name: str
    recipe: Path
    data: Path | None
    written: Mapping[str, str]
    options: Options
    models: tuple[Model, ...]
    seeds: tuple[int, ...]
    baseline: str
    source: str = ""
    published: Mapping[str, float] = field(default_factory=dict)


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

    def command(self) -> list[str]:
        """The command line of the recipe."""
        run = [f"--run={self.folder}", f"--seed={self.seed}"]
        return [*_recipe_command(self.task, self.out), *run, *command_line(self.model.options)]


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


def prepare_command(task: Task, out: Path) -> list[str]:
    """The command line that makes the data of a task, unless they exist."""
    return [*_recipe_command(task, out), "--prepare-only"]


def _recipe_command(task: Task, out: Path) -> list[str]:
    data = [] if task.data is None else [f"--data={task.data}"]
    return [str(task.recipe), f"--out={out}", *data, *command_line(task.options)]


def command_line(options: Options) -> list[str]:
    """Options as words of a command line; True stands for an option without a value."""
    return [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()
    ]


# The file


def read_plan(file: Path, out: Path) -> Plan:
    """Read and check the file of a study.

    Args:
        file: the YAML file.
        out: the folder for data, runs and report.

    Raises:
        ValueError: the file is not a study; the message names the key.
    """
    file, out = file.expanduser().absolute(), out.expanduser().absolute()
    if not file.is_file():
        raise ValueError(f"{file}: no such file; give the YAML file of a study")
    try:
        content = yaml.load(file.read_text("utf-8"), _Loader)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    try:
        study = _mapping(content, ("tasks", *SHARED), "the file")
        shared = {name: study.get(name) for name in SHARED}
        tasks = _mapping(study.get("tasks") or {}, None, "tasks")
        found = [_task(str(name), value, shared, file.parent) for name, value in tasks.items()]
        _check(bool(found), "tasks: name at least one, with its recipe")
    except _Mistake as mistake:
        raise ValueError(f"{file}: {mistake}") from None
    return Plan(file, out, tuple(found))


class _Mistake(ValueError):
    """A mistake in the file."""


def _check(right: bool, message: str) -> None:
    if not right:
        raise _Mistake(message)


def _mapping(value: Any, known: Collection[str] | None, key: str) -> dict[str, Any]:
    """A mapping with string keys, all of which are in `known`, if that is given."""
    _check(isinstance(value, dict), f"{key}: write `name: value` pairs, not {value!r}")
    for name in value:
        listed = known is None or name in known
        _check(listed, f"{key}: no key {name!r}; the keys are {', '.join(known or ())}")
    return value


def _task(name: str, value: Any, shared: Mapping[str, Any], folder: Path) -> Task:
    key = f"tasks: {name}"
    plain = re.fullmatch(r"\w[\w.-]*", name) is not None and name not in ("runs", "report")
    _check(plain, f"{key}: a name has letters, digits, '-', '_' and '.', and is not runs or report")
    own = _mapping(value, TASK_KEYS, key)
    given = {**shared, **{k: value for k, value in own.items() if value is not None}}
    written: dict[str, str] = {
        name: str(given[name]) for name in ("recipe", "data") if name in given
    }
    _check("recipe" in written, f"{key}: name a recipe, such as ../translation_multi30k/strong.sh")
    paths = {name: (folder / Path(path).expanduser()).resolve() for name, path in written.items()}
    options = _options(given.get("options") or {}, f"{key}: options")
    _check("cell" not in options, f"{key}: options: cell: write it below `cells` or `models`")
    models = _models(given, key, any_cell="user-dir" in options)
    names = [model.name for model in models]
    baseline = str(given["baseline"] or names[0])
    _check(
        baseline in names, f"{key}: baseline: no model {baseline!r}; they are {', '.join(names)}"
    )
    seeds = given["seeds"] or [1]
    whole = isinstance(seeds, list) and all(type(seed) is int and seed > 0 for seed in seeds)
    right = whole and len({*seeds}) == len(seeds)
    _check(right, f"{key}: seeds: write different positive whole numbers, such as [1, 2]")
    published = _mapping(given.get("published") or {}, ("source", "values"), f"{key}: published")
    values = _mapping(published.get("values") or {}, names, f"{key}: published: values")
    try:
        figures = {name: float(figure) for name, figure in values.items()}
    except (TypeError, ValueError) as error:
        raise _Mistake(f"{key}: published: values: {error}") from error
    return Task(
        name,
        paths["recipe"],
        paths.get("data"),
        written,
        options,
        models,
        tuple(seeds),
        baseline,
        str(published.get("source", "")),
        figures,
    )


def _models(given: Mapping[str, Any], key: str, any_cell: bool) -> tuple[Model, ...]:
    cells = given["cells"] or []
    _check(isinstance(cells, list), f"{key}: cells: write a list, such as [lstm, no-srnn-hidden]")
    found: dict[str, Options] = {str(cell): {"cell": str(cell)} for cell in cells}
    others = _mapping(given["models"] or {}, None, f"{key}: models")
    for name, options in others.items():
        _check(str(name) not in found, f"{key}: models: {name}: there is a cell of this name, too")
        found[str(name)] = _options(options, f"{key}: models: {name}")
    _check(bool(found), f"{key}: give cells, such as [lstm, no-srnn-hidden], or models")
    models = tuple(Model(name, options) for name, options in found.items())
    folders: dict[str, str] = {"data": "data", "text": "text"}  # which the recipes have there
    for model in models:
        free = bool(model.folder) and model.folder not in folders
        _check(free, f"{key}: {model.name}: choose another name; its folder would be "
               f"{model.folder!r}, as that of {folders.get(model.folder, 'no model')}")  # fmt: skip
        folders[model.folder] = model.name
        for option in ("cell", "encoder-cell", "decoder-cell"):
            cell = model.options.get(option, "lstm")
            known = cell in CELLS or any_cell or "user-dir" in model.options
            _check(known, f"{key}: no cell {cell!r}; choose from {', '.join(CELLS)}")
    return models


def _options(value: Any, key: str) -> Options:
    """Options as on the command line, without the dashes; true stands for a bare option."""
    options: dict[str, str | bool] = {}
    for given, setting in _mapping(value, None, key).items():
        name = str(given).replace("_", "-")
        _check(re.fullmatch(r"[A-Za-z][\w-]*", name) is not None,
               f"{key}: {given}: write the option without dashes")  # fmt: skip
        _check(name not in RESERVED, f"{key}: {given}: the study sets this option itself")
        _check(isinstance(setting, (str, int, float)) and setting is not False,
               f"{key}: {given}: write the value as on the command line, quoted if it has a comma "
               "or is 'True' or 'False'; true stands for an option without a value")  # fmt: skip
        options[name] = setting if setting is True else str(setting)
    return options


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML keeps the last."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        # Here a merge key (<<) does not yet stand for the keys of another mapping.
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice")
        return node
