"""Recipes with a number of epochs and a seed."""

from __future__ import annotations

import argparse

from omegaconf import OmegaConf

from ...argument_types import positive
from .recipe import Recipe


class InEpochs(Recipe):
    """A recipe with a number of epochs and a seed, which name its folder, and maybe in variants."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        if names := list(self.settings.get("variants", {})):
            help = f"{', '.join(names)} (default {names[0]})"
            option = self.settings["variant"]
            add(f"--{option}", dest="variant", choices=names, default=names[0], help=help)
        help = "stop after N epochs"
        add("--epochs", "--max-epoch", type=positive, metavar="N", help=help)
        add("--seed", type=positive, default=1, metavar="N", help="random seed (default 1)")

    def choose(self) -> None:
        if "variants" in self.settings:
            # the settings of a variant come after those that all have
            merged = OmegaConf.merge(self.settings, self.settings["variants"][self.args.variant])
            self.settings = OmegaConf.to_container(merged)
        training = self.settings["training"]
        training |= {"seed": self.args.seed, "max-epoch": self.args.epochs or training["max-epoch"]}

    def default_run(self) -> str:
        epochs = self.training["max-epoch"]
        variant = f"{self.args.variant}/" if "variants" in self.settings else ""
        return f"{variant}{self.cell}/epochs-{epochs}-seed-{self.args.seed}"
