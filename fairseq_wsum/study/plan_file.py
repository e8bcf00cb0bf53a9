"""The YAML file of a study, read and checked.

    tasks:
      captions:
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

import math
import os
import re
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..cells import CELLS
from .plan import Model, Options, Plan, Published, Task

SHARED = ("cells", "models", "seeds", "baseline")  # keys of the study or of a task
TASK_KEYS = ("recipe", "data", "options", "published", *SHARED)
TAKEN = ("data", "text", "prepare.log")  # names beside the folders of the models
# Names that no task can have, and why.
REPORTED = {"runs": "the report has a file", "report": "the report goes into a folder"}
# A study sets these itself.
RESERVED = ("cell", "data", "out", "prepare-only", "run", "save-dir", "seed")
# The models of a task share its data, which these options of our recipes change.
OF_DATA = (
    *("bpe-size", "character-coverage", "corpus", "max-words", "nwords", "own-corpus"),
    *("sentences", "shards", "source-lang", "target-lang", "text", "threshold"),
)
# With these a recipe ends before the training has.
PARTIAL = ("dry-run", "help", "stop-time-hours")
LONGEST = 200  # bytes of the name of a folder
CELL_OPTIONS = ("cell", "encoder-cell", "decoder-cell")


def read_plan(file: Path, out: Path) -> Plan:
    """Read and check the YAML file of a study.

    Args:
        file: the YAML file.
        out: where the data and runs are, in a folder for each task.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is wrong; the message says where, and what to write.
    """
    file = file.expanduser().resolve()
    try:
        study = yaml.load(file.read_text("utf-8"), _Loader)
    # PyYAML raises the others for a wrong value of a type, such as the date 2020-13-45
    except (yaml.YAMLError, AttributeError, LookupError, ValueError) as error:
        raise ValueError(f"{file} is not valid YAML: {error}") from error
    reader = _Reader(file)
    study = reader.mapping(study, "the file", ("tasks", *SHARED))
    tasks = reader.mapping(study.get("tasks"), "tasks")
    if not tasks:
        raise reader.error("tasks", "name at least one task, with its recipe")
    shared = _given({key: study.get(key) for key in SHARED})
    return Plan(
        file,
        out.expanduser().resolve(),
        tuple(reader.task(name, task, shared) for name, task in tasks.items()),
    )


@dataclass(frozen=True)
class _Reader:
    """Reads the parts of a study, whose errors name the file and the key."""

    file: Path

    def error(self, key: str, message: str) -> ValueError:
        return ValueError(f"{self.file}: {key}: {message}")

    def mapping(self, value: Any, key: str, known: Collection[str] | None = None) -> dict[str, Any]:
        """A mapping with text as keys, which are among `known`."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(
                key, f"write a mapping, such as {{name: value}}, not {reprlib.repr(value)}"
            )
        for name in value:
            if not isinstance(name, str):
                raise self.error(key, f"{_written(name)} is not text in YAML: quote the name")
            if known is not None and name not in known:
                raise self.error(key, f"no key {name!r}; the keys are {', '.join(known)}")
        return value

    def task(self, name: str, value: Any, shared: Mapping[str, Any]) -> Task:
        key = f"tasks: {name}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise self.error(key, "a task's name has letters, digits, '-', '_' and '.' only")
        if len(name) > LONGEST:
            raise self.error(
                key, f"the name is longer than {LONGEST} letters, too long for a folder"
            )
        if name in REPORTED:
            raise self.error(key, f"{REPORTED[name]} of this name; choose another")
        own = self.mapping(value, key, TASK_KEYS)
        if own.get("data", "") is None:
            raise self.error(
                f"{key}: data", "write a path, or remove the line; ~ means no value: write '~/'"
            )
        given = {**shared, **_given(own)}
        options = self.options(given.get("options"), f"{key}: options", RESERVED)
        # only the user's code knows a cell of the user's own: see `requirements`
        known = None if "user-dir" in options else tuple(CELLS)
        models = self.models(given, key, known, options)
        baseline = given.get("baseline", models[0].name)
        if isinstance(baseline, str):
            baseline = _one_line(baseline)
        if baseline not in [model.name for model in models]:
            names = ", ".join(model.name for model in models)
            raise self.error(f"{key}: baseline", f"no model {baseline!r}; there are {names}")
        return Task(
            name,
            recipe=self.recipe(given.get("recipe"), f"{key}: recipe"),
            options=options,
            models=models,
            seeds=self.seeds(given.get("seeds", [1]), f"{key}: seeds"),
            baseline=baseline,
            published=self.published(given.get("published"), f"{key}: published", models),
            data=self.data(given.get("data"), f"{key}: data"),
            paths={
                name: os.path.normpath(_written(given[name]))
                for name in ("recipe", "data")
                if given.get(name) is not None
            },
        )

    def recipe(self, value: Any, key: str) -> Path:
        if not isinstance(value, str):
            raise self.error(key, "name a script, such as ../translation_multi30k/strong.sh")
        return self.path(value, key).resolve()

    def data(self, value: Any, key: str) -> Path | None:
        if value is None:
            return None
        if not isinstance(value, (str, _Int, _Float)):
            raise self.error(key, f"write a path, not {reprlib.repr(value)}")
        return self.path(_written(value), key).resolve()

    def path(self, value: str, key: str) -> Path:
        """A path that is relative to the file, or to the user's home folder."""
        if not value.strip():
            raise self.error(key, "write a path, or remove the line")
        try:
            return self.file.parent / Path(value).expanduser()
        except RuntimeError as error:  # ~ of an unknown user
            raise self.error(key, f"{value}: {error}") from error

    def models(
        self,
        given: Mapping[str, Any],
        key: str,
        known: Collection[str] | None,
        task_options: Options,
    ) -> tuple[Model, ...]:
        cells = given.get("cells") or []
        if not isinstance(cells, list):
            raise self.error(f"{key}: cells", "write a list, such as [lstm, no-srnn-hidden]")
        models = [Model(self.cell(cell, f"{key}: cells", known), {"cell": cell}) for cell in cells]
        for name, value in self.mapping(given.get("models"), f"{key}: models").items():
            place = f"{key}: models: {name}"
            options = self.options(value, place, [o for o in RESERVED if o != "cell"])
            for option in OF_DATA:
                if option in options:
                    raise self.error(
                        f"{place}: {option}",
                        "the models of a task share its data: write it below the task's options, "
                        "and give other data a task of their own",
                    )
            if "bpe-dropout" in options:
                made_for, needed = (
                    self.bpe_dropout(some, f"{place}: bpe-dropout")
                    for some in (task_options, {**task_options, **options})
                )
                if needed != made_for:
                    raise self.error(
                        f"{place}: bpe-dropout",
                        f"the models of a task share its data, which is made for {made_for:g}: "
                        "write another value below the task's options",
                    )
            for option in CELL_OPTIONS:
                if option in options:
                    any_cell = known is None or "user-dir" in options
                    self.cell(options[option], f"{place}: {option}", None if any_cell else known)
            models.append(Model(_one_line(name), options))
        if not models:
            raise self.error(key, "give cells, such as [lstm, no-srnn-hidden], or models")
        folders: dict[str, str] = {}
        for model in models:
            if len(model.folder.encode()) > LONGEST:
                raise self.error(f"{key}: models", f"{model.name!r} is too long for a folder")
            if not model.folder:
                raise self.error(f"{key}: models", f"{model.name!r} has no letter or digit")
            if model.folder in TAKEN:
                message = f"the task has {model.folder} beside its models; choose another name"
                raise self.error(f"{key}: models", message)
            if model.folder in folders:
                both = f"{folders[model.folder]!r} and {model.name!r}"
                raise self.error(key, f"the models {both} would have one folder, {model.folder}")
            folders[model.folder] = model.name
        return tuple(models)

    def bpe_dropout(self, options: Options, key: str) -> float:
        """The BPE-dropout of the samples that strong.sh prepares.

        By default it is 0.1 for Multi30k, and other corpora have no samples.
        """
        try:
            given = float(options.get("bpe-dropout", 0))
        except ValueError as error:
            raise self.error(key, f"{options['bpe-dropout']!r} is not a number") from error
        return given or (0 if "own-corpus" in options else 0.1)

    def cell(self, value: Any, key: str, known: Collection[str] | None) -> str:
        if not isinstance(value, str) or (known is not None and value not in known):
            raise self.error(key, f"no cell {value!r}; choose from {', '.join(CELLS)}")
        return value

    def options(self, value: Any, key: str, reserved: Collection[str]) -> Options:
        """Options as on the command line, without the dashes; true stands for a bare option."""
        options: dict[str, str | bool] = {}
        for given, setting in self.mapping(value, key).items():
            name = given.replace("_", "-")
            if name.startswith("-") or isinstance(setting, (list, dict)) or setting is None:
                raise self.error(
                    f"{key}: {given}",
                    "write the option without dashes, and its value as on the command line; "
                    "true stands for an option without a value; inside {} quote a value with a "
                    "comma, such as '(0.9, 0.98)'",
                )
            if setting is False:
                raise self.error(
                    f"{key}: {given}",
                    "no, off and false are one value in YAML, and a model would be trained without "
                    "the option: quote the value, such as 'False', or remove the line",
                )
            if name in reserved:
                raise self.error(f"{key}: {given}", "the study sets this option itself")
            if not re.fullmatch(r"[A-Za-z][\w-]*", name):
                raise self.error(f"{key}: {given}", "an option's name has letters, digits and '-'")
            if name in PARTIAL:
                raise self.error(
                    f"{key}: {given}", "each run of a study trains to the end; remove the line"
                )
            if name in options:
                raise self.error(f"{key}: {given}", "the option is given twice")
            if "\0" in str(setting):
                raise self.error(f"{key}: {given}", "a command line cannot have the character \\0")
            options[name] = setting if isinstance(setting, bool) else _written(setting)
        return options

    def seeds(self, value: Any, key: str) -> tuple[int, ...]:
        known = isinstance(value, list) and all(type(seed) in (int, _Int) for seed in value)
        whole = known and min(value, default=0) > 0
        if not (whole and all(map(_is_decimal, value))):
            shown = f"[{', '.join(map(_written, value))}]" if known else repr(value)
            raise self.error(key, f"write positive whole numbers, such as [1, 2], not {shown}")
        for seed in value:
            if value.count(seed) > 1:
                raise self.error(key, f"seed {seed} is given twice")
        return tuple(map(int, value))

    def published(self, value: Any, key: str, models: Collection[Model]) -> Published | None:
        if value is None:
            return None
        given = self.mapping(value, key, ("source", "values"))
        given_values = self.mapping(given.get("values"), f"{key}: values")
        values = {_one_line(name): figure for name, figure in given_values.items()}
        if len(values) < len(given_values):
            raise self.error(f"{key}: values", "two names differ in white space only")
        self.mapping(values, f"{key}: values", [model.name for model in models])
        if not isinstance(given.get("source"), str) or not values:
            raise self.error(key, "give the source as text, and the values by model")
        for name, figure in values.items():
            known = isinstance(figure, (int, float)) and not isinstance(figure, bool)
            if not (known and _is_decimal(figure)):
                shown = _written(figure)
                raise self.error(f"{key}: values: {name}", f"{shown!r} is not a decimal number")
        source = _one_line(given["source"])
        return Published(source, {name: float(figure) for name, figure in values.items()})


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without the keys that have no value."""
    return {name: value for name, value in settings.items() if value is not None}


def _one_line(name: str) -> str:
    return " ".join(name.split())


class _Int(int):
    """A whole number with the text of the file: 010 is 8 in YAML, and 010 on a command line."""

    text: str


class _Float(float):
    """A number with the text of the file: 0.10, which Python would write as 0.1."""

    text: str


def _written(setting: Any) -> str:
    """A value of the file as it is written there."""
    return setting.text if isinstance(setting, (_Int, _Float)) else str(setting)


def _is_decimal(number: float) -> bool:
    """Whether a number is finite and means what its text says: in YAML 010 is 8, and 1:30 is 90."""
    try:
        return math.isfinite(number) and float(_written(number)) == number
    except (OverflowError, ValueError):
        return False


class _Loader(yaml.SafeLoader):
    """Keeps the text of numbers, and refuses a key that is given twice (YAML keeps the last)."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> _Int:
        number = _Int(super().construct_yaml_int(node))
        number.text = node.value
        return number

    def construct_yaml_float(self, node: yaml.ScalarNode) -> _Float:
        number = _Float(super().construct_yaml_float(node))
        number.text = node.value
        return number

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        # Here a merge key (<<) does not yet stand for the keys of another mapping.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add((key.tag, key.value))
        return node


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
