"""Reading held-out records for evaluation."""

from pathlib import Path

from common.errors import BadDataError
from common.evaluation.pair import LEAST, Question
from common.text.lines import read_objects


def read_questions(path: Path, *, limit: int | None = None, halved: bool = False) -> list[Question]:
    """Records of a JSONL file with `instruction`, `response` and optional `context`.

    Args:
        path: the file.
        limit: read no more than so many, the first ones; None reads all.
        halved: whether they will be, which needs some in each half.

    Raises:
        BadDataError: unreadable, malformed, or too few.
    """
    questions = []
    for place, row in read_objects(path, limit=limit):
        match row | {"context": row.get("context") or ""}:
            case {"instruction": str(asked), "context": str(context), "response": str(response)}:
                questions.append(Question(asked, context, response))
            case _:
                raise BadDataError(
                    f'{place}: expected {{"instruction", "context"?, "response"}}, strings, got '
                    f"{str(row)[:80]}",
                    remedy="Correct that line",
                )
    if halved and len(questions) < LEAST:
        raise BadDataError(
            f"expected at least {LEAST} questions in {path}, two in each half, got "
            f"{len(questions)}",
            remedy="Give a file with more records",
        )
    return questions
