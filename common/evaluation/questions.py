"""Reading held-out records for evaluation."""

import json
from pathlib import Path

from common.errors import BadDataError
from common.evaluation.pair import Question


def read_questions(path: Path, *, limit: int | None = None) -> list[Question]:
    """Records of a JSONL file with `instruction`, `response` and optional `context`.

    Raises:
        BadDataError: unreadable, malformed, or too few prompts to halve.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadDataError(
            f"expected a UTF-8 JSONL file at {path}: {error}", remedy="Check the path"
        ) from error
    questions = []
    for number, line in enumerate(lines[:limit], 1):
        try:
            row = json.loads(line)
            question = Question(row["instruction"], row.get("context") or "", row["response"])
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise BadDataError(
                f'{path}:{number}: expected {{"instruction", "response"}}, got {line[:80]!r}',
                remedy="Give one JSON object a line",
            ) from error
        if not all(
            isinstance(v, str) for v in (question.instruction, question.context, question.response)
        ):
            raise BadDataError(
                f"{path}:{number}: expected strings", remedy="Give one JSON object a line"
            )
        questions.append(question)
    if min(sum(q.half == half for q in questions) for half in (0, 1)) < 2:
        raise BadDataError(
            f"expected at least two prompts in each half of {path}, got {len(questions)} prompts",
            remedy="Give more records, or a larger --limit",
        )
    return questions
