"""Contract of links: opening, states, closing, and clear refusals."""

import asyncio

import pytest

from parley_runtime.errors import ConfigError, Unavailable
from parley_runtime.ports import LinkState
from parley_testkit.contracts.harness import PASSWORD, BrokerUnderTest
from parley_testkit.contracts.lab import WITHIN_S, Lab, Taken, eventually


class LinkContract:
    """``Broker.open`` and the life of a link."""

    async def test_an_open_link_is_up_and_its_topology_declared(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        queue = lab.queue()
        link = await lab.link()
        assert link.state is LinkState.UP
        assert await link.depth(queue.name) == (0, 0)

    async def test_states_are_told_in_order(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        link = await lab.link("p")
        states: list[LinkState] = []
        link.watch(lambda state, _: states.append(state))
        await under_test.part("p")
        await eventually(lambda: list(states), [LinkState.CONNECTING])
        assert link.state is LinkState.CONNECTING
        await under_test.rejoin("p")
        await eventually(lambda: list(states), [LinkState.CONNECTING, LinkState.UP])
        await link.close()
        assert states == [LinkState.CONNECTING, LinkState.UP, LinkState.CLOSED]

    @pytest.mark.parametrize("vhost", ["", "no-such-vhost"], ids=["password", "vhost"])
    async def test_a_refused_login_is_a_config_error_at_once(self, under_test: BrokerUnderTest, vhost: str) -> None:
        stranger = await under_test.stranger(vhost=vhost)
        async with asyncio.timeout(WITHIN_S):
            with pytest.raises(ConfigError) as caught:
                await stranger.open("test", wait_s=600)
        assert "guest" in str(caught.value)
        assert "AMQP_URL" in str(caught.value)
        assert vhost in str(caught.value)
        assert PASSWORD not in str(caught.value)

    async def test_other_arguments_are_a_config_error_that_names_the_queue(self, under_test: BrokerUnderTest) -> None:
        lab, other = Lab(under_test), Lab(under_test)
        queue = lab.queue("q", quorum=True)
        other.prefix, other.exchange = lab.prefix, lab.exchange
        await lab.link("one")
        other.queue("q", quorum=False)
        with pytest.raises(ConfigError, match=queue.name):
            await other.link("two")

    async def test_no_broker_is_unavailable_after_the_wait(self, under_test: BrokerUnderTest) -> None:
        lab = Lab(under_test)
        broker = await under_test.process("p", lab.topology)
        await under_test.part("p")
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await broker.open("test", wait_s=0.4)
        assert 0.39 <= asyncio.get_running_loop().time() - began < 4
        await under_test.rejoin("p")
        assert (await broker.open("test", wait_s=WITHIN_S)).state is LinkState.UP

    async def test_closing_is_idempotent_and_final(self, under_test: BrokerUnderTest) -> None:
        lab, taken = Lab(under_test), Taken()
        queue = lab.queue()
        broker = await under_test.process("p", lab.topology)
        first, second = await broker.open("a", wait_s=WITHIN_S), await broker.open("b", wait_s=WITHIN_S)
        subscription = await lab.take(second, queue, taken)
        order: list[str] = []
        first.watch(lambda _, __: order.append("first"))
        second.watch(lambda _, __: order.append("second"))
        await first.depth(queue.name)
        await broker.close()
        await broker.close()
        await first.close()
        assert order == ["second", "first"]
        assert (first.state, second.state) == (LinkState.CLOSED, LinkState.CLOSED)
        assert not subscription.consuming
