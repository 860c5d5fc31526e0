"""Which of many n-grams occur in a words part, where their counts do not matter.

An n-gram is absent if its beginning is. So with each n-gram are its beginnings and its words; sorted, they are a trie in
preorder ("a", "a b", "a b c", "a d", …), and only those whose beginning was found are looked up.
"""

import numpy as np
import polars as pl
import pyarrow.compute as pc

from tasks.ngrams.corpus_parts import id_batches, same_analyzer
from tasks.ngrams.lookup import ABSENT
from tasks.step import Work
from tasks.storage.store import Part


def with_beginnings(ngrams: pl.DataFrame) -> pl.DataFrame:
    """(ngram, length, last) of distinct n-grams, their beginnings and their words, sorted. length: words; last: the number of the
    last word among the rows of one word."""
    ngram, every, missing = pl.col("ngram"), ngrams, ngrams
    while missing.height:
        longer = missing.filter(ngram.str.contains(" ", literal=True))
        shorter = pl.concat(longer.select(ngram.str.extract(pattern)) for pattern in ("^(.*) ", "([^ ]+)$"))
        missing = shorter.unique().join(every, on="ngram", how="anti")
        every = pl.concat([every, missing])
    every = every.sort("ngram").with_columns(length=ngram.str.count_matches(" ", literal=True) + 1)
    words = every.filter(length=1)["ngram"].to_arrow()
    last = pc.index_in(every["ngram"].str.extract("([^ ]+)$").to_arrow(), value_set=words)
    return every.with_columns(last=pl.Series(last, dtype=pl.Int32))


def present_rows(work: Work, words: Part, vocabulary: Part, ngrams: pl.DataFrame) -> tuple[np.ndarray, int]:
    """(whether each row of `with_beginnings` occurs in the part, how often the part was read). N-grams with the same first word are
    looked up together, with as many others as fit in the job's memory."""
    from tasks.ngrams.kernels.presence_kernels import BYTES, mark_present, trie_in_preorder

    same_analyzer(work, words, vocabulary)
    lengths, last = (ngrams[name].to_numpy(writable=True) for name in ("length", "last"))
    begins = np.flatnonzero(lengths == 1)
    first_words = ngrams["ngram"].gather(begins).to_arrow()
    numbers = pc.index_in(work.read_part(vocabulary, "word")["word"].cast(first_words.type), value_set=first_words)
    number_of = pc.fill_null(numbers, ABSENT).to_numpy()
    present, slices = np.zeros(len(lengths), bool), begins * BYTES // work.job.memory
    cuts = [*begins[np.flatnonzero(np.diff(slices, prepend=-1))].tolist(), len(lengths)]
    for low, high in zip(cuts, cuts[1:], strict=False):
        trie = trie_in_preorder(lengths[low:high], last[low:high], len(begins))
        for ids, offsets, _ in id_batches(work, words, len(number_of)):
            renumbered = number_of[ids]
            renumbered.flags.writeable = False  # as ids of parts are: a kernel is compiled for one kind only
            mark_present(renumbered, offsets, trie, present[low:high])
    return present, max(1, len(cuts) - 1)
