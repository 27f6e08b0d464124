"""What goes wrong: crashes, pauses, deploys, partitions, bad weather, a store that stalls."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from tests.simulation.loop import pass_time
from tests.simulation.network import STORE

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ("FAULTS",)


async def crash(world: "World") -> None:
    """Kill a process, and start another one in its place after a while."""
    name = world.chance.choice(world.places)
    node = world.nodes.get(name)
    if node is None:
        return
    world.kill(node)
    await pass_time(world.chance.random() ** 2 * 12.0)
    world.start(name)


async def pause(world: "World") -> None:
    """Stop a process for a while, perhaps for longer than its lease."""
    name = world.chance.choice(world.places)
    node = world.nodes.get(name)
    if node is None:
        return
    world.note(f"{node.tag} is stopped")
    world.loop.hold(node.tag)
    await pass_time(world.chance.random() * 14.0)
    world.loop.release(node.tag)
    world.note(f"{node.tag} goes on")


async def deploy(world: "World") -> None:
    """End a process in an orderly way, and start its successor at once."""
    name = world.chance.choice(world.places)
    node = world.nodes.get(name)
    if node is None or not node.is_up:
        return
    world.note(f"{node.tag} is replaced")
    node.stop()
    world.start(name)


async def partition(world: "World") -> None:
    """Cut a node from the store, or the store from a node, or both."""
    name, how = world.chance.choice(world.places), world.chance.randrange(3)
    world.note(f"the network between {name} and the store is cut, {how}")
    pairs = [(name, STORE), (STORE, name)]
    cut = pairs if how == 2 else pairs[how : how + 1]
    for pair in cut:
        world.network.cut(*pair)
    await pass_time(world.chance.random() * 12.0)
    for pair in cut:
        world.network.mend(*pair)
    world.note(f"the network between {name} and the store is mended")


async def weather(world: "World") -> None:
    """Lose, delay and double messages everywhere."""
    network, chance = world.network, world.chance
    network.lost = chance.choice([0.0, 0.02, 0.2])
    network.late = chance.choice([0.0, 0.05, 0.2])
    network.doubled = chance.choice([0.0, 0.05, 0.2])
    world.note(f"weather: {network.lost} lost, {network.late} late, {network.doubled} doubled")
    await pass_time(chance.random() * 8.0)
    network.lost = network.late = network.doubled = 0.0


async def stall(world: "World") -> None:
    """Let the store answer nobody for a while; then it does all that it was asked."""
    world.note("the store stalls")
    world.server.hold()
    await pass_time(world.chance.random() ** 2 * 6.0)
    world.server.release()
    world.note("the store goes on")


async def disconnect(world: "World") -> None:
    """Break the channels of changes of all nodes."""
    world.note("the channels break")
    world.server.drop_connections()


FAULTS: Final[tuple[Callable[["World"], Awaitable[None]], ...]] = (
    *(crash, crash, pause, deploy, partition, partition),
    *(weather, weather, stall, disconnect),
)
