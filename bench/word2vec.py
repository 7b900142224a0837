"""Word vectors beside gensim's: quality at equal corpus and epochs, and words a second.

    python bench/word2vec.py --data $MODELEDGE_DATA [--recipe word2vec_cbow] [--words 5000000] [--epochs 3]

Both sides read the same words (modeledge's tokens, unknown words taken out) with the same width, window, subsampling,
number of noise words and epochs, on one thread; both tables are judged by the same code: Spearman's correlation with
human scores, and the share of analogies solved among the 30,000 most frequent words."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from _ratio import machine

from modeledge.analysis.similarity import WordVectors, analogies, similarity, word_vectors
from modeledge.data.prepare import prepare
from modeledge.data.store import Store
from modeledge.recipe.resolve import resolve
from modeledge.recipe.schema import check
from modeledge.run.pretrain import pretrain
from modeledge.tokenizers import load_tokenizer

TEXTS = ("en_books.train", "en_textbooks.train", "en_wiki_passages.train")


def corpus(data: Path, words: int, out: Path) -> None:
    """Write a parquet file with about equally many words of each text, `words` in all."""
    rows = []
    for name in TEXTS:
        left = words // len(TEXTS)
        for text in pq.read_table(data / "text" / f"{name}.parquet", columns=["text"])["text"].to_pylist():
            if left > 0:
                rows.append({"text": text})
                left -= len(text.split())
    pq.write_table(pa.Table.from_pylist(rows), out)


def ours(recipe: str, store: Path, epochs: int, out: Path) -> tuple[WordVectors, float]:
    """(the vectors of the recipe at size mini, raw words a second)."""
    plain = check(resolve(recipe, size="mini"))
    raw = plain.loop.batch * plain.data["text"].length  # type: ignore[attr-defined]
    steps = epochs * len(Store.open(store)["tokens"]) // raw
    done = pretrain(
        recipe, data=[str(store)], out=out, size="mini", sets=[f"loop.steps={steps}"], device="cpu", quiet=True
    ).done
    table = done.model.backbone.embed.weight.detach().numpy()  # type: ignore[union-attr]
    return word_vectors(table, done.facts), steps * raw / done.result.position.seconds


def gensims(recipe: str, store: Path, epochs: int) -> tuple[WordVectors, float]:
    """(gensim's vectors with its defaults, which are the recipe's settings, raw words a second)."""
    from gensim.models import Word2Vec

    opened, tokenizer = Store.open(store), load_tokenizer(store)
    flat, offsets = np.asarray(opened["tokens"]), np.asarray(opened.offsets("tokens"))
    names, special = tokenizer.pieces.tokens, set(tokenizer.special.values())
    sentences = []
    for begin, end in zip(offsets[:-1], offsets[1:], strict=True):
        known = [names[i] for i in flat[begin:end].tolist() if i not in special]
        sentences += [known[i : i + 5000] for i in range(0, len(known), 5000)]  # it cuts at 10,000
    model = Word2Vec(
        vector_size=100, window=5, min_count=1, sample=1e-3, negative=5, ns_exponent=0.75, alpha=0.025, min_alpha=1e-4,
        sg=int(recipe == "word2vec"), workers=1, seed=1,
    )  # fmt: skip
    model.build_vocab(sentences)
    begun = time.perf_counter()
    model.train(sentences, total_examples=len(sentences), epochs=epochs)
    return WordVectors(model.wv.vectors, model.wv.index_to_key), epochs * len(flat) / (time.perf_counter() - begun)


def judge(vectors: WordVectors, data: Path) -> dict[str, float]:
    """Correlation with each set of human scores, and the share of analogies solved."""
    sets = pq.read_table(data / "en" / "word_similarity.parquet").to_pylist()
    found = {}
    for name in sorted({row["set"] for row in sets}):
        pairs = [(row["word1"], row["word2"], row["score"]) for row in sets if row["set"] == name]
        found[name] = similarity(vectors, pairs)["spearman"]
    asked = pq.read_table(data / "en" / "analogies.parquet").to_pylist()
    found["analogies"] = analogies(vectors, [(q["a"], q["b"], q["c"], q["d"]) for q in asked])["accuracy"]
    return found


def main() -> None:
    """Both sides, and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--words", type=int, default=5_000_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--recipe", default="word2vec", choices=["word2vec", "word2vec_cbow"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        corpus(given.data, given.words, folder / "text.parquet")
        tokenizer = check(resolve(given.recipe, size="mini")).tokenizer
        prepare([str(folder / "text.parquet")], out=folder / "store", tokenizer=tokenizer)
        sides = {
            "modeledge": ours(given.recipe, folder / "store", given.epochs, folder / "run"),
            "gensim": gensims(given.recipe, folder / "store", given.epochs),
        }
    table = {name: judge(vectors, given.data) | {"words/s": rate} for name, (vectors, rate) in sides.items()}
    print(f"{given.recipe}, {given.epochs} epochs")
    print(f"{'':14}" + "".join(f"{name:>12}" for name in table))
    for row in table["gensim"]:
        print(
            f"{row:14}"
            + "".join(f"{side[row]:12.3f}" if side[row] < 2 else f"{side[row]:12,.0f}" for side in table.values())
        )
    print(json.dumps({"recipe": given.recipe, "words": given.words, "epochs": given.epochs, **table, **machine()}))


if __name__ == "__main__":
    main()
