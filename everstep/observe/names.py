"""The attribute names of spans: OpenInference's where it has one, everstep's own for the rest.

OpenInference's are plain strings here, so that nothing has to be installed for them.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["CHAIN", "AGENT", "LLM", "EMBEDDING", "RETRIEVER", "RERANKER", "TOOL", "GUARDRAIL", "EVALUATOR"]
"""OpenInference's kinds of spans."""

SPAN_KIND = "openinference.span.kind"
SESSION = "session.id"
PROJECT = "openinference.project.name"
INPUT, INPUT_TYPE = "input.value", "input.mime_type"
OUTPUT, OUTPUT_TYPE = "output.value", "output.mime_type"
JSON_TYPE, TEXT_TYPE = "application/json", "text/plain"

LLM_MODEL = "llm.model_name"
LLM_PARAMETERS = "llm.invocation_parameters"
LLM_PROMPT_TOKENS = "llm.token_count.prompt"
LLM_COMPLETION_TOKENS = "llm.token_count.completion"
LLM_TOTAL_TOKENS = "llm.token_count.total"
LLM_INPUT_MESSAGE = "llm.input_messages.{}.message."
LLM_OUTPUT_MESSAGE = "llm.output_messages.{}.message."
MESSAGE_ROLE, MESSAGE_CONTENT = "role", "content"
MESSAGE_TOOL_CALL_ID = "tool_call_id"
MESSAGE_TOOL_ID = "tool_calls.{}.tool_call.id"
MESSAGE_TOOL_NAME = "tool_calls.{}.tool_call.function.name"
MESSAGE_TOOL_ARGUMENTS = "tool_calls.{}.tool_call.function.arguments"
LLM_TOOL = "llm.tools.{}.tool.json_schema"

EMBEDDING_MODEL = "embedding.model_name"
EMBEDDING_TEXT = "embedding.embeddings.{}.embedding.text"
DOCUMENT = "retrieval.documents.{}.document."
DOCUMENT_ID, DOCUMENT_SCORE, DOCUMENT_CONTENT, DOCUMENT_METADATA = "id", "score", "content", "metadata"
RERANKER_MODEL, RERANKER_QUERY, RERANKER_TOP = "reranker.model_name", "reranker.query", "reranker.top_k"
RERANKER_INPUT = "reranker.input_documents.{}.document."
RERANKER_OUTPUT = "reranker.output_documents.{}.document."

EVALUATION = "evaluations.{}.evaluation."
EVALUATION_NAME, EVALUATION_SCORE, EVALUATION_BY = "name", "score", "annotator_kind"

TOOL_NAME, TOOL_DESCRIPTION, TOOL_PARAMETERS = "tool.name", "tool.description", "tool.parameters"

RUN, FLOW, STEP = "everstep.run_id", "everstep.flow", "everstep.step"
INVOCATION, ATTEMPT, OUTCOME = "everstep.invocation", "everstep.attempt", "everstep.outcome"
EVENT, EVENT_SIZE, EVENT_COUNT = "everstep.event.type", "everstep.event.size", "everstep.event.count"
RETURNED, RETURNED_SIZE = "everstep.returned.types", "everstep.returned.size"
SENT, SENT_SIZE = "everstep.sent.types", "everstep.sent.size"
STATE_CHANGES = "everstep.state.changes"
WAITS_FOR = "everstep.waits_for"
QUEUED = "everstep.queued_seconds"
REQUEST, ASSIGNEE, ANSWERED_BY = "everstep.request.id", "everstep.request.assignee", "everstep.request.answered_by"
REQUEST_STATUS, REFUSED = "everstep.request.status", "everstep.request.refused_answers"
QUESTION, QUESTION_SIZE = "everstep.request.type", "everstep.request.size"
ANSWER, ANSWER_SIZE = "everstep.answer.type", "everstep.answer.size"
DUE = "everstep.request.due_at"
INPUT_SIZE, OUTPUT_SIZE = "everstep.input.size", "everstep.output.size"
