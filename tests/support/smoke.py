"""The cases that `make smoke` runs: about 450 in 20 seconds, a few of every part.

Every layer class and cell forward and backward, streams, copies, files, sequence to sequence,
losses, optimizers, fit and resuming, data, diagnostics, a command, and what `import crnn` imports.
"""

import re

import pytest

from support.folders import TESTS

IDLE = pytest.StashKey()  # what `mark` returned, in pytest's config

# File below tests/ -> names of cases, where * matches any text. Of the instruction sets only scalar
# is available on every machine.
CASES = {
    "layers/test_gradients.py": ["test_every_layer[lengths-*]"],
    "layers/recurrent/test_cells.py": [
        "test_cells_agree_with_the_reference[float64-scalar-everything-*]",
        "test_compositions_are_their_parts*",
        "test_pointwise_layers_are_their_definitions*",
        "test_tables_are_complete",
    ],
    "layers/recurrent/test_options.py": [
        "test_options_agree_with_the_reference[float64-scalar-mask-*-all]"
    ],
    "layers/base/test_calls.py": ["test_each_training_call_draws_anew*"],
    "layers/base/test_layer_objects.py": ["test_copies[float32-pickle-2-*]"],
    "layers/base/test_parameters.py": ["test_a_step_of_descent_as_it_is_written*"],
    "layers/base/test_places.py": ["test_an_error_after_construction_names_the_layer"],
    "layers/base/test_summary.py": ["test_shapes_are_those_of_a_run"],
    "layers/compose/test_checkpointed.py": ["test_a_composition[lengths-4]"],
    "layers/compose/test_compositions.py": [
        "test_a_stream_agrees_with_a_call*",
        "test_compositions_with_all_options_have_right_gradients",
        "test_pool[*-full-*]",
    ],
    "layers/compose/test_conditioned.py": ["test_gradients[full-*]"],
    "layers/compose/test_last_state.py": ["test_saving_and_showing"],
    "layers/pointwise/test_tied.py": ["test_the_embedding_has_both_gradients[lengths-*]"],
    "core/test_attention.py": ["test_gradients_are_the_finite_differences*"],
    "core/test_bits.py": [
        "test_any_number_of_threads_in_dense[float32-*]",
        "test_steps_of_a_stream_are_forward[float32-scalar-floats-*]",
        "test_windows_are_the_whole[float64-scalar-*]",
    ],
    "core/test_random.py": ["test_known_answers*"],
    "core/test_search.py": ["test_narrow_beams*"],
    "common/test_errors.py": ["test_backward_of_every_layer[*gru_after*]", "test_every_cell*"],
    "losses_optim/test_losses_optim.py": [
        "test_cross_entropy_agrees_with_its_twin[float64-scalar-17-*]",
        "test_mse_agrees_with_its_twin[float64-scalar-shape2-*]",
        "test_optimizers_agree_with_their_twins[float32-scalar-clipped-*]",
    ],
    "losses_optim/test_losses_options.py": ["test_gradients_are_the_finite_differences*"],
    "reference/test_reference.py": ["test_cells_agree_with_golden_numbers*"],
    "generation/test_generation.py": ["test_the_likeliest_symbol_is_fed_back"],
    "seq2seq/test_seq2seq.py": [
        "test_copies_and_files*",
        "test_fit_counts_the_steps_of_the_target",
    ],
    "seq2seq/test_seq2seq_gradients.py": [
        "test_models[bridged]",
        "test_models[two-directions]",
        "test_models[additive]",
        "test_models[dot-whole]",
        "test_models[general]",
        "test_models[symbols-to-vectors]",
    ],
    "seq2seq/test_seq2seq_generate.py": ["test_greedy*", "test_a_beam[*]"],
    "storage/test_checkpoint.py": [
        "test_a_model_is_loaded_unchanged",
        "test_a_tree_is_read_with_its_types",
        "test_single_layers_are_loaded_unchanged*",
    ],
    "storage/test_identity.py": ["test_models_of_old_files"],
    "data/test_data.py": ["test_a_vocabulary_goes_through_json", "test_streams_go_on_row_by_row"],
    "data/test_data_batches.py": ["test_every_sequence_comes_once_an_epoch"],
    "data/test_data_gathering.py": ["test_windows_are_those_of_plain_loops[float32-True-flags0]"],
    "data/test_data_panel.py": ["test_a_panel_has_what_it_was_made_of"],
    "data/test_data_pairs.py": ["test_every_pair_comes_once_between_start_and_stop"],
    "callbacks/test_callbacks_training.py": [
        "test_early_stopping_stops_and_gives_the_best_parameters_back",
        "test_fit_resumes_where_there_is_a_file",
    ],
    "training/test_training.py": ["test_*"],
    "training/test_predict.py": ["test_a_list_gives_what_each_sequence_alone_gives[*-floats-None]"],
    "training/test_run_metrics.py": [
        "test_evaluate_gives_the_same",
        "test_weights_reach_the_metrics",
    ],
    "metrics/test_metrics.py": ["test_accuracy_is_that_of_scikit_learn*"],
    "training/test_resume.py": ["test_a_resumed_run_is_the_same_run*"],
    "training/test_tbptt.py": ["test_k1_and_k2_of_all_steps_are_plain_backpropagation_*"],
    "diagnostics/test_gradcheck.py": [
        "test_one_percent_in_one_entry_is_found",
        "test_right_gradients_pass*",
        "test_symbols_are_not_moved",
    ],
    "diagnostics/test_diagnostics_flow.py": ["test_counts_by_hand"],
    "diagnostics/test_watch.py": ["test_a_watched_run_is_the_same_to_the_last_bit*"],
    "models/test_char_model.py": ["test_every_cell_can_be_stacked*"],
    "models/test_autoencoder.py": ["test_gradients[full-gru]"],
    "models/test_translator.py": ["test_a_translator_comes_back_from_its_folder*"],
    "cli/test_cli.py": ["test_config_and_version", "test_the_files_and_the_output_of_a_run"],
    "project/test_import.py": ["test_*"],
    "project/test_layout.py": ["test_*"],
    "project/test_smoke.py": ["test_*"],
}


def mark(items):
    """Mark these cases; return the names in the table that match none of the items."""
    found = dict.fromkeys((file, name) for file, names in CASES.items() for name in names)
    rows = {}
    for file, name in found:
        regex = re.compile(".*".join(re.escape(part) for part in name.split("*")))
        rows.setdefault(TESTS / file, []).append((regex, (file, name)))
    for item in items:
        for regex, row in rows.get(item.path, ()):
            if regex.fullmatch(item.name):
                item.add_marker("smoke")
                found[row] = item
    return [f"{file}::{name}" for (file, name), item in found.items() if item is None]
