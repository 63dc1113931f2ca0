"""Every way out is shut in a box, for root and for an ordinary user, and open without one.

Where an effect can be seen from outside, it counts, and not what the guest says: a listener, a
counter of packets, a file, a signal, a secret that came back.
"""

import pytest
from box_drive import NAMES, NETWORK
from box_users import drive

from audition.box.attempts import ATTEMPTS

pytestmark = pytest.mark.usefixtures("needs_box")

EVERY = (*(attempt.__name__ for attempt in ATTEMPTS), *NAMES, "any packet")
USERS = ("root", "ordinary")
ONLY_ROOT = {"device_node", "kernel_settings", "kernel_memory", "kernel_log", "kernel_programs"}


@pytest.mark.parametrize("who", USERS)
@pytest.mark.parametrize("way", EVERY)
def test_in_a_box_the_way_is_shut(way, who):
    assert drive(who, "boxed")[way] is None


@pytest.mark.parametrize("who", USERS)
@pytest.mark.parametrize("way", EVERY)
def test_without_a_box_the_same_way_is_open(way, who):
    reached = drive(who, "network" if way in (*NETWORK, "any packet") else "open")
    if way == "vsock" and reached[way] is None:
        pytest.skip("this machine has no vsock")
    if way == "tcp6" and reached[way] is None:
        pytest.skip("this machine has no IPv6")
    if way in ("kernel_memory", "machine_identity", "set_id_program") and reached[way] is None:
        pytest.skip("this machine has nothing of the kind")
    if way in ONLY_ROOT and who != "root":
        pytest.skip("closed to an ordinary user by the kernel itself")
    assert reached[way] is not None
