"""The notice that a machine goes away is answered once."""

from ray.train.v2._internal.execution.context import TrainContext
from ray.train.v2._internal.execution.preemption import PreemptionContext
from ray.train.v2.api.preemption import PreemptionInfo

from cluster.runs import node_drain
from cluster.runs.node_drain import NodeDrain


def test_each_notice_is_news_once():
    notices = iter([None, "a", "a", "b", "b", None])
    drain = NodeDrain(lambda: next(notices))
    assert [drain.is_news() for _ in range(6)] == [False, True, False, True, False, False]


def test_the_notice_lies_where_ray_puts_it(monkeypatch):
    """Ray's own worker writes it there; the version is pinned for this reason among others."""
    context = object.__new__(TrainContext)
    object.__setattr__(context, "preemption_context", PreemptionContext())
    monkeypatch.setattr("ray.train.v2._internal.execution.context._train_context", context)
    drain = NodeDrain()
    assert not drain.is_news()
    context.preemption_context.preemption_info = PreemptionInfo(deadline_ms=1, preempted_node_to_ranks={"node": [0]})
    assert drain.is_news()
    assert not drain.is_news()
    context.preemption_context.preemption_info = PreemptionInfo(deadline_ms=1, preempted_node_to_ranks={"node": [0]})
    assert not drain.is_news(), "the same notice, told again"
    assert node_drain.ray_notice() is not None
