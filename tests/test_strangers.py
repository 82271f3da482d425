"""Changed files are read rightly or refused in words; `benchmarks.strangers` has thousands."""

import pytest

from tests.oracles import strangers

_FILES = 40  #: changed in each kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", strangers.KINDS)
def test_no_changed_file_ends_in_a_traceback(kind, tmp_path):
    campaign = strangers.Campaign(tmp_path, seed=1)
    try:
        for number in range(_FILES):
            campaign.run(kind, number)
    finally:
        campaign.close()
    assert campaign.failures == []
    # Most changes do harm: a campaign in which everything is right has changed nothing.
    assert campaign.counts[kind]["refused"] + (kind == "checkpoint") * _FILES > 8
