"""Presets: named architectures, such as `wsum_lstm_multi30k`, as other defaults of a model."""

from typing import Any

from omegaconf import OmegaConf


def use_preset(args: Any, name: str, **values: Any) -> None:
    """Set options that were not given to the values of a named architecture (a preset).

    fairseq calls a preset twice: when it parses the command line, and before it builds the model.
    By the second call all options have values, so it has no effect. fairseq-hydra-train makes the
    second call only.

    Raises:
        ValueError: fairseq-hydra-train was given the name of a preset.
    """
    if OmegaConf.is_config(args) and "preset" in args and args.preset is None:
        raise ValueError(
            f"model._name={name}: presets have no effect with fairseq-hydra-train, because it sets "
            "all defaults before it reads the name; give the model's own name and set the "
            "options explicitly, as the .yaml files in examples do"
        )
    default(args, preset=name, **values)


def default(args: Any, **values: Any) -> None:
    """Set options that were not given."""
    for option, value in values.items():
        if getattr(args, option, None) is None:
            setattr(args, option, value)
