"""Kernels of `align`: compare all pairs of an input n-gram and an output n-gram of one example, each pair once.

Input n-grams are processed one after the other. A counter per output n-gram counts the examples with the pair; a zero marks a
new pair, and the list of touched outputs resets the counters. So a pair costs one dot product however many examples contain
it, no list of all pairs is built or sorted, and only pairs above γ are kept. N-grams of a single example, which most are,
need no counters and are compared four at a time.
"""

import numpy as np
from numba import njit


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _dots(inputs, four, outputs, which, n, cosines):
    """Dot products of four inputs with each of the outputs, two at a time: float32 [4, n]. Eight independent sums use the
    processor better.

    All products are computed here, with inputs repeated if there are fewer than four, so that a pair's last bit does not depend
    on the other pairs.
    """
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
    """Sort the touched outputs: by a sort if they are few, by a pass over the counters if they are many."""
    if n * 16 > len(counts):
        at = 0
        for output in range(len(counts)):
            if counts[output]:
                touched[at] = output
                at += 1
    else:
        touched[:n].sort()


@njit(cache=True)
def pairs_above(
    turns,
    lowest,
    inputs,
    outputs,
    begins,
    example,
    first,
    last,
    held,
    counts,
    touched,
    cosines,
    of_output,
    spread,
    kept,
    similarity,
):
    """Compare the input n-grams `turns`, in this order, with all output n-grams of their examples.

    inputs, outputs: float32 [n-grams, d]. Occurrences begins[i]..begins[i + 1] of input n-gram i are in `example`; example e
    contains the output n-grams held[first[e]:last[e]], ascending. counts: zeros [outputs], also on return; touched
    and of_output: buffers [outputs]; cosines: buffer [4, outputs]. spread [2·steps + 1]: a histogram of similarities, to which
    each pair adds one. Pairs strictly above `lowest` are written to kept [room, 3] (input, output, examples with it) and
    similarity [room], ascending for each input. Returns where those of each turn end: int64 [turns].
    """
    n_pairs, steps = 0, (len(spread) - 1) // 2
    ends = np.empty(len(turns), np.int64)
    four = np.empty(4, np.int64)
    turn = 0
    while turn < len(turns):
        i = turns[turn]
        e = example[begins[i]]
        together = 0
        while together < 4 and turn + together < len(turns):
            other = turns[turn + together]
            if begins[other + 1] - begins[other] != 1 or example[begins[other]] != e:
                break
            four[together] = other
            together += 1
        if together:  # n-grams of this example alone: its outputs are theirs, and each pair is in one example
            four[together:] = i
            which = held[first[e] : last[e]]
            _dots(inputs, four, outputs, which, len(which), cosines)
            for k in range(together):
                for at in range(len(which)):
                    s = cosines[k, at]
                    spread[_step_of(s, steps)] += 1
                    if np.float64(s) > lowest:
                        kept[n_pairs, 0], kept[n_pairs, 1], kept[n_pairs, 2] = four[k], which[at], 1
                        similarity[n_pairs] = s
                        n_pairs += 1
                ends[turn + k] = n_pairs
            turn += together
            continue
        n = 0
        for at in range(begins[i], begins[i + 1]):
            e = example[at]
            for k in range(first[e], last[e]):
                output = held[k]
                if counts[output] == 0:
                    touched[n] = output
                    n += 1
                counts[output] += 1
        above = 0
        four[:] = i
        _dots(inputs, four, outputs, touched, n, cosines)
        for at in range(n):
            output, s = touched[at], cosines[0, at]
            spread[_step_of(s, steps)] += 1
            if np.float64(s) > lowest:
                touched[above], of_output[output] = output, s
                above += 1
            else:
                counts[output] = 0
        _restore_order(touched, above, counts)
        for at in range(above):
            output = touched[at]
            kept[n_pairs, 0], kept[n_pairs, 1], kept[n_pairs, 2] = i, output, counts[output]
            similarity[n_pairs] = of_output[output]
            n_pairs += 1
            counts[output] = 0
        ends[turn] = n_pairs
        turn += 1
    return ends


@njit(cache=True)
def _is_part_of(words, others):
    """Whether one sequence of words is a contiguous part of the other."""
    for at in range(len(others) - len(words) + 1):
        same = True
        for k in range(len(words)):
            if words[k] != others[at + k]:
                same = False
                break
        if same:
            return True
    return False


@njit(cache=True)
def relations(left, right, input_starts, input_words, output_starts, output_words):
    """(they share a word, one contains or equals the other) for each pair left[k], right[k]: bool [pairs] twice.

    The words of input n-gram i are input_words[input_starts[i]:input_starts[i + 1]], as numbers that both sides share.
    """
    shares, inside = np.zeros(len(left), np.bool_), np.zeros(len(left), np.bool_)
    for k in range(len(left)):
        x = input_words[input_starts[left[k]] : input_starts[left[k] + 1]]
        y = output_words[output_starts[right[k]] : output_starts[right[k] + 1]]
        for word in x:
            for other in y:
                shares[k] |= word == other
        if shares[k]:
            inside[k] = _is_part_of(x, y) or _is_part_of(y, x)
    return shares, inside
