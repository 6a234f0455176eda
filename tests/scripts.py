"""Loops as people write them on forums, each with a planted cause: is it named first?

    python tests/scripts.py            # a row of a table for each script of tests/stuck_scripts
    python tests/scripts.py softmax    # those whose names have this in them

A script trains under a ``Tracer``; the row tells what the diagnosis of its trace names first. No
threshold of ``landscape.training`` was read from these runs.
"""

import contextlib
import io
import runpy
import sys
import warnings
from pathlib import Path

import torch

import landscape as ls

FOLDER = Path(__file__).parent / "stuck_scripts"
# Script: (what may be named first, what the cause must say). Controls have no cause.
PLANTED: dict[str, tuple[tuple[str, ...], str]] = {
    "accumulation_not_divided": (("learning rate",), "Lower the rate"),
    "adam_rate_too_large": (("learning rate",), "Lower the rate"),
    "adam_rate_too_small": (("learning rate",), "Raise the rate"),
    "adam_weight_decay": (("loop",), "weight_decay"),
    "always_first_batch": (("loop",), "new batch"),
    "batch_of_one": (("noise",), "larger batches"),
    "char_lstm_no_zero_grad": (("loop",), "zero_grad"),
    "clip_norm_tiny": (("loop",), "clipped"),
    "correlated_features": (("flat",), ""),
    "dataset_returns_one_image": (("data",), "the same for all samples"),
    "dead_relus_in_cnn": (("dead",), "Re-initialise"),
    "deep_sigmoids": (("vanishing",), ""),
    "deep_tanh": (("vanishing",), ""),
    "detached_features": (("loop",), "detach"),
    "dropout_095": (("noise",), "dropout"),
    "equal_init": (("saddle",), "equal units"),
    "frozen_backbone_left": (("loop",), "requires_grad"),
    "head_replaced_after_optimizer": (("loop",), "no group"),
    "inputs_shuffled_apart": (("data",), "shuffled"),
    "local_minimum": (("minimum",), ""),
    "lstm_cell_long_series": (("vanishing",), "the first of 80 steps"),
    "log_softmax_of_softmax": (("loss",), "softmax"),
    "loss_rebuilt_from_item": (("loop",), "backward"),
    "matrix_factorization": (("saddle",), ""),
    "model_made_again": (("loop",), "no group"),
    "momentum_of_0999": (("learning rate",), "Lower the rate"),
    "momentum_rate_too_large": (("learning rate",), "Lower the rate"),
    "mse_on_class_index": (("loss",), "broadcast"),
    "pixels_of_bytes": (("data",), "Standardise"),
    "raw_features": (("data",), "Standardise"),
    "relu_on_the_output": (("loss",), "last activation"),
    "rnn_long_sequence": (("vanishing",), "the first of 60 steps"),
    "rosenbrock": (("flat",), ""),
    "saturated_sigmoids": (("saturated",), ""),
    "scheduler_every_batch": (("learning rate", "loop"), "schedule"),
    "sgd_rate_too_large": (("learning rate",), "Lower"),
    "sgd_rate_too_small": (("learning rate",), "Raise the rate"),
    "sigmoid_before_bce_logits": (("loss",), "sigmoid"),
    "softmax_in_cnn": (("loss",), "softmax"),
    "target_broadcasts": (("loss",), "broadcast"),
    "transformer_rate_too_large": (("learning rate",), "Lower the rate"),
    "weight_decay_of_one": (("loop",), "weight_decay"),
    "zero_grad_before_step": (("loop",), "backward"),
    "zero_init": (("saddle",), ""),
    "batch_drawn_once": (("loop",), "new batch"),
    "clip_value_tiny": (("loop",), "clipped"),
    "deep_linear_from_zero": (("saddle",), ""),
    "deep_relu_small_init": (("vanishing",), ""),
    "divided_by_255_twice": (("data",), "Standardise"),
    "diverges_to_nan": (("learning rate",), "Lower"),
    "double_well": (("minimum",), ""),
    "exponential_decay_each_step": (("learning rate", "loop"), "schedule"),
    "far_from_the_well": (("flat",), ""),
    "features_without_grad": (("loop",), "no_grad"),
    "gru_head_only_in_optimizer": (("loop",), "no group"),
    "layers_in_a_list": (("loop",), "ModuleList"),
    "lstm_adamw_rate_too_large": (("learning rate",), "Lower the rate"),
    "nll_of_logits": (("loss",), "log_softmax"),
    "noise_in_the_gradient": (("noise", "learning rate"), ""),
    "rmsprop_rate_too_large": (("learning rate",), "Lower the rate"),
    "softmax_of_one_output": (("loss",), "softmax"),
    "softmax_over_the_batch": (("loss",), "dimension"),
    "step_never_called": (("loop",), "step()"),
    "tanh_output_for_prices": (("loss",), "last activation"),
    "targets_in_thousands": (("data", "learning rate"), ""),
    "tokens_all_unknown": (("data",), "the same for all samples"),
    "transformer_rate_too_small": (("learning rate",), "Raise the rate"),
    "wrong_sign": (("loop",), "sign"),
    "zero_grad_once_an_epoch": (("loop",), "zero_grad"),
    "bfloat16_weights": (("learning rate",), "float32"),
    "ema_copied_back": (("loop",), "is undone"),
    "layer_norm_of_one": (("loss",), "layer_norm"),
    "policy_without_minus": (("loop",), "sign"),
    "sorted_by_class": (("loop",), "shuffle=True"),
    "adagrad_rate_too_small": (("learning rate",), "Raise the rate"),
    "clamped_output": (("data",), "same for all"),
    "mask_hides_everything": (("data", "loop"), "mask"),
    "prices_by_mean_absolute_error": (("data",), "Standardise the targets"),
    "resumed_after_its_schedule": (("learning rate",), "a rate above 0"),
    **{p.stem: ((), "") for p in sorted(FOLDER.glob("fine_*.py"))},
}


def trained(name: str) -> tuple[ls.Tracer, torch.optim.Optimizer]:
    """The tracer of a script that has run, and its optimiser."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        left = runpy.run_path(str(FOLDER / f"{name}.py"))
    return left["tracer"], left.get("optimizer") or left["opt"]


def first(found: ls.training.Diagnosis) -> tuple[str, float, str]:
    """The first cause, its confidence, and all that is said of it."""
    if not found.causes:
        return "none", 0.0, ""
    return found.causes[0].name, found.causes[0].confidence, str(found.causes[0])


def right(name: str, found: ls.training.Diagnosis) -> bool:
    """Whether the planted cause is named first, or a control is not called stuck."""
    accepted, said = PLANTED[name]
    named, sure, text = first(found)
    if not accepted:
        return not (found.stuck and sure > 0.5)
    return named in accepted and said in text


def main(part: str) -> None:
    torch.set_num_threads(1)
    print("| script | planted | named first | confidence | stuck | right |")
    print("|---|---|---|---|---|---|")
    for name, (accepted, _) in PLANTED.items():
        if part in name:
            found = ls.diagnose(trained(name)[0].result)
            named, sure, _ = first(found)
            stuck, good = ("yes" if b else "no" for b in (found.stuck, right(name, found)))
            planted = " or ".join(accepted) or "none"
            print(f"| {name} | {planted} | {named} | {sure:.2f} | {stuck} | {good} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
