"""How far residuals go down, and how right values are, where the vectors of a basis are held in a narrower dtype.

    python tests/benchmarks/storage.py [--n 20000] [--products 200]

Five largest pairs of U diag(d) U' in float64, U two cosine transforms with random signs, by so many products whatever tol: all in one
basis, and restarted in one of 60 vectors.
"""

import argparse

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from landscape.linalg import narrow
from landscape.linalg.lanczos import eigsh

DTYPES = {"float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Mixed:
    def __init__(self, d: Tensor) -> None:
        self.d, self.shape, self.dtype, self.device = d, (len(d), len(d)), d.dtype, d.device
        self.signs = torch.as_tensor(np.random.default_rng(0).choice([-1.0, 1.0], (2, len(d), 1)))

    def __matmul__(self, V: Tensor) -> Tensor:
        W = V.reshape(len(self.d), -1)
        for signs in self.signs:
            W = torch.as_tensor(scipy.fft.dct((signs * W).numpy(), axis=0, norm="ortho"))
        W = self.d[:, None] * W
        for signs in self.signs.flip(0):
            W = signs * torch.as_tensor(scipy.fft.idct(W.numpy(), axis=0, norm="ortho"))
        return W.reshape(V.shape)


def spectra(n: int) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(0)
    return {
        "ten outliers beside a wide bulk": np.concatenate(
            [numbers.uniform(-0.5, 0.5, n - 10), np.linspace(0.6, 1, 10)]
        ),
        "outliers of a net, a narrow bulk": np.concatenate(
            [0.01 * numbers.normal(size=n - 20), np.logspace(-1, 0, 20)]
        ),
        "a semicircle, no gaps": 2 * numbers.beta(1.5, 1.5, n) - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--products", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    narrow.DTYPES.update(DTYPES)
    narrow.REACH = float("inf")  # whatever tol allows
    print("| spectrum | basis in | vectors | largest residual / norm | values off / norm, the largest of them |")  # fmt: skip
    print("|---|---|---|---|---|")
    for name, d in spectra(options.n).items():
        truth, scale = np.sort(d)[-5:], np.abs(d).max()
        for storage in DTYPES:
            for rows in (options.products, 60):
                pairs = eigsh(
                    Mixed(torch.as_tensor(d)), 5, tol=1e-12, probes=0, storage=storage,
                    max_products=options.products, max_basis=rows,
                )  # fmt: skip
                off = np.abs(pairs.values.numpy() - truth) / scale
                worst = float(pairs.residuals.max()) / scale
                print(f"| {name} | {storage} | {rows} | {worst:.1e} | {off.max():.1e}, {off[-1]:.1e} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
