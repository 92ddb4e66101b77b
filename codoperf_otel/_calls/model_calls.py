"""Calls of models, as the spans of GenAI instrumentations tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from codoperf_otel._telemetry import names

_INPUT = (names.GEN_AI_USAGE_INPUT_TOKENS, names.OLD_USAGE_INPUT_TOKENS, names.OPENINFERENCE_INPUT_TOKENS)
_OUTPUT = (
    names.GEN_AI_USAGE_OUTPUT_TOKENS,
    names.OLD_USAGE_OUTPUT_TOKENS,
    names.OPENINFERENCE_OUTPUT_TOKENS,
)


class Tokens(NamedTuple):
    """The tokens of a model call; None where its span does not say."""

    input: int | None = None
    output: int | None = None

    def __or__(self, other: Tokens) -> Tokens:
        """These, and what only the others have."""
        return Tokens(
            other.input if self.input is None else self.input,
            other.output if self.output is None else self.output,
        )

    def and_those_of(self, other: Tokens) -> Tokens:
        """The sums of both."""
        return Tokens(_sum(self.input, other.input), _sum(self.output, other.output))


NO_TOKENS = Tokens()


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def is_model_call(attributes: Mapping[str, Any]) -> bool:
    """Whether a span with these attributes is a call of a model."""
    return (
        attributes.get(names.GEN_AI_OPERATION_NAME) in names.INFERENCES
        or attributes.get(names.TRACELOOP_REQUEST_TYPE) in names.TRACELOOP_INFERENCES
        or attributes.get(names.OPENINFERENCE_SPAN_KIND) == names.OPENINFERENCE_INFERENCE
    )


def tokens_in(attributes: Mapping[str, Any]) -> Tokens:
    """The tokens that a span with these attributes names, by today's names or by older ones."""
    return Tokens(_first(attributes, _INPUT), _first(attributes, _OUTPUT))


def _first(attributes: Mapping[str, Any], known: tuple[str, ...]) -> int | None:
    values = (attributes.get(name) for name in known)
    return next((value for value in values if type(value) is int and value >= 0), None)
