"""A study as changed by each of its variants: planning goes through these, so that a variant is planned like a study."""

from typing import Any, NamedTuple

from schemas.settings.study_file import Study


class View(NamedTuple):
    """A study as a variant changes it. `label`, `ngrams`: of its parts and of its n-grams'; empty where it shares the study's."""

    label: str
    ngrams: str
    study: Study


def views(study: Study) -> tuple[View, ...]:
    """The study itself, then its variants, in their order."""
    result = [View("", "", study)]
    for variant in study.variants:
        without_sweep = study.measures.model_copy(update={"sweep_gammas": ()})
        changed: dict[str, Any] = {"tasks": tuple(variant.task(t) for t in study.tasks), "variants": (), "measures": without_sweep}
        ngrams = ""
        if variant.stop_words not in (None, study.counting.stop_words):
            changed["counting"] = study.counting.model_copy(update={"stop_words": variant.stop_words})
            ngrams = f"stop_words={variant.stop_words}"
        if variant.encoder is not None:
            changed["encoder"] = variant.encoder
        result.append(View(variant.label, ngrams, study.model_copy(update=changed)))
    return tuple(result)
