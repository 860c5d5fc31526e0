"""One vector per distinct n-gram of what is mined from."""

from tasks.taskgrams.embed import EMBED
from tasks.taskgrams.extract import EXTRACT
from tasks.text import encoders
from tests.support import read_rows, run_step
from tests.taskgrams.world import examples_part, study_of, sums

ROWS = [("mine", "capital of Velk", "Torin", ["Old Torin"]), ("mine", "capital of Marn", "Siru"),
        ("mine", "capital of Velk today", "Torin"), ("evaluate", "capital of Unseen", "Nowhere")]  # fmt: skip


def test_each_mined_ngram_has_one_vector_the_encoders_own(tmp_path):
    study = study_of(orders=(1, 2))
    tables = run_step(EXTRACT, study, tmp_path, {"examples": (examples_part(tmp_path, ROWS),)})
    tables = run_step(EMBED, study, tmp_path, tables)
    rows = read_rows(tmp_path, tables["embeddings"])
    mined = {(r["side"], r["ngram"]) for r in read_rows(tmp_path, tables["example_ngrams"]) if r["split"] == "mine"}
    assert [(r["side"], r["ngram"]) for r in rows] == sorted(mined)
    assert ("output", "nowhere") not in mined
    pairs = [("capital of Velk", "Torin"), ("capital of Velk", "Old Torin"), ("capital of Marn", "Siru"),
             ("capital of Velk today", "Torin")]  # fmt: skip
    fitted = encoders.fit(encoders.encoder_settings(study.encoder), pairs)
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
    sentence = study_of(encoder={"kind": "sentence-transformers", "model": "m"})
    (job,) = EMBED.stages[0].plan(sentence, {"example_ngrams": (), "examples": ()})
    assert job.settings.keys() == {"encoder"}
    assert job.inputs["examples"] == ()
