"""How long `david ask` takes, embedded, with the bundled pair: imports, first draft, answer.

Run `python examples/time_ask.py`; one JSON object, times in seconds from the start of each part.
"""

import json
import time

QUESTION = "How do I make banana bread?"


def main() -> None:
    """Time one answer of 64 positions in this fresh process."""
    began = time.perf_counter()
    import common.models.simplex_network  # noqa: F401  (imports torch and transformers)

    imported = time.perf_counter()
    from david_client.conversation import converse
    from david_client.settings import DavidSettings
    from david_client.view import View

    class Timed(View):
        """A view that notes when the first draft is shown."""

        first = 0.0

        def show(self, draft: object) -> None:
            """Note the time of the first draft."""
            self.first = self.first or time.perf_counter()

    view = Timed(wanted=False)
    reply = converse(DavidSettings(seed=7), QUESTION, "", view)
    done = time.perf_counter()
    record = {
        "import_s": round(imported - began, 2),
        "first_draft_after_imports_s": round(view.first - imported, 2),
        "answer_after_first_draft_s": round(done - view.first, 2),
        "steps": reply.steps_run,
        "positions": reply.settings.block_length,
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
