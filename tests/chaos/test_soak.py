"""The strongest check: whatever struck, the jobs have the weights that they would have had without it."""

import random

import pytest

from tests.chaos.scene import LONG, Scale, Scene
from tests.chaos.soak import Soak, differing

SHORT_SEED = 3


@pytest.fixture
def seed(pytestconfig: pytest.Config, scale: Scale) -> int:
    """A new one for each long run, to meet what nobody thought of."""
    given = pytestconfig.getoption("--seed", default=None)
    return int(given) if given is not None else random.randrange(10**6) if scale is LONG else SHORT_SEED


@pytest.mark.timeout(3600)
def test_jobs_under_random_faults_get_the_weights_of_jobs_without(
    scene: Scene, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    soak = Soak(scene, seed)
    with capsys.disabled():
        print(f"\nsoak: --seed {seed}")
    expected = soak.undisturbed()
    references = len(scene.own)

    struck = soak.run()

    with capsys.disabled():
        print("\n".join(f"soak: {at_s:6.1f} s  {name}" for at_s, name in struck))
    assert struck
    for number, job_id in enumerate(scene.own[references:]):
        assert differing(soak.weights(job_id), expected[number % len(expected)]) == [], job_id
