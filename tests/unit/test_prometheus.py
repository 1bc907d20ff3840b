"""The figures of a system in the text format of Prometheus."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio

from casty import ActorSystem, Behaviors, MemoryNetwork
from casty.cluster.system import ClusteredActorSystem

prometheus_client = pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")

from casty import prometheus  # noqa: E402  # it needs what the line above has found
from casty.prometheus import PrometheusCollector  # noqa: E402  # as above

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "prometheus" / "serve_metrics.py"


def registry_of(*systems: ActorSystem):
    registry = prometheus_client.CollectorRegistry()
    registry.register(PrometheusCollector(*systems))
    return registry


async def test_figures_have_names_help_types_and_labels() -> None:
    async with ActorSystem("shop") as system:
        ref = system.spawn(Behaviors.stopped(), "gone")
        await system.wait_stopped(ref)
        ref.tell("lost")
        lines = prometheus_client.generate_latest(registry_of(system)).decode().splitlines()
    assert "# HELP casty_actors Actors that are alive, those of the library included." in lines
    assert "# TYPE casty_actors gauge" in lines
    assert 'casty_actors{system="shop"} 0.0' in lines
    assert "# TYPE casty_dead_letters_total counter" in lines
    assert 'casty_dead_letters_total{reason="actor stopped",system="shop"} 1.0' in lines
    assert 'casty_running{system="shop"} 1.0' in lines


async def test_a_scrape_from_another_thread_is_answered_by_the_loop() -> None:
    async with ClusteredActorSystem(
        name="shop", host="a", port=2551, node_id="a", network=MemoryNetwork().host("a")
    ) as system:
        await system.wait_for(1)
        registry = registry_of(system)
        text = (await trio.to_thread.run_sync(prometheus_client.generate_latest, registry)).decode()
    assert 'casty_members{status="up",system="shop"} 1.0' in text
    assert 'casty_links{lane="control",system="shop"} 0.0' in text


async def test_systems_of_one_process_share_each_family() -> None:
    async with ActorSystem("shop") as shop, ActorSystem("till") as till:
        text = prometheus_client.generate_latest(registry_of(shop, till)).decode()
    assert text.count("# TYPE casty_actors gauge") == 1
    assert 'casty_actors{system="shop"} 0.0' in text
    assert 'casty_actors{system="till"} 0.0' in text


def test_a_system_whose_loop_has_ended_does_not_run() -> None:
    async def main():
        async with ActorSystem("shop") as system:
            return registry_of(system), await trio.to_thread.run_sync(scrape_once, system)

    def scrape_once(system: ActorSystem) -> float | None:
        return registry_of(system).get_sample_value("casty_running", {"system": "shop"})

    registry, before = trio.run(main)
    outcome: list[bytes] = []
    trio.run(trio.to_thread.run_sync, lambda: outcome.append(prometheus_client.generate_latest(registry)))
    assert before == 1.0
    samples = [line for line in outcome[0].decode().splitlines() if not line.startswith("#")]
    assert samples == ['casty_running{system="shop"} 0.0']


async def test_a_loop_that_stands_still_holds_no_scrape_up(monkeypatch) -> None:
    monkeypatch.setattr(prometheus, "LOOP_TIMEOUT", 0.05)
    async with ActorSystem("shop") as system:
        registry, outcome = registry_of(system), []

        def scrape() -> None:
            outcome.append(registry.get_sample_value("casty_running", {"system": "shop"}))

        thread = threading.Thread(target=scrape)
        thread.start()
        thread.join(10)  # the loop is here, and does nothing else
        assert outcome == [0.0]
        await trio.to_thread.run_sync(scrape)
        assert outcome == [0.0, 1.0]


async def test_what_goes_wrong_in_the_loop_is_raised_in_the_thread_that_asked(monkeypatch) -> None:
    def broken(metrics: object) -> None:
        raise ZeroDivisionError

    async with ActorSystem("shop") as system:
        registry = registry_of(system)
        monkeypatch.setattr(system, "collect", broken)
        with pytest.raises(ZeroDivisionError):
            await trio.to_thread.run_sync(prometheus_client.generate_latest, registry)


def test_a_system_that_was_not_entered_has_no_figures() -> None:
    with pytest.raises(RuntimeError, match="enter it first"):
        PrometheusCollector(ActorSystem("shop"))


def test_the_example_prints_what_its_page_says() -> None:
    command = [sys.executable, "-W", "error", "-X", "dev", str(EXAMPLE)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    page = (ROOT / "docs" / "how-to" / "export-metrics.md").read_text(encoding="utf-8")
    expected = page.partition("```text\n")[2].partition("```")[0]
    assert (run.returncode, run.stdout, run.stderr) == (0, expected, "")
