"""The lab run cut between lines that belong together; at length: `python -m tests.nights_at_length`."""

import pytest

from tests.lab_nights import LabLog, find_cuts
from tests.lab_variant import LAB
from tests.nights_at_length import compare
from tests.plain import publish

pytestmark = pytest.mark.skipif(not LAB.is_dir(), reason="the lab run is not beside the checkout")


def test_nights_cut_between_lines_that_belong_together() -> None:
    lab = LabLog()
    one = publish(lab.run())
    cuts = find_cuts(one, lab.events, seed=5, each=2)
    assert len({cut.kind for cut in cuts}) == 8
    assert compare(publish(lab.run(sorted({cut.at for cut in cuts}))), one) == []
