"""Spans, metrics and logs of runs. Off, and free, unless the settings name an exporter: see docs/observability.md."""

from everstep.observe.calls import (
    Document,
    EmbeddingCall,
    EvaluatorCall,
    LlmCall,
    RerankerCall,
    RetrieverCall,
    ToolCall,
)
from everstep.observe.logs import JsonFormatter, RunLogFilter
from everstep.observe.port import use_tracing

__all__ = [
    "Document",
    "EmbeddingCall",
    "EvaluatorCall",
    "JsonFormatter",
    "LlmCall",
    "RerankerCall",
    "RetrieverCall",
    "RunLogFilter",
    "ToolCall",
    "use_tracing",
]
