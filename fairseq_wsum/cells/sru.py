"""The Simple Recurrent Unit (Lei et al., 2018, arXiv 1709.02755)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .cell import Cell, Rows


@dataclass(frozen=True)
class SRU(Cell):
    """g_t = W_g x_t, f_t = sigmoid(W_f x_t + v_f * c_{t-1} + b_f),
    r_t = sigmoid(W_r x_t + v_r * c_{t-1} + b_r),
    c_t = f_t * c_{t-1} + (1 - f_t) * g_t, h_t = r_t * c_t + (1 - r_t) * s_t,
    where s_t = alpha x_t or, if input and output differ in size, s_t = W_s x_t.
    alpha = sqrt(1 + 2 exp(highway_bias)) keeps the variance of the output of a new layer at that of
    its input.

    The gates read c_{t-1} element by element, so a step has no product.

    Args:
        highway_bias: the initial b_r. Below 0, a layer at first passes on more of its input.
        projects_input: whether s_t = W_s x_t. A layer sets it where the sizes differ.
    """

    name: str = "sru"
    title: str = "SRU"
    highway_bias: float = 0.0
    projects_input: bool = False

    rows = ("g", "f", "r", "s")
    vectors = ("v_f", "v_r")
    sees_memory = True
    can_project = False

    @property
    def bias_rows(self) -> tuple[str, ...]:
        return ("f", "r")

    @property
    def skip_rows(self) -> tuple[str, ...]:  # type: ignore[override]
        return () if self.projects_input else ("s",)

    @property
    def label(self) -> str:
        biased = f" with highway_bias {self.highway_bias:g}"
        return self.name + (biased if self.highway_bias else "")

    @property
    def alpha(self) -> float:
        """The factor of x_t in h_t."""
        return math.sqrt(1 + 2 * math.exp(self.highway_bias))

    def fit(self, features: int, units: int) -> SRU:
        """With W_s where the sizes differ, or if it is asked for."""
        return replace(self, projects_input=self.projects_input or features != units)

    def initialise(self, parameters: Mapping[str, Tensor], units: int) -> None:
        """The initial values of the authors' code: Var[W] = 1/I, half of that for the gates, and
        W_s multiplied by alpha; Var[v] = 1/2; b_f = 0 and b_r = `highway_bias`."""
        weight = parameters["weight_ih"]
        bound = math.sqrt(3 / weight.size(1))
        weight.uniform_(-bound, bound)
        weight[units : 3 * units] *= math.sqrt(0.5)
        weight[3 * units :] *= self.alpha  # W_s, if there is one
        for name in self.vectors:
            parameters[name].uniform_(-math.sqrt(1.5), math.sqrt(1.5))
        if "bias_ih" in parameters:
            b_f, b_r = parameters["bias_ih"].chunk(2)
            b_f.zero_()
            b_r.fill_(self.highway_bias)

    def skip(self, x: Tensor) -> Tensor:
        """s_t = alpha x_t."""
        return x * self.alpha

    def preactivations(self, x: Rows, h: Rows, c: Tensor, v: Rows) -> Rows:
        """The gates read c_{t-1}."""
        return {**x, "f": x["f"] + v["v_f"] * c, "r": x["r"] + v["v_r"] * c}

    def content(self, z: Rows) -> Tensor:
        """g_t, a linear map of x_t."""
        return z["g"]

    def gates(self, z: Rows) -> tuple[Tensor, Tensor]:
        """1 - f_t and f_t = sigmoid(z_f)."""
        f = torch.sigmoid(z["f"])
        return 1 - f, f

    def output(self, z: Rows, c: Tensor) -> Tensor:
        """h_t = r_t * c_t + (1 - r_t) * s_t with r_t = sigmoid(z_r)."""
        r = torch.sigmoid(z["r"])
        return r * c + (1 - r) * z["s"]
