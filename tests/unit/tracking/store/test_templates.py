"""Templates of owners."""

from tests.unit.tracking.samples import NOW, later
from tracking.store import Store
from tracking.store.records import TemplateRecord


def test_a_template_is_replaced_by_one_with_its_name(store: Store) -> None:
    with store.begin() as tx:
        tx.templates.save("ann", "b", "tuning: lora", now=NOW)
        tx.templates.save("ann", "a-b", "priority: 1", now=NOW)
        tx.templates.save("ann", "a_b", "# größer\npriority: 3", now=NOW)
        replaced = tx.templates.save("ann", "b", "tuning: full", now=later(5))
    assert replaced == TemplateRecord("ann", "b", "tuning: full", later(5))
    with store.read() as tx:
        assert tx.templates.find("b", owner="ann") == replaced
        assert [found.name for found in tx.templates.list(owner="ann")] == ["a-b", "a_b", "b"]
        assert tx.templates.list(owner="ann")[1].text == "# größer\npriority: 3"
        assert tx.templates.count(owner="ann") == 3


def test_owners_share_no_templates(store: Store) -> None:
    with store.begin() as tx:
        tx.templates.save("ann", "mine", "tuning: lora", now=NOW)
        tx.templates.save("bob", "mine", "tuning: full", now=NOW)
        assert tx.templates.delete("mine", owner="ann")
        assert not tx.templates.delete("mine", owner="ann")
    with store.read() as tx:
        assert tx.templates.find("mine", owner="ann") is None
        assert [found.text for found in tx.templates.list(owner="bob")] == ["tuning: full"]
        assert (tx.templates.count(owner="ann"), tx.templates.count(owner="bob")) == (0, 1)
