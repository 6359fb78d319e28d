"""What a run needs, and where its workers fit."""

import pytest

from cluster.policy import Devices, Fleet, Node, Spot, WorkerShape, gpus_by_type, on_nodes, shape_of
from cluster.policy.free_devices import Room, place
from ftlab.schemas import Resources
from tests.unit.cluster.policy.builders import FOUR_CORES, TWO_GPUS, cores, fleet, gpus, room_after


@pytest.mark.parametrize(
    ("asked", "machines", "shape"),
    [
        ({}, FOUR_CORES, WorkerShape(1, 4, 0)),
        ({"num_workers": 2}, FOUR_CORES, WorkerShape(2, 2, 0)),
        ({"num_workers": 3}, FOUR_CORES, WorkerShape(3, 1, 0)),
        ({"num_workers": 9}, FOUR_CORES, WorkerShape(9, 1, 0)),
        ({"cpus_per_worker": 3}, FOUR_CORES, WorkerShape(1, 3, 0)),
        ({}, TWO_GPUS, WorkerShape(1, 1, 1)),
        ({"num_workers": 2, "cpus_per_worker": 4}, TWO_GPUS, WorkerShape(2, 4, 1)),
        ({"gpus_per_worker": 0}, TWO_GPUS, WorkerShape(1, 8, 0)),
        ({"gpus_per_worker": 0.25}, TWO_GPUS, WorkerShape(1, 1, 0.25)),
        ({"gpus_per_worker": 1}, FOUR_CORES, WorkerShape(1, 1, 1)),
        ({}, fleet((4, 0), (6, 0)), WorkerShape(1, 6, 0)),
        ({"num_workers": 2}, fleet((4, 0), (6, 0)), WorkerShape(2, 4, 0)),
        ({"num_workers": 3}, fleet((4, 0), (6, 0)), WorkerShape(3, 3, 0)),
        ({}, Fleet(()), WorkerShape(1, 1, 0)),
    ],
)
def test_what_a_job_does_not_ask_for_is_filled_in(asked, machines, shape):
    assert shape_of(Resources(**asked), machines) == shape


@pytest.mark.parametrize(
    ("devices", "text"),
    [
        (Devices(0, 0), "0 CPU cores"),
        (Devices(1, 0), "1 CPU core"),
        (Devices(8, 1), "1 GPU and 8 CPU cores"),
        (Devices(1, 0.25), "0.25 of a GPU and 1 CPU core"),
        (Devices(0, 2.0), "2 GPUs"),
        (Devices(0, 1.5), "1.5 GPUs"),
    ],
)
def test_devices_in_words(devices, text):
    assert str(devices) == text


def test_shares_of_gpus_fill_one_before_they_open_another():
    machines, taken = fleet((8, 2)), []
    for share in (0.5, 0.25, 0.25, 0.5):
        spots = place(gpus(1, share=share), room_after(machines, *taken))
        assert spots is not None
        taken.append((gpus(1, share=share), spots))
    assert [spots[0].gpu for _, spots in taken] == [0, 0, 0, 1]


def test_a_share_goes_where_the_least_is_left():
    room = room_after(fleet((8, 2)), (gpus(1, share=0.25), (Spot("m0", 0),)), (gpus(1, share=0.5), (Spot("m0", 1),)))
    assert place(gpus(1, share=0.5), room) == (Spot("m0", 1),)
    assert place(gpus(1, share=0.25), room) == (Spot("m0", 1),)
    assert place(gpus(1), room) is None, "two halves are no GPU"


def test_a_gang_stays_on_one_machine_where_that_is_possible():
    room = Room.of(fleet((8, 4), (8, 2), (8, 2)))
    assert {spot.node for spot in place(gpus(2), room) or ()} == {"m1"}, "the tightest that takes both"
    assert {spot.node for spot in place(gpus(3), room) or ()} == {"m0"}


def test_a_gang_that_needs_several_machines_takes_few():
    placement = place(gpus(7), Room.of(fleet((8, 1), (8, 4), (8, 3), (8, 1))))
    assert placement is not None
    assert {spot.node for spot in placement} == {"m1", "m2"}
    assert len(set(placement)) == 7


def test_a_gang_needs_room_for_every_worker():
    room = Room.of(fleet((3, 0), (3, 0)))
    assert place(cores(2, num_workers=2), room) is not None
    assert place(cores(2, num_workers=3), room) is None, "six cores, but no third pair on one machine"


def test_a_run_without_a_gpu_keeps_off_machines_with_free_ones():
    assert place(cores(4), Room.of(fleet((4, 2), (8, 0)))) == (Spot("m1"),)


def test_cores_limit_the_workers_of_a_machine_with_gpus():
    assert Room.of(fleet((5, 8))).slots(gpus(1, cpus=2)) == 2


def test_a_machine_that_became_smaller_under_its_runs_has_no_room():
    room = Room.of(fleet((2, 0))).without(cores(4), (Spot("m0"),))
    assert place(cores(1), room) is None


def test_what_is_held_on_a_machine_that_is_gone_is_no_room_elsewhere():
    held = (cores(1, num_workers=2), (Spot("gone"), Spot("m0")))
    assert Room.of(fleet((2, 0))).without(*held).nodes["m0"].cpus == 1
    assert set(Room.of(fleet((2, 0))).plus(*held).nodes) == {"m0"}


def test_machines_are_named_only_where_there_are_several():
    placement = (Spot("m0"), Spot("m1"))
    assert on_nodes(cores(1, 2), placement, fleet((2, 0))).nodes == ()
    assert on_nodes(cores(1, 2), placement, fleet((1, 0), (1, 0))).nodes == ("m0", "m1")


@pytest.mark.parametrize(
    ("machines", "held", "weight"),
    [
        (FOUR_CORES, Devices(3, 0), 3),
        (fleet((64, 8)), Devices(1, 2), 2),
        (fleet((64, 8)), Devices(1, 0.25), 0.25),
        (fleet((64, 8)), Devices(64, 0), 8),
        (fleet((64, 8)), Devices(64, 1), 8),
        (Fleet(()), Devices(2, 0), 2),
    ],
)
def test_cores_weigh_as_much_as_the_gpus_beside_them(machines, held, weight):
    assert machines.weigh(held) == weight


@pytest.mark.parametrize(
    ("per_worker", "nodes", "held"),
    [
        (1, ["a", "b", "a"], {"H100": 2, "A100": 1}),
        (0.5, ["a"], {"H100": 0.5}),
        (0, ["a", "b"], {}),
        (1, ["c", "a", "gone"], {"H100": 1}),
    ],
)
def test_gpus_are_counted_by_type(per_worker, nodes, held):
    machines = Fleet((Node("a", 8, 2, gpu_type="H100"), Node("b", 8, 1, gpu_type="A100"), Node("c", 8, 1)))
    placement = tuple(Spot(node) for node in nodes)
    assert gpus_by_type(WorkerShape(len(nodes), 1, per_worker), placement, machines) == held
