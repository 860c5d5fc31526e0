"""Kernels of `align`: compare all pairs of an input n-gram and an output n-gram of one example, each pair once.

Examples are processed one after the other, four of their input n-grams at a time, while their vectors are in the cache: reading
a vector again from memory takes ten times as long as a dot product. Pairs of an input n-gram of a single example, as most are,
are then finished. Those of the others come after: a counter per output n-gram counts the examples with the pair, a zero marks a
new pair, and the list of touched outputs resets the counters. No list of all pairs is sorted, and only pairs above γ are kept.
"""

import numpy as np
from numba import njit


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _dots(inputs, four, outputs, which, n, cosines):
    """Dot products of four inputs with each of the outputs, two at a time: float32 [4, n]. Eight independent sums use the processor
    better. All products are computed here, with inputs repeated if there are fewer than four, so that a pair's last bit does not
    depend on the other pairs."""
    a, b, c, d = inputs[four[0]], inputs[four[1]], inputs[four[2]], inputs[four[3]]
    for at in range(0, n, 2):
        second = min(at + 1, n - 1)
        left, right = outputs[which[at]], outputs[which[second]]
        p, q, r, s = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        t, u, v, w = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for k in range(inputs.shape[1]):
            p += a[k] * left[k]
            q += b[k] * left[k]
            r += c[k] * left[k]
            s += d[k] * left[k]
            t += a[k] * right[k]
            u += b[k] * right[k]
            v += c[k] * right[k]
            w += d[k] * right[k]
        cosines[0, at], cosines[1, at], cosines[2, at], cosines[3, at] = p, q, r, s
        cosines[0, second], cosines[1, second], cosines[2, second], cosines[3, second] = t, u, v, w


@njit(cache=True)
def _step_of(similarity, steps):
    """The histogram bin of a similarity: that of the smallest multiple of 1/steps ≥ it; exact, as steps is a power of 2."""
    scaled = np.float32(similarity) * np.float32(steps)
    step = np.int32(scaled)
    if scaled > np.float32(step):
        step += np.int32(1)
    return min(max(step, -steps), steps) + steps


@njit(cache=True)
def _restore_order(touched, n, counts):
    """Sort the touched outputs: by Shell's sort if they are few, by a pass over the counters if they are many."""
    if n * 16 > len(counts):
        at = 0
        for output in range(len(counts)):
            if counts[output]:
                touched[at] = output
                at += 1
    else:
        gap = 1
        while gap < n:
            gap = 3 * gap + 1
        while gap > 1:
            gap //= 3
            for at in range(gap, n):
                output, to = touched[at], at
                while to >= gap and touched[to - gap] > output:
                    touched[to] = touched[to - gap]
                    to -= gap
                touched[to] = output


@njit(cache=True)
def pairs_above(
    turns, low, lowest, inputs, outputs, begins, ngram, example, first, last, held, counts, spread, kept, similarity, rows
):
    """Compare input n-grams with all output n-grams of their examples. inputs, outputs: float32 [n-grams, d]. Occurrence o is of
    input n-gram ngram[o] in example[o]; those of input n-gram i are begins[i]..begins[i + 1]. `turns`: the occurrences of the
    n-grams from `low` on, by example; example e contains the output n-grams held[first[e]:last[e]], ascending. counts: zeros
    [outputs], also on return. spread [2·steps + 1]: a histogram of similarities, to which each pair adds one. Pairs strictly above
    `lowest` are written to kept [room, 3] (input, output, examples with it) and similarity [room]; where those of each n-gram begin
    and end, ascending, to rows (int64 [n-grams, 2])."""
    n_pairs, steps, base = 0, (len(spread) - 1) // 2, begins[low]
    most, waiting = np.int64(0), np.int64(0)
    for e in range(len(first)):  # slices and arithmetic of whole arrays take ten times as long to compile as loops
        most = max(most, last[e] - first[e])
    four, cosines = np.empty(4, np.int64), np.empty((4, most), np.float32)
    for o in turns:
        if begins[ngram[o] + 1] - begins[ngram[o]] > 1:
            waiting += last[example[o]] - first[example[o]]
    several, at_of, n = np.empty(waiting, np.float32), np.empty(len(turns), np.int64), np.int64(0)
    turn = 0
    while turn < len(turns):  # the outputs' vectors of an example stay in the cache
        e, together = example[turns[turn]], 0
        while together < 4 and turn + together < len(turns) and example[turns[turn + together]] == e:
            four[together] = ngram[turns[turn + together]]
            together += 1
        for k in range(together, 4):
            four[k] = four[0]
        which = held[first[e] : last[e]]
        _dots(inputs, four, outputs, which, len(which), cosines)
        for k in range(together):
            i = four[k]
            if begins[i + 1] - begins[i] > 1:
                at_of[turns[turn + k] - base] = n
                for at in range(len(which)):
                    several[n + at] = cosines[k, at]
                n += len(which)
                continue
            rows[i - low, 0] = n_pairs
            for at in range(len(which)):
                s = cosines[k, at]
                spread[_step_of(s, steps)] += 1
                if np.float64(s) > lowest:
                    kept[n_pairs, 0], kept[n_pairs, 1], kept[n_pairs, 2] = i, which[at], 1
                    similarity[n_pairs] = s
                    n_pairs += 1
            rows[i - low, 1] = n_pairs
        turn += together
    touched, of_output = np.empty(len(counts) if n else 0, np.int32), np.empty(len(counts) if n else 0, np.float32)
    for i in range(low, low + len(rows)):
        if begins[i + 1] - begins[i] < 2:
            continue
        n = np.int64(0)
        for o in range(begins[i], begins[i + 1]):
            at = at_of[o - base]
            for k in range(first[example[o]], last[example[o]]):
                output = held[k]
                if counts[output] == 0:
                    touched[n], of_output[output] = output, several[at]
                    n += 1
                counts[output] += 1
                at += 1
        above = np.int64(0)
        for at in range(n):
            output = touched[at]
            s = of_output[output]
            spread[_step_of(s, steps)] += 1
            if np.float64(s) > lowest:
                touched[above] = output
                above += 1
            else:
                counts[output] = 0
        _restore_order(touched, above, counts)
        rows[i - low, 0] = n_pairs
        for at in range(above):
            output = touched[at]
            kept[n_pairs, 0], kept[n_pairs, 1], kept[n_pairs, 2] = i, output, counts[output]
            similarity[n_pairs] = of_output[output]
            n_pairs += 1
            counts[output] = 0
        rows[i - low, 1] = n_pairs
