"""Fixtures that several rooms share."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from streamdrift.settings import KafkaSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import postgresql as servers
from tests.broker import Broker, NoBrokerError, running

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # started in the background by a shell: what tests start would inherit it, and be deaf to Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

# how long an example takes on a busy machine says nothing about the code; derandomize keeps a failure the same everywhere
settings.register_profile("streamdrift", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("streamdrift")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--dist loadgroup`` broker tests go to two workers, by file, and so need two brokers: they wait more than they work."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if item.get_closest_marker("broker"):
                half = zlib.crc32(item.path.name.encode()) % 2
                item.add_marker(pytest.mark.xdist_group(f"broker-{half}"))


@pytest.fixture(autouse=True)
def loggers_speak_as_before() -> Iterator[None]:
    """The Apprise receiver silences loggers of others for good, and a command sets its level: right for a process, and not for the next test."""
    structlog.reset_defaults()
    yield
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).disabled = False


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Give a real broker with all its listeners; one per test process, started when first asked for."""
    try:
        with running(tmp_path_factory.mktemp("kafka")) as broker:
            yield broker
    except NoBrokerError as e:
        if os.environ.get("CI") == "true":
            pytest.fail(str(e))
        pytest.skip(str(e))


@pytest.fixture
def broker(kafka_broker: Broker) -> str:
    """Bootstrap address of the real broker, without security."""
    return kafka_broker.plaintext


@pytest.fixture(scope="session")
def postgresql() -> Iterator[servers.Postgresql]:
    """Give a real PostgreSQL; one per test process, started when first asked for."""
    try:
        with servers.running() as server:
            yield server
    except servers.NoPostgresqlError as e:
        pytest.skip(str(e))


@pytest.fixture
def topic_prefix() -> str:
    """Give a prefix that makes the names of topics and groups the test's own."""
    return f"t{secrets.token_hex(6)}."


@pytest.fixture
def kafka_settings(broker: str, topic_prefix: str) -> KafkaSettings:
    """Settings to reach the real broker; the group is the test's own."""
    return KafkaSettings(
        bootstrap_servers=broker,
        group=f"{topic_prefix}group",
        partitions=3,
        bootstrap_timeout_s=15,
        request_timeout_s=15,
    )
