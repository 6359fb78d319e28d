"""What can be asked about tuned models. Every function blocks on the store."""

from ftlab.schemas import Page, TunedModel
from serve.convert import to_model
from serve.pages import to_page
from serve.services import Services


def list_models(services: Services, owner: str, after: str | None, limit: int) -> Page[TunedModel]:
    with services.store.read() as tx:
        records = tx.models.list(owner=owner, after=after, limit=limit + 1)
    return to_page([to_model(record) for record in records], limit)


def get(services: Services, owner: str, model_id: str) -> TunedModel:
    with services.store.read() as tx:
        return to_model(tx.models.get(model_id, owner=owner))
