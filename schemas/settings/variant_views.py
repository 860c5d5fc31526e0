"""A study as each of its variants sees it: what planning goes through, so that a variant is planned as a study is."""

from __future__ import annotations

from typing import Any, NamedTuple

from schemas.settings.study_file import Study


class View(NamedTuple):
    """A study as one of its variants sees it. `label` and `ngrams`: what its parts, and those of its n-grams, are labelled
    with; empty where they are the study's own."""

    label: str
    ngrams: str
    study: Study


def views(study: Study) -> tuple[View, ...]:
    """The study itself, then its variants, in their order."""
    found = [View("", "", study)]
    for variant in study.variants:
        own_gamma = study.measures.model_copy(update={"sweep_gammas": ()})
        changed: dict[str, Any] = {
            "tasks": tuple(variant.task(t) for t in study.tasks),
            "variants": (),
            "measures": own_gamma,
        }
        ngrams = ""
        if variant.stop_words not in (None, study.counting.stop_words):
            changed["counting"] = study.counting.model_copy(update={"stop_words": variant.stop_words})
            ngrams = f"stop_words={variant.stop_words}"
        if variant.encoder is not None:
            changed["encoder"] = variant.encoder
        found.append(View(variant.label, ngrams, study.model_copy(update=changed)))
    return tuple(found)
