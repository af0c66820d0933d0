"""Writes reference/gradient.f32 and reference/gradient.json: a gradient by PyTorch, in f64 and by its own differentiation.

    python3 -m venv venv
    venv/bin/pip install numpy torch
    venv/bin/python reference/gradient.py

Pictures and parameters are made by formulas that the test has too. The parameters lie, as the gradient does, in the order of `Parameters`: first convolution, second, sums, of each first the weights.
"""

import json
from pathlib import Path

import numpy
import torch
from torch.nn.functional import conv2d, cross_entropy, max_pool2d, relu

HERE = Path(__file__).parent
FIRST, SECOND, CLASSES = 8, 16, 10
PICTURES = 48


def main():
    pixels = (numpy.arange(PICTURES * 64, dtype="u4") * numpy.uint32(2654435761) >> 16) % 256 % 17
    lights = torch.tensor(pixels / 16.0).reshape(-1, 1, 8, 8)
    digits = torch.arange(PICTURES) % 10

    sizes = [9 * FIRST, FIRST, 9 * FIRST * SECOND, SECOND, 16 * SECOND * CLASSES, CLASSES]
    count = sum(sizes)
    numbers = (numpy.arange(count) * 7919 % 1009 / 1009.0 - 0.5) * 0.5
    flat = torch.tensor(numbers.astype("f4").astype("f8"), requires_grad=True)
    first, first_bias, second, second_bias, sums, sums_bias = torch.split(flat, sizes)

    # Ours are [tap, from, to]; PyTorch's are [to, from, row, column].
    x = relu(conv2d(lights, first.reshape(3, 3, 1, FIRST).permute(3, 2, 0, 1), first_bias, padding=1))
    x = relu(conv2d(x, second.reshape(3, 3, FIRST, SECOND).permute(3, 2, 0, 1), second_bias, padding=1))
    x = max_pool2d(x, 2).permute(0, 2, 3, 1).reshape(PICTURES, -1)
    scores = x @ sums.reshape(16 * SECOND, CLASSES) + sums_bias
    loss = cross_entropy(scores, digits, reduction="sum")
    loss.backward()

    (HERE / "gradient.f32").write_bytes(flat.grad.numpy().astype("<f4").tobytes())
    right = int((scores.argmax(1) == digits).sum())
    told = {"made_by": f"torch {torch.__version__}", "pictures": PICTURES, "loss": loss.item(), "right": right}
    (HERE / "gradient.json").write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
