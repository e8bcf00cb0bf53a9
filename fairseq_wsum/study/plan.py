"""The plan of a study: tasks, models and seeds, and the command line of each run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
class Published:
    """Figures of a publication by the name of the model."""

    source: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Task:
    """A table: what a recipe trains and scores, for several models and seeds.

    `paths` has `recipe` and `data` as they are written in the file, relative to its folder.
    """

    name: str
    recipe: Path
    options: Options
    models: tuple[Model, ...]
    seeds: tuple[int, ...]
    baseline: str
    published: Published | None = None
    data: Path | None = None
    paths: Mapping[str, str] = field(default_factory=dict)

    def options_of(self, model: Model) -> Options:
        """The options of the task, where the model has no other."""
        return {**self.options, **model.options}


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

    def command(self) -> list[str]:
        """The command line of the recipe."""
        return [
            *_recipe_command(self.task, self.out),
            f"--run={self.folder}",
            f"--seed={self.seed}",
            *command_line(self.model.options),
        ]


@dataclass(frozen=True)
class Plan:
    """All runs of a study, in the order in which they start."""

    file: Path
    out: Path
    tasks: tuple[Task, ...]
    runs: tuple[Run, ...] = field(init=False)

    def __post_init__(self) -> None:
        # Within a task, every model runs once before any runs with a second seed.
        runs = [
            Run(task, model, seed, self.out / task.name)
            for task in self.tasks
            for seed in task.seeds
            for model in task.models
        ]
        object.__setattr__(self, "runs", tuple(runs))


def prepare_command(task: Task, out: Path) -> list[str]:
    """The command line that makes the data of a task, unless they are there."""
    return [*_recipe_command(task, out), "--prepare-only"]


def _recipe_command(task: Task, out: Path) -> list[str]:
    data = [] if task.data is None else [f"--data={task.data}"]
    return [str(task.recipe), f"--out={out}", *data, *command_line(task.options)]


def command_line(options: Options) -> list[str]:
    """Options as words of a command line; True stands for an option without a value."""
    return [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()
    ]
