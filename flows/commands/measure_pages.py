"""The text of docs/measures.md, the catalogue of what the table `metrics` contains and where the report shows it.

ROWS describes the rows that the measures of this project write. Others are listed as their file writes them,
so that a new measure needs no edit here. A test compares ROWS with a finished study.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from schemas.tables.metrics import QUALIFIERS

GROUPS = [Path(__file__).resolve().parents[2] / "tasks" / name for name in ("metrics", "memorization")]
UNSHOWN = "–"

# measure; statistic; unit; columns that are not empty; where the report shows it; meaning. *: any text; §: of docs/method.md
ROWS = """
mem_n; spearman; pair | example_output; ; figure memorization, results; ρ of log P_n and log P_LLM (§6)
mem_delta; spearman; pair | example_output; ; figure memorization, results; ρ of the pair's log PMI and Δ (§6a)
mem_infinity; spearman; example_output; ; figure memorization, results; ρ of log P_∞ and log P_LLM (§7)
mem_infinity; spearman; example_output; detail=paper; –; the same, tokens of probability 0 skipped (§7)
mem_*; spearman; *; interval=two_way; figure memorization, results; the same ρ; interval and p for new examples and outputs (§6b)
mem_*; spearman; *; interval=pigeonhole; –; the same ρ, its pigeonhole interval for new examples and new outputs (§6b)
mem_*; spearman; *; interval=bca; –; the same ρ, its BCa interval over examples (§6b)
mem_*; spearman; *; interval=permutation; –; the same ρ on one row per output, with its permutation p (§6b)
mem_n | mem_delta; spearman; *; corpus=placebo; figure placebo; the measure by the counts of the placebo corpus (§6d)
mem_n | mem_delta; spearman; *; corpus=difference; figure placebo; the measure minus that of the placebo, on common rows (§6d)
mem_n | mem_delta; spearman; pair; detail=planted; planted truth; rows of planted pairs; `truth` is the generator's value (§16)
mem_n; spearman; example_output; detail=common with mem_infinity; –; Mem_n on the rows that have a P_∞ (§7)
mem_n; spearman; pair; detail=occurrences; –; P_n divided by occurrences, as in the paper (§4)
mem_n; spearman; pair; detail=count_at_least, level=*; –; only rows whose pair has `level` documents or more (§6a)
mem_n; spearman; pair; detail=zeros_lowest; –; with the pairs that never co-occur, as the lowest rank (§6a)
mem_n; spearman; pair; detail=add_half; –; with the pairs that never co-occur, counts smoothed by ½ (§4)
mem_n; sd_log_p; *; ; –; standard deviation of log P_n: tasks with little spread have little ρ
mem_*; pearson | kendall; *; ; –; other coefficients of the same rows (§6)
mem_*; ties_x | ties_y; *; ; –; share of rows that are tied on the corpus side, on the model side
mem_ablation; spearman; pair; detail=log_count; –; ρ of log P_LLM with log C(s_x, s_y) alone (§6a)
mem_ablation; spearman; pair; detail=log_output_documents; –; ρ of log P_LLM with log df(s_y) alone (§6a)
mem_ablation; spearman; pair; detail=neg_log_input_documents; –; ρ of log P_LLM with −log df(s_x) alone (§6a)
generalization; kendall_distance; pair; ; figure generalization; (1 − τ_b)/2 of log P_n and log P_LLM (§8)
generalization; discordant_share; pair; ; –; share of discordant pairs of rows, of all (§8)
generalization; discordant_share_untied; pair; ; –; share of discordant pairs of rows, of those not tied (§8)
main_score; *; example; ; figure score, results; the score that the results table shows
score; *; example; group=*; –; every score of the task (§9); `group`: a subject, relation or language pair, or all
performance; *; example; bin=*, detail=*; figure performance; score of the examples in a bin of ΣC, bins of equal ratio (§9)
performance_linear; *; example; bin=*, detail=*; figure performance_linear; the same in bins of equal width
performance_quantile; *; example; bin=*, detail=*; figure performance_quantile; the same in bins of equal numbers of examples
performance_mean_log_count; *; example; bin=*, detail=*; figure performance_mean_log_count; the same over the mean of log C
performance_by_group; bleu; example; group=*; figure performance_by_group; corpus BLEU of a language pair; `x` is Σ C (§9)
emergence; onset_parameters; example_output; ; figure emergence; N₀, the size from which the slope rises, or null with a reason (§9)
emergence; log_count_slope; example_output; ; –; slope of log P_LLM on log C of each model (§9)
emergence; slope; example_output; ; –; b, the rise of that slope above N₀ (§9)
novelty; rate; example; detail=*; figure novelty; share of generated n-grams, or aligned pairs, that the corpus lacks (§10)
novelty; count; example; detail=*; –; number of them
confound; spearman; pair; of_measure=*, detail=*, level=*, corpus=*; figure confounds; ρ after a remedy (§6c)
comparison; spearman_difference; *; of_measure=*, against=*; figure comparisons; ρ minus that of `against`, on common rows (§6b)
comparison; slope_per_decade; *; of_measure=*; figure comparisons; change of ρ per tenfold parameters (§6b)
attribution; unique_rank_variance; pair; detail=*; figure attribution; variance of ranks that only this part explains (§6d)
exposure; delta_mean; pair; bin=*; figure exposure; mean Δ in a bin of C, matched on df(s_y) and length (§6d)
exposure; slope; pair; ; –; nats of Δ for e times the documents
exposure; documents_per_nat; pair; ; figure exposure; documents of the typical pair for one nat more
sweep; spearman; pair; of_measure=*, gamma=*; figure sweeps; the measure at another γ, or as the study is set, for every n (§15)
sweep; spearman; pair; of_measure=*, variant=*; figure variants; the measure with another stop-word policy or encoder (§15)
sweep; acceptance | rows_found; pair; gamma=*, variant=*; –; share of candidates above γ; rows whose pair occurs in the corpus
coverage; acceptance; pair; ; –; share of candidate pairs above γ (§2)
coverage; examples_with_pair; example; ; –; share of examples with a pair in the corpus (§14)
coverage; pairs_found; pair; ; –; share of pairs that occur in the corpus (§14)
coverage; count_quantile; pair; level=*; –; quantile of the pairs' counts
contamination; share; example; detail=input | output | either; test text in the corpus; examples that share an n-gram with it (§13)
v1; r_squared; example; group=train | test, detail=*; figure v1; R² of log q → log P_LLM, of sums or `per s_y` means (§14)
v1; count_histogram; pair; bin=*, detail=*; –; distinct pairs by count, in doubling bins
planted_counts; equal; pair; detail=*; planted truth; share of planted pairs whose count equals the plan; below 1 is an error
rule_accuracy; exact_match; example; group=stated | held_out; planted truth; rule answers, of subjects in the corpus or not
recall_by_exposure; *; example; level=*; figure recall_by_exposure; facts answered, by how often they were stated
recall_by_count; *; example; level=*; –; facts of the factorial answered, by C(s_x, s_y)
extraction; rate | excess; sequence; group=*, detail=*; figure extracted; suffixes that greedy decoding gives; minus phantoms'
extraction; longest_run_excess | strength_excess; sequence; group=*; –; the mean of members minus that of phantoms
extraction; rate_by_prefix; sequence; group=*, level=*; –; the same from the window's first `level` tokens alone
extraction; rate_by_duplicates; sequence; group=*, detail=*, bin=*; figure extracted; the same, by occurrences, 2^(bin/4) or more
extraction; longest_run | strength; sequence; group=*; –; most likeliest tokens in a row; share of the window given back to its end
discoverable; rate | excess; sequence; group=*, detail=*, level=*, bin=*; figure discoverable; P(n) ≥ `level`; minus phantoms'
discoverable; n_of_largest_excess; sequence; group=*, detail=*, level=*; –; the n with the largest excess over phantoms
discoverable; cut_share; sequence; group=*, detail=*; –; share of windows whose suffix the scheme never draws
token_accuracy; mean | matched | excess; sequence; group=*; –; M(f), of phantoms with as frequent tokens, and the difference
eidetic; windows | rate | excess; sequence; group=*, level=*; –; extracted, of suffixes in at most `level` documents
taxonomy; share; sequence; group=*, detail=*; –; of the extracted windows, those that recite, reconstruct or recollect
taxonomy; rate | excess; sequence; group=*, detail=*; –; share of a kind's windows that is extracted; minus phantoms of the kind
prior_aware; gain | excess; sequence; group=*; –; nats that its own prefix adds to a suffix; minus phantoms
prior_aware; common_share; sequence; group=*; –; extracted windows that gain no more than 95 % of phantoms
canary_exposure; mean | excess; sequence; group=*, detail=*; –; bits of planted windows among planted phantoms; minus theirs
canary_exposure; extrapolated; sequence; group=*, detail=*; –; the same by a skew-normal distribution
canary_exposure; by_duplicates; sequence; group=*, detail=*, bin=*; –; the mean of windows with 2^(bin/4) occurrences or more
extraction_laws; coefficient; sequence; group=*, detail=*; –; log odds of extraction for each unit of a term
extraction_laws; curve; sequence; group=*, detail=*, bin=*; –; fitted share extracted where a term is `x`
extraction_laws; phantoms | excess; sequence; group=*, detail=*, bin=*; –; phantoms' rate there; the curve minus it
membership_inference; auc; sequence; group=*, detail=*; –; chance that a member scores higher than a phantom
membership_inference; true_positives; sequence; group=*, detail=*, level=*; –; members found at a false-positive rate of `level`
recitation; mean | excess; sequence; group=*, detail=*; –; how near generations are to suffixes, by `detail`; minus phantoms'
recitation; rate | excess; sequence; group=*, detail=*, level=*; –; share of windows of which `detail` is true; minus phantoms'
dynamics; share; sequence; group=*, detail=*; –; M(f), that of phantoms, and the excess; of a class of tokens
dynamics; held_out_loss; sequence; group=*, detail=*; –; loss of phantoms at a checkpoint, in nats per token
dynamics; steps_to_reach | epochs_to_reach; sequence; group=*, detail=*, level=*; –; T(N, τ): when M(f) or its excess is `level`
dynamics; overfitting_step; sequence; group=*, level=*; –; checkpoint at which held-out perplexity has risen by more than `level`
dynamics; before_overfitting | at_overfitting; sequence; group=*, detail=*, level=*; –; M(f) or excess before and at that checkpoint
memorization_profile; effect | pre_trend; sequence; group=*, detail=*, bin=*; –; τ(g, c): gain of cohort `bin` over phantoms
memorization_profile; mean_effect | mean_pre_trend; sequence; group=*, detail=*, level=*; –; means by lag, `level`
memorization_profile; residual; sequence; group=*, detail=*; –; what is left at the last checkpoint, mean of cohorts
forgetting; accuracy | twin_accuracy; sequence; group=*, detail=*; –; M(f) of a training with injected windows, of its twin without
forgetting; retention | log_p_retention; sequence; group=*, detail=*; –; R(t): the former minus the latter; of log p per token
forgetting; excess_retention | excess_log_p_retention; sequence; group=*, detail=*; –; R(t) minus that of windows never injected
forgetting; retained_share | retained_log_p_share; sequence; group=*, detail=*; –; that excess, divided by its first value
forgetting; lowest_accuracy | lowest_twin_accuracy; sequence; group=*, detail=*; –; the paper's forgetting baseline; of the twin
"""


@dataclass(frozen=True)
class MetricDescription:
    """What some rows of `metrics` mean. The first four fields are patterns of its columns; `columns` as "bin=*, detail=*"."""

    measure: str
    statistic: str
    unit: str
    columns: str
    shown: str
    meaning: str

    def describes(self, measure: str, statistic: str, unit: str = "*", qualifiers: Mapping[str, object] | None = None) -> bool:
        """Whether these values of the columns are meant; unit and the columns that tell rows apart may be left out."""
        patterns = QUALIFIERS | dict(c.strip().split("=") for c in self.columns.split(",") if c.strip())
        cells = [(self.measure, measure), (self.statistic, statistic), (self.unit, unit)]
        cells += [(str(patterns[c]), str(value)) for c, value in (qualifiers or {}).items()]
        return all(value == "*" or any(fnmatchcase(value, p.strip()) for p in pattern.split("|")) for pattern, value in cells)


CATALOGUE = tuple(MetricDescription(*(cell.strip() for cell in line.split(";", 5))) for line in ROWS.strip().splitlines())


def undescribed() -> Iterator[MetricDescription]:
    """Rows that a file of measures adds under names of its own, described by the first paragraph of that file."""
    for path in (path for group in GROUPS for path in sorted(group.glob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        about = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "add"):
            names = [a.value for a in call.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if len(names) == 2 and not any(d.describes(names[0], names[1]) for d in CATALOGUE):
                yield MetricDescription(names[0], names[1], _text(call, "unit"), _columns(call), UNSHOWN, about)


def _text(call: ast.Call, keyword: str) -> str:
    value = next((k.value for k in call.keywords if k.arg == keyword), ast.Constant(""))
    return str(value.value) if isinstance(value, ast.Constant) else "*"


def _columns(call: ast.Call) -> str:
    return ", ".join(f"{k.arg}={_text(call, k.arg)}" for k in call.keywords if k.arg in QUALIFIERS)


def page() -> str:
    """The text of docs/measures.md."""
    head = """# Measures

Every number in the table `metrics`, by its columns `measure`, `statistic`, `unit` and those that tell rows apart: one that
is not named here is empty (`bin`, `level`: -1). § are sections of [docs/method.md](method.md), sequences are explained in
[docs/memorization.md](memorization.md); … is any value. A row also has `task`, `model`, `checkpoint`, `order` (n) and, where they
are defined, `low` and `high` (95 %), `p_value`, `clusters` (the effective number of them) and `truth`. The report shows it in the
figure, table or section named here, each figure with its rows as CSV; a dash: only in the table.
Generated from the code by `make docs`.

| measure | statistic | unit | other columns | meaning | in the report |
|---|---|---|---|---|---|
"""
    return head + "".join(
        f"| {' | '.join(map(_cell, (d.measure, d.statistic, d.unit)))} | {_others(d.columns)} | {d.meaning} | {d.shown} |\n"
        for d in (*CATALOGUE, *undescribed())
    )


def _cell(pattern: str) -> str:
    return " ".join(f"`{p.strip()}`".replace("*", "…") for p in pattern.split("|") if p.strip())


def _others(columns: str) -> str:
    return " ".join(f"`{c.strip()}`".replace("*", "…").replace(" | ", "`, `") for c in columns.split(",") if c.strip())
