"""Training: what the model is fed, resume after a kill, and what is shipped."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.errors import BadFileError, ProcessMismatchError, UsageError
from common.models import registry
from common.models.simplex_network import SimplexDiffusionConfig, SimplexDiffusionLM
from common.processes.simplex.schedule import TimeWarp
from common.training import checkpoints
from common.training.examples import read_records
from common.training.export import export
from common.training.run import Run, Shape, begin, train
from common.training.times import NOISY_FROM, READABLE_TO, draw_times
from common.training.trainer import Trainer, TrainingConfig, native_bf16
from tests.tiny import save_rows, save_tiny, tiny_model, tiny_vocabulary

BLOCK = 16


@pytest.fixture(scope="module")
def vocabulary():
    return tiny_vocabulary()


@pytest.fixture
def data(tmp_path):
    return save_rows(tmp_path / "rows.jsonl")


def times(mixed, ramped, shape=(200, 12)):
    rng = np.random.default_rng(3)
    return draw_times(shape, TimeWarp.from_curve(), mixed=mixed, ramped=ramped, rng=rng)


def test_even_rows_have_one_time_that_covers_all_levels():
    rows = times(0.0, 0.0)
    assert (rows == rows[:, :1]).all()
    edges = np.sort(TimeWarp.from_curve().at(np.linspace(0, 1, 201)))
    drawn = np.sort(rows[:, 0])
    assert (edges[:-1] <= drawn).all()
    assert (drawn <= edges[1:]).all()


def test_ramped_rows_rise():
    rows = times(0.0, 1.0)
    assert (np.diff(rows, axis=1) >= 0).all()
    assert (rows[:, -1] > rows[:, 0]).mean() > 0.9


def test_mixed_rows_are_readable_or_noisy():
    rows = times(1.0, 0.0)
    assert not ((rows > READABLE_TO) & (rows < NOISY_FROM)).any()
    noisy = (rows > NOISY_FROM).mean(1)
    assert noisy.min() < 0.1
    assert noisy.max() > 0.9
    assert noisy.mean() == pytest.approx(0.5, abs=0.1)


def test_kinds_of_rows_have_their_shares():
    rows = times(0.3, 0.2, shape=(4000, 12))
    even = (rows == rows[:, :1]).all(1)
    rising = (np.diff(rows, axis=1) >= 0).all(1) & ~even
    shares = [even.mean(), rising.mean(), (~even & ~rising).mean()]
    assert shares == pytest.approx([0.5, 0.2, 0.3], abs=0.03)


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
    with pytest.raises(BadFileError, match="disk full"):
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
    loaded, theirs = registry.load(str(folder))
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
    assert registry.load(str(folder))[0].config.loss_curve[0][0] == 0.05
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
