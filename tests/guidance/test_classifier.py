"""The classifier and its gradient."""

import torch

from common.guidance.classifier import SimplexClassifier
from common.guidance.guide import guided, label_gradient
from common.processes.simplex.state import Bag
from tests.guidance.trained_guides import towards, views
from tests.serving import GOLIATH, VOCABULARY


def logits_of(count: int) -> torch.Tensor:
    return torch.cat(list(GOLIATH.predictor.predict(views(count))))


def test_tokens_and_sure_distributions_are_one_input(classifier: SimplexClassifier) -> None:
    ids = torch.randint(0, VOCABULARY.size, (3, 16), generator=torch.Generator().manual_seed(0))
    sure = torch.nn.functional.one_hot(ids, VOCABULARY.size).float()
    bag = Bag(ids.unsqueeze(-1), torch.ones(3, 16, 1), torch.zeros(3, 16))
    with torch.inference_mode():
        expected = classifier(ids).logits
        torch.testing.assert_close(classifier(sure).logits, expected)
        torch.testing.assert_close(classifier(bag).logits, expected)


def test_the_rest_of_a_bag_is_spread_by_the_prior(classifier: SimplexClassifier) -> None:
    nothing = Bag(
        torch.zeros(1, 16, 1, dtype=torch.int64), torch.zeros(1, 16, 1), torch.ones(1, 16)
    )
    prior = classifier.log_prior.exp().expand(1, 16, -1)
    with torch.inference_mode():
        torch.testing.assert_close(classifier(nothing).logits, classifier(prior).logits)


def test_the_gradient_is_that_of_finite_differences(classifier: SimplexClassifier) -> None:
    exact = SimplexClassifier(classifier.config).double().eval()
    exact.load_state_dict(classifier.state_dict())
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 16, VOCABULARY.size, generator=generator, dtype=torch.float64)
    gradient = label_gradient(exact, logits, 1)

    @torch.inference_mode()
    def score(shifted: torch.Tensor) -> torch.Tensor:
        # The classifier's answer is rounded to fp32; its head is not.
        hidden = exact.encoder(inputs_embeds=exact.embed(shifted.softmax(-1))).last_hidden_state
        return exact.head(hidden.mean(1)).log_softmax(-1)[:, 1]

    likely = logits.flatten().topk(40).indices
    for place in likely[torch.randperm(40, generator=generator)[:12]]:
        shift = torch.zeros_like(logits)
        shift.view(-1)[place] = 1e-4
        difference = (score(logits + shift) - score(logits - shift)) / 2e-4
        row = place // logits[0].numel()
        torch.testing.assert_close(difference[row], gradient.view(-1)[place], rtol=1e-3, atol=1e-7)
        assert difference[1 - row] == 0


def test_a_step_along_the_gradient_raises_the_label(classifier: SimplexClassifier) -> None:
    logits = logits_of(4)
    for label in (0, 1):
        pushed = logits + label_gradient(classifier, logits, label)
        with torch.inference_mode():
            before = classifier(logits.softmax(-1)).logits.log_softmax(-1)[:, label]
            after = classifier(pushed.softmax(-1)).logits.log_softmax(-1)[:, label]
        assert bool((after > before).all())


def test_the_push_does_not_depend_on_the_batch(classifier: SimplexClassifier) -> None:
    logits = logits_of(3)
    together = label_gradient(classifier, logits, 0)
    for row in range(3):
        alone = label_gradient(classifier, logits[row : row + 1], 0)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-8)


def test_logits_of_inference_mode_are_pushed_and_left_alone(classifier: SimplexClassifier) -> None:
    with torch.inference_mode():
        logits = logits_of(1)
        before = logits.clone()
        (pushed,) = guided(lambda _: [logits], towards(classifier, 0, 100.0))(views(1))
        assert torch.equal(logits, before)
    assert pushed.shape == logits.shape
    assert not pushed.requires_grad
    assert not torch.equal(pushed, logits)
    assert all(p.grad is None for p in classifier.parameters())


def test_strength_0_is_the_predictor_itself(classifier: SimplexClassifier) -> None:
    predict = GOLIATH.predictor.predict
    assert guided(predict, None) is predict
    assert guided(predict, towards(classifier, 0, 0.0)) is predict
