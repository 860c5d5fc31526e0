"""Sums of token values over spans of text, compiled. NumPy in, NumPy out."""

import numpy as np
from numba import njit


def sum_over_spans(begin, end, token_starts, token_ends, values, first, last, span_starts, span_ends):
    """For each row: Σ of the values of its tokens that overlap each of its spans, and how many tokens do. Row r has the tokens
    begin[r]:end[r] and the spans first[r]:last[r]. Returned flat, in the order of rows and spans; a span without a token is NaN.
    Tokens are added in their order, so that equal tokens give equal sums wherever they occur."""
    places = (begin, end, token_starts, token_ends, first, last, span_starts, span_ends)
    copies = (np.array(column, np.int64) for column in places)  # of one type, so that one kernel is compiled and not seven
    return _sum_over_spans(np.array(values, np.float64), *copies)


@njit(cache=True)
def _sum_over_spans(values, begin, end, token_starts, token_ends, first, last, span_starts, span_ends):
    total = 0
    for r in range(len(begin)):
        total += last[r] - first[r]
    sums, tokens = np.empty(total), np.zeros(total, dtype=np.int64)
    at = 0
    for r in range(len(begin)):
        for s in range(first[r], last[r]):
            value = 0.0
            for t in range(begin[r], end[r]):
                if token_starts[t] < span_ends[s] and token_ends[t] > span_starts[s]:
                    value += values[t]
                    tokens[at] += 1
            sums[at] = value if tokens[at] > 0 else np.nan
            at += 1
    return sums, tokens
