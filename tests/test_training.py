"""Training: what the model is fed, resume after a kill, and what is shipped."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from common import models
from common.diffusion.model import SimplexDiffusionConfig, SimplexDiffusionLM
from common.errors import BadDataError, ProcessMismatchError, UsageError
from common.training import checkpoints
from common.training.examples import (
    LONGEST_PREFIX,
    LONGEST_SUFFIX,
    PADDING_SCORED,
    Record,
    collate,
    crops_of,
    epoch_batches,
    read_records,
    without_context,
)
from common.training.export import export
from common.training.run import Run, Shape, begin, train
from common.training.trainer import Trainer, TrainingConfig, native_bf16
from tests.tiny import save_tiny, tiny_model, tiny_vocabulary

BLOCK = 16
ROWS = [
    {"instruction": f"how do i make {dish}?", "response": "stir the soup and add salt. " * times}
    for dish, times in (("soup", 1), ("cake", 3), ("bread", 6), ("butter", 2))
] + [{"text": "heat the water in a pot until hot then serve it with bread. " * 8}]


@pytest.fixture(scope="module")
def vocabulary():
    return tiny_vocabulary()


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS * 6))
    return path


def answer(vocabulary, length):
    ids = tuple(range(20, 20 + length))
    return Record("test", (30, 31), (), ids, plain=False)


def crops(record, vocabulary, seed=0):
    return list(crops_of(record, vocabulary, block_length=BLOCK, rng=np.random.default_rng(seed)))


def plain_crops(record, vocabulary):
    """Crops without infilling, which is drawn for one record (or crop) in ten."""
    for seed in range(50):
        found = crops(record, vocabulary, seed)
        if not any(crop.suffix for crop in found):
            return found
    raise AssertionError("infilling each time")


def test_an_answer_is_learned_block_by_block_with_its_end(vocabulary):
    record = answer(vocabulary, BLOCK + 5)
    first, second = plain_crops(record, vocabulary)
    assert first.prefix == (vocabulary.cls, 30, 31, vocabulary.sep)
    assert first.target == record.response[:BLOCK]
    assert first.scored == BLOCK
    assert second.prefix == (*first.prefix, *record.response[:BLOCK])
    assert second.target == (*record.response[BLOCK:], *[vocabulary.end] * (BLOCK - 5))
    assert second.scored == 5 + 1 + PADDING_SCORED


def test_an_answer_that_fills_its_block_ends_in_the_next(vocabulary):
    last = plain_crops(answer(vocabulary, BLOCK), vocabulary)[-1]
    assert last.target == (vocabulary.end,) * BLOCK
    assert last.scored == 1 + PADDING_SCORED


def test_padding_in_the_loss_is_capped(vocabulary):
    crop = plain_crops(answer(vocabulary, 1), vocabulary)[0]
    assert crop.scored == min(BLOCK, 2 + PADDING_SCORED)


def test_running_text_never_ends(vocabulary):
    record = Record("prose", (), (), tuple(range(20, 100)), plain=True)
    found = plain_crops(record, vocabulary)
    assert found
    for crop in found:
        assert vocabulary.end not in crop.target
        assert crop.scored == len(crop.target) == BLOCK


def gaps_of(record, vocabulary, *, seeds=300):
    return [c for seed in range(seeds) for c in crops(record, vocabulary, seed) if c.suffix]


def test_infilling_shows_what_follows(vocabulary):
    gaps = gaps_of(answer(vocabulary, 60), vocabulary)
    assert gaps
    for crop in gaps:
        inside = [i for i in crop.target if i != vocabulary.end]
        assert crop.suffix[-1] == vocabulary.sep
        assert crop.suffix[0] == inside[-1] + 1  # the text goes on where the gap ends
        assert len(crop.suffix) <= LONGEST_SUFFIX


def test_a_gap_follows_the_prompt_the_answer_so_far_or_text_that_is_the_prompt(vocabulary):
    v, record = vocabulary, answer(vocabulary, 60)
    asked = v.prompt_ids(record.prompt)
    forms = {"suffix": 0, "later": 0, "text": 0}
    for crop in gaps_of(record, v):
        start = crop.target[0] - record.response[0]
        if crop.prefix == asked:
            forms["suffix"] += 1
            assert start == 0
        elif crop.prefix[: len(asked)] == asked:
            forms["later"] += 1
            assert crop.prefix[len(asked) :] == record.response[:start]
        else:
            forms["text"] += 1
            assert crop.prefix == v.prompt_ids(record.response[:start])
            assert start >= 8
    assert all(count >= 3 for count in forms.values())


def test_a_context_stays_when_text_is_the_prompt(vocabulary):
    record = Record("test", (30,), (40, 41), tuple(range(50, 110)), plain=False)
    for crop in gaps_of(record, vocabulary, seeds=60):
        assert crop.prefix[:5] == (vocabulary.cls, vocabulary.context, 40, 41, vocabulary.sep)


def test_gaps_in_running_text_have_the_text_before_as_their_prompt(vocabulary):
    v, text = vocabulary, tuple(range(20, 120))
    gaps = gaps_of(Record("prose", (), (), text, plain=True), v)
    assert gaps
    for crop in gaps:
        start = crop.target[0] - text[0]
        seen = crop.prefix[1:-1]
        assert crop.prefix == v.prompt_ids(seen)
        assert seen == text[start - len(seen) : start]
        inside = [i for i in crop.target if i != v.end]
        assert crop.suffix[0] == inside[-1] + 1
        assert crop.scored == min(len(crop.target), len(inside) + 1 + PADDING_SCORED)


def test_gaps_have_shorter_blocks_too(vocabulary):
    gaps = gaps_of(answer(vocabulary, 60), vocabulary)
    assert {len(crop.target) for crop in gaps} == {BLOCK, BLOCK // 2}


def test_crops_keep_within_their_lengths(vocabulary):
    ids = tuple(20 + i % 100 for i in range(600))
    records = [
        Record("test", ids[:90], ids[:90], ids, plain=False),
        Record("prose", (), (), ids, plain=True),
    ]
    for record in records:
        for seed in range(40):
            for crop in crops(record, vocabulary, seed):
                assert len(crop.prefix) <= LONGEST_PREFIX
                assert len(crop.suffix) <= LONGEST_SUFFIX
                assert 1 <= crop.scored <= len(crop.target)


def test_a_context_stands_before_the_prompt(vocabulary):
    record = Record("test", (30,), (40, 41), tuple(range(50, 60)), plain=False)
    prefix = plain_crops(record, vocabulary)[0].prefix
    v = vocabulary
    assert prefix == (v.cls, v.context, 40, 41, v.sep, 30, v.sep)


def test_the_large_model_sees_what_stands_without_the_context(vocabulary):
    told = Record("test", (30, 31), (40, 41, 42), tuple(range(20, 60)), plain=False)
    untold = replace(told, context=())
    for seed in range(40):
        seen = [without_context(crop, vocabulary) for crop in crops(told, vocabulary, seed)]
        assert seen == crops(untold, vocabulary, seed)
        assert seen == [without_context(crop, vocabulary) for crop in seen]


def test_batches_are_a_function_of_seed_and_epoch(vocabulary, data):
    records = read_records(data, vocabulary)

    def plan(seed, epoch):
        return epoch_batches(
            records,
            vocabulary,
            shares={},
            block_length=BLOCK,
            batch_size=4,
            seed=seed,
            epoch=epoch,
        )

    assert plan(1, 0) == plan(1, 0)
    assert plan(1, 0) != plan(1, 1)
    assert plan(1, 0) != plan(2, 0)
    assert all(len({len(c.target) for c in batch}) == 1 for batch in plan(1, 0))


def test_shares_count_passes(vocabulary):
    records = [answer(vocabulary, 5)] * 40

    def size(share):
        batches = epoch_batches(
            records,
            vocabulary,
            shares={"test": share},
            block_length=BLOCK,
            batch_size=1,
            seed=0,
            epoch=0,
        )
        return len(batches)

    assert size(2.0) == 2 * size(1.0)
    assert 8 <= size(0.5) <= 32
    assert size(0.0) == 0


def test_collate_places_block_and_padding(vocabulary):
    short, long = (plain_crops(answer(vocabulary, n), vocabulary)[-1] for n in (5, BLOCK + 5))
    batch = collate([short, long], vocabulary)
    assert batch.block_start.tolist() == [len(short.prefix), len(long.prefix)]
    assert batch.attention_mask is not None
    assert batch.attention_mask.sum(1).tolist() == [len(short.prefix) + 16, len(long.prefix) + 16]
    assert (batch.input_ids[0, 4 : 4 + BLOCK] == vocabulary.mask).all()
    assert (batch.input_ids[0, 4 + BLOCK :] == vocabulary.pad).all()
    assert collate([short], vocabulary).attention_mask is None


@pytest.mark.parametrize(
    "line", ["not json", "[1]", '{"instruction": "x"}', '{"text": 3}', '{"response": "x"}']
)
def test_a_bad_record_names_its_line(vocabulary, tmp_path, line):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(BadDataError, match=r"bad\.jsonl:2"):
        read_records(path, vocabulary)


def test_no_records_are_an_error(vocabulary, tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("\n")
    with pytest.raises(BadDataError, match="no records"):
        read_records(path, vocabulary)


def test_rate_warms_up_and_decays():
    config = TrainingConfig(steps=1000, warmup=100, learning_rate=1.0, decay_share=0.25)
    assert config.rate(0) == pytest.approx(0.01)
    assert config.rate(99) == config.rate(740) == 1.0
    assert config.rate(875) == pytest.approx(0.5)
    assert config.rate(999) == pytest.approx(0.05)


def trainer(folder, vocabulary, data, *, steps=8, **settings):
    records = read_records(data, vocabulary)
    config = TrainingConfig(
        steps=steps, batch_size=4, evaluate_every=3, save_every=4, held_out=4, **settings
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        template = tiny_model(vocabulary, seed=5).config.to_dict()
        template["backbone"]["hidden_dropout_prob"] = 0.1
        model = SimplexDiffusionLM(SimplexDiffusionConfig(**template))
    return Trainer(model, vocabulary, config, records=records, held_out=records, folder=folder)


def test_a_killed_run_goes_on_exactly(vocabulary, data, tmp_path):
    whole = trainer(tmp_path / "whole", vocabulary, data)
    losses = [whole.step().loss for _ in range(8)]
    killed = trainer(tmp_path / "killed", vocabulary, data)
    for _ in range(6):  # two steps beyond its checkpoint
        killed.step()
    resumed = trainer(tmp_path / "killed", vocabulary, data)
    assert resumed.steps_done == 4
    assert [resumed.step().loss for _ in range(4)] == losses[4:]
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    rows = checkpoints.metrics(tmp_path / "killed")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["loss"] for row in rows] == losses


def test_an_interrupted_save_leaves_the_older_checkpoint(vocabulary, data, tmp_path, monkeypatch):
    run = trainer(tmp_path, vocabulary, data)
    for _ in range(4):
        run.step()

    def broken(*_args, **_options):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoints, "save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        run.save()
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert found.name == "step-0000004"


def test_training_lowers_the_loss_and_measures_the_curve(vocabulary, data, tmp_path):
    run = trainer(tmp_path, vocabulary, data, steps=60, learning_rate=3e-3, warmup=5)
    losses = [run.step().loss for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    curve = run.model.config.loss_curve
    assert [t for t, _ in curve] == sorted(t for t, _ in curve)
    assert curve[0][1] < curve[-1][1] < math.log(vocabulary.size) + 1


@pytest.mark.parametrize("signal", ["own", "estimate"])
def test_both_self_conditionings_train(vocabulary, data, tmp_path, signal):
    records = read_records(data, vocabulary)
    model = tiny_model(vocabulary, seed=1, self_conditioning=signal)
    config = TrainingConfig(steps=6, batch_size=4, held_out=4)
    run = Trainer(model, vocabulary, config, records=records, held_out=records, folder=tmp_path)
    assert all(math.isfinite(run.step().loss) for _ in range(6))


def test_a_model_learns_beside_a_large_one(vocabulary, tmp_path):
    row = {"instruction": "how do i make soup?", "context": "of cold milk", "response": "stir it. "}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    records = read_records(tmp_path / "rows.jsonl", vocabulary) * 12
    config = TrainingConfig(steps=40, batch_size=4, learning_rate=3e-3, warmup=5, alone=0.5)
    large = tiny_model(vocabulary, seed=2)
    before = {name: value.clone() for name, value in large.state_dict().items()}

    def trained(name, beside, weight):
        trainer = Trainer(
            tiny_model(vocabulary, seed=1),
            vocabulary,
            replace(config, weight=weight),
            records=records,
            held_out=records,
            folder=tmp_path / name,
            beside=beside,
        )
        return trainer.model, [trainer.step().loss for _ in range(config.steps)]

    _, losses = trained("alone", None, 0.75)
    whole, with_itself = trained("whole", large, 1.0)
    half, helping = trained("half", large, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in large.state_dict().items())
    # With all of the weight nothing is left of the large model: its own loss, counted 1.5 times.
    assert with_itself[0] == pytest.approx(1.5 * losses[0])
    assert np.mean(helping[-5:]) < np.mean(helping[:5]) / 1.5
    same = [torch.equal(p, q) for p, q in zip(half.parameters(), whole.parameters(), strict=True)]
    assert not all(same)


@pytest.mark.parametrize(("fused", "shared"), [(0.0, False), (1.0, True)])
def test_beside_a_large_model_both_can_see_the_fused_prediction(
    vocabulary, data, tmp_path, monkeypatch, fused, shared
):
    records = read_records(data, vocabulary)
    run = Trainer(
        tiny_model(vocabulary, seed=1),
        vocabulary,
        TrainingConfig(steps=3, batch_size=4, held_out=4, conditioned=1.0, fused=fused),
        records=records,
        held_out=records,
        folder=tmp_path,
        beside=tiny_model(vocabulary, seed=2),
    )
    seen = []
    conditions = run._conditions
    monkeypatch.setattr(
        run, "_conditions", lambda *args: seen.append(conditions(*args)) or seen[-1]
    )
    for _ in range(3):
        run.step()
    assert [torch.equal(a.weights, b.weights) for a, b in seen] == [shared] * 3
    assert all(float(bag.weights.sum()) > 0 for both in seen for bag in both)


def test_a_large_model_of_other_noise_is_refused(data, tmp_path):
    small, large = save_tiny(tmp_path / "small", seed=1), tmp_path / "large"
    save_tiny(large, seed=2, noise_m=9)
    run = Run([data], data, tmp_path / "run", str(small), beside=str(large))
    with pytest.raises(ProcessMismatchError):
        train(run, TrainingConfig(steps=1))


def test_bf16_only_where_the_processor_has_it():
    assert native_bf16(torch.device("cpu")) in (True, False)


def test_export_reads_back_as_fp32(vocabulary, tmp_path):
    model = tiny_model(vocabulary, seed=3)
    folder = export(model, vocabulary, tmp_path / "model", {"seconds": 1})
    loaded, theirs = models.load(str(folder))
    assert theirs.fingerprint == vocabulary.fingerprint
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for name, value in model.state_dict().items():
        tolerance = 0.07 if name.endswith("word_embeddings.weight") else 1e-3
        torch.testing.assert_close(
            loaded.state_dict()[name], value, rtol=tolerance, atol=tolerance * 0.05
        )
    assert json.loads((folder / "training.json").read_text()) == {"seconds": 1}


def test_a_run_from_files_to_a_folder(data, tmp_path):
    start = save_tiny(tmp_path / "start", seed=1)
    run = Run([data], data, tmp_path / "run", str(start))
    config = TrainingConfig(steps=3, batch_size=4, held_out=4)
    steps = []
    folder = train(run, config, report=lambda p: steps.append(p.step))
    assert steps == [1, 2, 3]
    assert models.load(str(folder))[0].config.loss_curve[0][0] == 0.05
    summary = json.loads((folder / "training.json").read_text())
    assert summary["config"]["steps"] == 3
    assert summary["tokens"] > 0


def test_an_interrupt_saves_and_the_same_run_resumes(data, tmp_path):
    start = save_tiny(tmp_path / "start", seed=1)
    run = Run([data], data, tmp_path / "run", str(start))
    config = TrainingConfig(steps=5, batch_size=4, held_out=4)

    def interrupt(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, config, report=interrupt)
    steps = []
    train(run, config, report=lambda p: steps.append(p.step))
    assert steps == [3, 4, 5]


def test_a_trained_start_keeps_its_shape(tmp_path):
    start = save_tiny(tmp_path / "start", seed=1)
    run = Run([], tmp_path, tmp_path, str(start), shape=Shape(16, 1, 2))
    with pytest.raises(UsageError, match="trained model"):
        begin(run, device="cpu")


def test_an_encoder_needs_a_vocabulary(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match="vocabulary"):
        begin(Run([], tmp_path, tmp_path, str(tmp_path)), device="cpu")
