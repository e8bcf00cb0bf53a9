"""Cells that a user could write."""

import torch

from fairseq_wsum import Cell


class Scaled(Cell):
    """A gated sum with a gate that is scaled by a vector."""

    name = "test-scaled"
    rows = ("i", "g")
    vectors = ("scale",)

    def preactivations(self, x, h, c, v):
        return {**x, "i": x["i"] * v["scale"]}

    def content(self, z):
        return z["g"]

    def gates(self, z):
        return torch.sigmoid(z["i"]), torch.sigmoid(-z["i"])

    def output(self, z, c):
        return c


class Decaying(Cell):
    """c_t = d * c_{t-1} + (1 - d) * W x_t, with a decay d for each unit that no input changes."""

    name = "test-decaying"
    rows = ("g",)
    bias_rows = ()
    vectors = ("decay",)

    def preactivations(self, x, h, c, v):
        return {**Cell.preactivations(self, x, h, c, v), "d": torch.sigmoid(v["decay"])}

    def content(self, z):
        return z["g"]

    def gates(self, z):
        return 1 - z["d"], z["d"]

    def output(self, z, c):
        return c
