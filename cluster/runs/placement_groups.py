"""Placement groups without an owner.

Ray removes a group with its creator, except where an actor made it that is neither detached itself nor of a job that
has ended. Ray Train's controllers are such actors: when one is killed, its group keeps the devices.
"""

import logging

import ray
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group

logger = logging.getLogger(__name__)


def release_ownerless() -> int:
    """Remove the groups whose creator is dead, those still waiting for devices among them; return their number."""
    found = [row.placement_group_id for row in _table() if row.creator_actor_dead and row.state != row.REMOVED]
    for group in found:
        logger.warning("Releasing the placement group %s: the process that created it has ended", group.hex())
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(group)))
    return len(found)


def _table() -> list[gcs_pb2.PlacementGroupTableData]:
    """All groups as Ray's control store knows them; Ray's public table leaves their creators out."""
    rows = ray._private.state.state._connect_and_get_accessor().get_placement_group_table()
    return [gcs_pb2.PlacementGroupTableData.FromString(row) for row in rows]
