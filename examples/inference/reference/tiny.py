"""Makes a model of a few KB with random weights, and what it says of some texts: an implementation that shares nothing with ours.

    python3 -m venv venv
    venv/bin/pip install numpy
    venv/bin/python reference/tiny.py

Writes reference/tiny/: model.safetensors, config.json, vocab.txt, and reference.json with word pieces and embeddings, which are
computed in f64.
"""

import json
import struct
import unicodedata
from math import erf
from pathlib import Path

import numpy

OUT = Path(__file__).parent / "tiny"
CONFIG = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 32,
    "hidden_act": "gelu",
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "the of and to in a is it node job lease fuel light picture tree water pays runs counts edge ##s ##ed ##ing ##er un ##able".split()
TEXTS = [
    "",
    "the node runs a job",
    "The Node RUNS a Job!",
    "a job is paid in fuel; fuel is counted, and the count is undeniable",
    "trees of light in the water",
    "Éclair à la crème, naïve façade",
    "水 is water",
    "a [MASK] of the edge",
    "counting " * 40,
    "\tlease\u00a0and\u200bnode\n",
]


def vocabulary():
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789.,;!?-'")
    pieces = SPECIAL + WORDS + letters + [f"##{letter}" for letter in letters if letter.isalnum()] + ["水"]
    return list(dict.fromkeys(pieces))


def tensors(random):
    width, inner, count = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["vocab_size"]

    def normal(*shape, scale):
        return random.normal(0, scale, shape).astype("<f4")

    made = {
        "embeddings.word_embeddings.weight": normal(count, width, scale=1),
        "embeddings.position_embeddings.weight": normal(CONFIG["max_position_embeddings"], width, scale=0.3),
        "embeddings.token_type_embeddings.weight": normal(2, width, scale=0.3),
    }

    def norm(name):
        made[f"{name}.weight"] = 1 + normal(width, scale=0.2)
        made[f"{name}.bias"] = normal(width, scale=0.2)

    def linear(name, output, input):
        made[f"{name}.weight"] = normal(output, input, scale=1.5 / input**0.5)
        made[f"{name}.bias"] = normal(output, scale=0.2)

    norm("embeddings.LayerNorm")
    for n in range(CONFIG["num_hidden_layers"]):
        layer = f"encoder.layer.{n}"
        for part in ["query", "key", "value"]:
            linear(f"{layer}.attention.self.{part}", width, width)
        linear(f"{layer}.attention.output.dense", width, width)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", inner, width)
        linear(f"{layer}.output.dense", width, inner)
        norm(f"{layer}.output.LayerNorm")
    return made


def write_safetensors(path, made):
    directory, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in made.items():
        end = offset + tensor.nbytes
        directory[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(directory).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensor.tobytes() for tensor in made.values()))


def pieces(text, vocabulary):
    """Word pieces, after google-research/bert's tokenization.py."""
    if "[MASK]" in text:
        before, after = text.split("[MASK]")
        return pieces(before, vocabulary) + [vocabulary.index("[MASK]")] + pieces(after, vocabulary)
    category = unicodedata.category
    text = "".join(
        " " if c in "\t\n\r" or category(c) == "Zs" else c for c in text if c in "\t\n\r" or not category(c).startswith("C")
    )
    text = "".join(f" {c} " if 0x4E00 <= ord(c) <= 0x9FFF else c for c in text).lower()
    text = "".join(c for c in unicodedata.normalize("NFD", text) if category(c) != "Mn")
    text = "".join(f" {c} " if category(c).startswith("P") else c for c in text)
    return [id for word in text.split() for id in cut(word, vocabulary)]


def cut(word, vocabulary):
    ids, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = [end for end in range(len(word), start, -1) if prefix + word[start:end] in vocabulary]
        if not ends:
            return [vocabulary.index("[UNK]")]
        ids.append(vocabulary.index(prefix + word[start : ends[0]]))
        start = ends[0]
    return ids


def embed(ids, made):
    made = {name: tensor.astype("f8") for name, tensor in made.items()}

    def norm(x, name):
        x = x - x.mean(axis=1, keepdims=True)
        x /= numpy.sqrt((x * x).mean(axis=1, keepdims=True) + CONFIG["layer_norm_eps"])
        return x * made[f"{name}.weight"] + made[f"{name}.bias"]

    def linear(x, name):
        return x @ made[f"{name}.weight"].T + made[f"{name}.bias"]

    x = made["embeddings.word_embeddings.weight"][ids]
    x = x + made["embeddings.position_embeddings.weight"][: len(ids)] + made["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    heads = CONFIG["num_attention_heads"]
    for n in range(CONFIG["num_hidden_layers"]):
        layer = f"encoder.layer.{n}"
        query, key, value = (
            linear(x, f"{layer}.attention.self.{part}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for part in ["query", "key", "value"]
        )
        scores = numpy.exp(query @ key.transpose(0, 2, 1) / query.shape[2] ** 0.5)
        context = scores / scores.sum(axis=2, keepdims=True) @ value
        context = context.transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(x + linear(context, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = linear(x, f"{layer}.intermediate.dense")
        inner = inner / 2 * (1 + numpy.vectorize(erf)(inner / 2**0.5))
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / numpy.linalg.norm(mean)


def main():
    words = vocabulary()
    CONFIG["vocab_size"] = len(words)
    made = tensors(numpy.random.Generator(numpy.random.PCG64(7)))
    OUT.mkdir(exist_ok=True)
    write_safetensors(OUT / "model.safetensors", made)
    (OUT / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (OUT / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    cases = []
    for text in TEXTS:
        room = CONFIG["max_position_embeddings"] - 2
        ids = [words.index("[CLS]")] + pieces(text, words)[:room] + [words.index("[SEP]")]
        cases.append({"text": text, "ids": ids, "vector": [float(f"{x:.8g}") for x in embed(ids, made)]})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (OUT / "reference.json").write_text(f'{{"made_by": "numpy {numpy.__version__}", "cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
