"""Writes small models of Torch to files, by kind and path, in a worker that has the Torch to write them."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import sys
from typing import Dict, List, NamedTuple, Optional

import torch


class Double(torch.nn.Module):
    def forward(self, x):
        return {"y": x * 2 + 1}


class Keywords(torch.nn.Module):
    def forward(self, x, scale: Optional[torch.Tensor] = None):
        if scale is None:
            return x
        return x * scale


class OneDict(torch.nn.Module):
    def forward(self, inputs: Dict[str, torch.Tensor]):
        return {"sum": inputs["a"] + inputs["b"]}


class Words(torch.nn.Module):
    def forward(self, words: List[str]):
        return [word + "!" for word in words]


class DictsOfWords(torch.nn.Module):
    def forward(self, words: List[str], x):
        return {"x": x + 1}, {"words": words}


class Twice(torch.nn.Module):
    def forward(self, x):
        return {"x": x}, {"x": x}


class Pair(NamedTuple):
    low: torch.Tensor
    high: torch.Tensor


class Named(torch.nn.Module):
    def forward(self, x) -> Pair:
        return Pair(x - 1, x + 1)


class Tuples(torch.nn.Module):
    def forward(self, x):
        return x - 1, x + 1


class Identity(torch.nn.Module):
    def forward(self, x):
        return x


class Newer(torch.nn.Module):
    """Uses an operation that Torch 1.12 does not have."""

    def forward(self, x):
        return torch.nn.functional.scaled_dot_product_attention(x, x, x)


class Exported(torch.nn.Module):
    def forward(self, x, *, scale):
        return {"y": x * scale + 1, "rows": x.sum(1)}


class ExportedDouble(torch.nn.Module):
    def forward(self, x):
        return {"y": x * 2 + 1}


class Nested(torch.nn.Module):
    def forward(self, pair):
        return pair[0] - pair[1]


class WithOp(torch.nn.Module):
    def forward(self, series):
        return {"smoothed": torch.ops.isopod_conflicts.smooth(series, 0.5)}


def write(kind, path, library=""):
    if library:
        torch.ops.load_library(library)
    if kind == "checkpoint":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif kind == "old checkpoint":
        torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    elif kind == "Exported":
        batch = {0: torch.export.Dim("batch")}
        example = torch.ones(3, 4), torch.ones(4)
        program = torch.export.export(
            Exported(), (example[0],), {"scale": example[1]}, dynamic_shapes={"x": batch, "scale": None}
        )
        torch.export.save(program, path)
    elif kind == "ExportedDouble":
        shapes = {"x": {0: torch.export.Dim("batch")}}
        torch.export.save(torch.export.export(ExportedDouble(), (torch.ones(4, 3),), dynamic_shapes=shapes), path)
    elif kind == "Nested":
        torch.export.save(torch.export.export(Nested(), ((torch.ones(2), torch.ones(2)),)), path)
    else:
        torch.jit.save(torch.jit.script(globals()[kind]()), path)
    return {"python": sys.version}
