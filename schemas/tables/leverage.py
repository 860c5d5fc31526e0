"""Leverage and outlierness of every sequence of a controlled corpus, in the runs whose weights are kept."""

from schemas.contract import balance, float64, int32, string, table

LEVERAGE = table(
    "leverage by model run damping sequence",
    "How much a sequence that a run is trained on determines what the run says about it (docs/counterfactual.md).",
    string("model", "name of the model in [membership]"),
    int32("run", "number of the run", at_least=0),
    float64("damping", "λ as a multiple of the mean eigenvalue of each Fisher matrix, tr(F) / k", at_least=0),
    string("sequence", "name of the sequence"),
    int32("copies", "copies of it that the run is trained on", at_least=1),
    float64("feature", "Σ φᵀ(ΦᵀΦ + λ)⁻¹φ over its suffix tokens; φ: state after the final LayerNorm", at_least=0),
    float64("last_layer", "tr(Fᵢ F⁻¹) of the output layer, F a Kronecker product", at_least=0),
    float64("gauss_newton", "tr(Fᵢ F⁻¹) of all parameters, for labels drawn from the run; mean of two projections", at_least=0),
    float64("gauss_newton_gap", "one of the two, which have their own labels, minus the other: half of it is noise"),
    float64("self_influence", "gᵀF⁻¹g, g: gradient of its suffix's log-likelihood, with its real labels", at_least=0),
    float64("one_step", "nats: what a Newton step without one of its copies takes from its log-likelihood", at_least=0),
    float64("one_step_group", "the same without all of them", at_least=0),
    balance(
        "(SELECT count(DISTINCT (model, run)) FROM leverage)",
        "(SELECT count(*) FROM ensemble_runs WHERE path <> '')",
        "each run whose weights are kept has leverages",
    ),
)

OUTLIERNESS = table(
    "outlierness by model run sequence",
    "How far a sequence is from all others, in the runs whose weights are kept: what leverage has to be compared with.",
    string("model", "name of the model in [membership]"),
    int32("run", "number of the run", at_least=0),
    string("sequence", "name of the sequence"),
    int32("copies", "copies of it that the run is trained on", at_least=0),
    float64("gradient_norm", "norm of the gradient of its suffix's log-likelihood by all parameters, nats", at_least=0),
    float64("mahalanobis", "distance of its mean last state from those the run is trained on", at_least=0),
    float64("sparsity", "1 − mean cosine of its mean last state to the five nearest of other clusters", between=(-1e-6, 2)),
)
