"""What a model takes and gives, as it said when it was loaded, and as its problem has it: what each call is checked
against, before anything is sent and when its answer is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.runtime.batching.rows import RowAxis
from isopod.runtime.problems.agreement import contradictions
from isopod.runtime.problems.check import Check
from isopod.runtime.problems.contract import Contract
from isopod.runtime.problems.fields import symbols_of
from isopod.runtime.problems.outcome import Outcome, Verdict

_NOTHING: Mapping[str, Any] = {}
_MAX_COMPLETE = 256


class Interface:
    """``inputs`` and ``outputs`` of a model; ``fields`` are those of a checked ``ready`` message.

    With a problem they have its dtypes and shapes where the model says none. Safe for many threads.
    """

    def __init__(self, model: str, fields: Mapping[str, Any], contract: Contract | None = None) -> None:
        contract = contract or Contract()
        inputs = tuple(TensorSpec.of(item) for item in fields["inputs"])
        outputs = tuple(TensorSpec.of(item) for item in fields["outputs"])
        self.model = model
        self._problem = problem = contract.problem
        self._any = bool(fields["open"])
        self._contradictions: list[str] = []
        self._fillings = _NOTHING
        if problem is not None:
            self._contradictions = contradictions(problem, inputs, outputs, any_input=self._any)
            inputs, outputs = _merged(inputs, problem.inputs), _merged(outputs, problem.outputs)
            self._any = False
            asked = {field.name for field in problem.inputs}
            inputs = tuple(item for item in inputs if item.name in asked)
            filled = {field.name: field.filling() for field in problem.inputs}
            self._fillings = {name: value for name, value in filled.items() if value is not None}
        self.inputs, self.outputs = inputs, outputs
        self._known = dict.fromkeys(item.name for item in inputs).keys()
        self._complete: set[tuple[str, ...]] = set()  # names that were given together, and are right
        self._required = [item.name for item in inputs if item.required and item.name not in self._fillings]
        self._who = f"model {model!r}" if problem is None else f"model {model!r} ({problem})"
        self._check = Check("input", inputs, contract.cast) if contract.check and self._says_more_than_names() else None
        self._outcome = Outcome(model, problem) if problem is not None and contract.check else None
        self.axis = RowAxis(self._who, inputs, contract.batch) if contract.batch is not None else None
        self.judges = self._outcome is not None or self.axis is not None  # whether there is ever a ``verdict``

    @classmethod
    def unknown(cls, model: str) -> Interface:
        """Of a model that is not loaded yet."""
        return cls(model, {"inputs": [], "outputs": [], "open": True})

    def check_agreement(self) -> None:
        """Raises ``SpecError`` with everything in which the model, by its own word, contradicts its problem."""
        if self._contradictions:
            told = "".join(f"\n  {one}" for one in self._contradictions)
            raise SpecError(f"model {self.model!r} does not implement {self._problem}:{told}")

    def check_name(self, name: str) -> None:
        """Raises ``SpecError`` for an input that the model does not take."""
        if not self._any and name not in self._known:
            takes = ", ".join(self._known) or "no inputs at all"
            raise SpecError(f"{self._who} has no input {name!r}; it takes {takes}")

    def admit(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is to be sent for what a caller gave: as it is, or with defaults, and cast where that was asked for.

        Raises ``SpecError`` for names that the model does not take, for those that it misses, and for values that are
        not as declared.
        """
        if tuple(inputs) not in self._complete:
            inputs = self._completed(inputs)
        check = self._check
        if check is None or check.fits(inputs):
            return inputs
        return self._examined(inputs, check)

    def verdict(self, values: Mapping[str, Any]) -> Verdict | None:
        """What is to look at the outputs of a call with these inputs, which were admitted."""
        judge = None if self._outcome is None else self._outcome.of(values)
        return judge if self.axis is None else self.axis.verdict(values, judge)

    def _says_more_than_names(self) -> bool:
        return any(item.dtype or item.shape is not None for item in self.inputs)

    def _completed(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._contradictions:  # of a worker that took a dead one's place: its file has changed
            self.check_agreement()
        for name in inputs:
            if not isinstance(name, str):
                raise SpecError(f"model {self.model!r}: inputs are given by name, which is str, not {name!r}")
            if not self._any:
                self.check_name(name)
        for name in self._required:
            if name not in inputs:
                raise SpecError(f"{self._who} needs the input {name!r}, which was not given")
        missing = [name for name in self._fillings if name not in inputs]
        if missing:
            return {**inputs, **{name: self._fillings[name] for name in missing}}
        if len(self._complete) < _MAX_COMPLETE:
            self._complete.add(tuple(inputs))
        return inputs

    def _examined(self, inputs: Mapping[str, Any], check: Check) -> Mapping[str, Any]:
        instead, faults = check.examine(inputs)
        if faults:
            more = "".join(f"\n  {fault}" for fault in faults[1:])
            raise SpecError(f"{self._who}: {faults[0]}{more}")
        return {**inputs, **instead} if instead else inputs


def _merged(own: Iterable[TensorSpec], fields: Iterable[Any]) -> tuple[TensorSpec, ...]:
    """A model's own words, completed by those of the problem, and what only the problem names after them."""
    asked = {field.name: field for field in fields}
    symbols = symbols_of(asked.values())
    both = []
    for spec in own:
        field = asked.pop(spec.name, None)
        if field is None:
            both.append(spec)  # an input that may be left out, or an output more than was asked for
            continue
        shape = field.shape
        if shape is None and spec.shape is not None:  # the model's symbols are not those of the problem
            shape = tuple(f"model's {dim}" if isinstance(dim, str) and dim in symbols else dim for dim in spec.shape)
        both.append(TensorSpec(spec.name, field.dtype or spec.dtype, shape, field.spec.required))
    return (*both, *(field.spec for field in asked.values()))
