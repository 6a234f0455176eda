"""The scripts of tests/stuck_scripts: the planted cause is named first, and controls are not stuck.

A script trains in a second or two. One of each kind runs by default, all of them with --all-scripts,
or by ``python tests/scripts.py``, which prints the table.
"""

import pytest
import scripts

import landscape as ls

SHORT = (
    *("gru_head_only_in_optimizer", "model_made_again", "zero_grad_once_an_epoch", "wrong_sign"),
    *("features_without_grad", "layers_in_a_list", "step_never_called", "clip_value_tiny"),
    *("softmax_of_one_output", "log_softmax_of_softmax", "mse_on_class_index"),
    *("inputs_shuffled_apart", "raw_features", "tokens_all_unknown", "weight_decay_of_one"),
    *("momentum_of_0999", "sgd_rate_too_large", "batch_of_one", "equal_init"),
    *("deep_linear_from_zero", "rosenbrock", "local_minimum", "saturated_sigmoids"),
    *("bfloat16_weights", "ema_copied_back", "layer_norm_of_one", "policy_without_minus"),
    *("adagrad_rate_too_small", "clamped_output", "mask_hides_everything"),
    *("prices_by_mean_absolute_error", "resumed_after_its_schedule"),
    *("sorted_by_class", "fine_max_norm", "fine_discriminator"),
    *("fine_weak_signal", "fine_linear_noise", "fine_lbfgs", "fine_head_only"),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-scripts")
        metafunc.parametrize("name", list(scripts.PLANTED) if every else SHORT)


@pytest.mark.slow
def test_the_planted_cause_is_named_first(name: str) -> None:
    found = ls.diagnose(scripts.trained(name)[0].result)
    assert scripts.right(name, found), f"stuck: {found.stuck}\n{found}"


def test_every_script_has_its_row() -> None:
    assert {p.stem for p in scripts.FOLDER.glob("*.py")} == set(scripts.PLANTED)
