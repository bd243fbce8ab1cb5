import asyncio

from taketwo.live import audience
from taketwo.live.audience import Audience, Viewer


def test_what_is_watched_is_what_those_who_are_there_look_at():
    async def scene():
        crowd = Audience(lambda: None)
        first, second = Viewer(["top"]), Viewer(["top", "angle"])
        with crowd.joined(first):
            assert crowd.watched == {"top"}
            with crowd.joined(second):
                assert (len(crowd), crowd.watched) == (2, {"top", "angle"})
                crowd.watch(second, ["wrist"])
                assert crowd.watched == {"top", "wrist"}
            assert crowd.watched == {"top"}
        assert (len(crowd), crowd.watched) == (0, set())

    asyncio.run(scene())


def test_nothing_ticks_while_nobody_is_there(monkeypatch):
    monkeypatch.setattr(audience, "TICK_S", 0.001)

    async def scene():
        ticks = []
        crowd = Audience(lambda: ticks.append(len(crowd)))
        for _ in range(3):
            viewer = Viewer()
            with crowd.joined(viewer):
                for _ in range(3):
                    await viewer.woken()
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
        assert ticks and 0 not in ticks

    asyncio.run(scene())


def test_news_from_another_thread_wake_all():
    async def scene():
        crowd = Audience(lambda: None)
        viewers = [Viewer(), Viewer()]
        with crowd.joined(viewers[0]), crowd.joined(viewers[1]):
            for viewer in viewers:
                await viewer.woken()
            await asyncio.to_thread(crowd.notify)
            for viewer in viewers:
                await asyncio.wait_for(viewer.woken(), 10)
        await asyncio.to_thread(crowd.notify)

    asyncio.run(scene())


def test_news_after_the_end_are_no_harm():
    async def scene(crowd, viewer):
        with crowd.joined(viewer):
            await viewer.woken()

    crowd, viewer = Audience(lambda: None), Viewer()
    asyncio.run(scene(crowd, viewer))
    crowd._viewers.add(viewer)
    crowd.notify()
