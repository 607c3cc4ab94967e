"""Storage in memory is as any other; these are the tests of every kind that need one storage alone."""

import pytest

from orchestrator.simulation.memory import MemoryStorage
from tests.workers.test_storage import (
    test_a_closed_log_takes_nothing,
    test_a_large_file_is_whole,
    test_a_log_is_begun_once,
    test_a_missing_file_is_not_found_and_deleting_it_does_nothing,
    test_a_name_that_leads_elsewhere_is_refused,
    test_logs_are_listed_in_order,
    test_names_are_the_files_of_one_folder_in_order,
    test_sweeping_leaves_all_that_was_written,
    test_what_is_deleted_is_gone_and_the_rest_stays,
    test_writing_again_replaces_all_of_it,
)

__all__ = [
    "test_a_closed_log_takes_nothing",
    "test_a_large_file_is_whole",
    "test_a_log_is_begun_once",
    "test_a_missing_file_is_not_found_and_deleting_it_does_nothing",
    "test_a_name_that_leads_elsewhere_is_refused",
    "test_logs_are_listed_in_order",
    "test_names_are_the_files_of_one_folder_in_order",
    "test_sweeping_leaves_all_that_was_written",
    "test_what_is_deleted_is_gone_and_the_rest_stays",
    "test_writing_again_replaces_all_of_it",
]


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()
