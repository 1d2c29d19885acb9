"""`streamdrift detect` in as many processes as there are slots; one that ends is started again, as a supervisor would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamdrift.settings.fields import LEAVES, environment_name
from tests.soak.cluster import memory_kb
from tests.soak.traffic import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = Path(__file__).with_name("launcher.py")
TOPICS = ("events", "labels", "changes", "alerts", "rejected", "blocks", "state")
RESTART_S = 0.5
STILLBORN_MAX = 8
SLOT_NAMES = ("instance", "instance_id", "slot", "worker", "worker_id")
"""By whichever of these in the section kafka a release wants to be told which of several workers it is."""


def settings_of(bootstrap: str, prefix: str, events: str, *, partitions: int, brokers: int) -> dict[str, str]:
    """The environment of a run: its topics and groups have a prefix, and the input may be that of another run."""
    names = {f"STREAMDRIFT_TOPICS__{name.upper()}": prefix + name for name in TOPICS}
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("STREAMDRIFT_")},
        **SETTINGS,
        **names,
        "STREAMDRIFT_TOPICS__EVENTS": events,
        "STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "STREAMDRIFT_KAFKA__GROUP": prefix + "group",
        "STREAMDRIFT_KAFKA__PARTITIONS": str(partitions),
        "STREAMDRIFT_KAFKA__REPLICATION_FACTOR": str(min(3, brokers)),
        "STREAMDRIFT_KAFKA__COMMIT_INTERVAL_S": "0.5",
        "STREAMDRIFT_KAFKA__REQUEST_TIMEOUT_S": "10",
        **_known({"session_timeout_s": "3", "transaction_timeout_s": "5", "state_flush_s": "3"}),
        "STREAMDRIFT_TELEMETRY__PORT": "0",
        "STREAMDRIFT_TELEMETRY__HOST": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }


def _known(kafka: dict[str, str]) -> dict[str, str]:
    """Those settings of the section kafka that this release has."""
    return {environment_name(("kafka", name)): value for name, value in kafka.items() if ("kafka", name) in LEAVES}


def of_slot(slot: int) -> dict[str, str]:
    """What tells one worker from another, where this release asks for it."""
    places = [("kafka", name) for name in SLOT_NAMES]
    return {environment_name(place): f"worker-{slot}" for place in places if place in LEAVES}


def command(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of streamdrift to its end."""
    return subprocess.run(
        [sys.executable, "-m", "streamdrift", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@dataclass
class Slot:
    """One place for a worker, and the process that has it now."""

    number: int
    folder: Path
    environment: dict[str, str]
    session_ms: int
    process: subprocess.Popen[bytes] | None = None
    wanted: bool = False
    """Whether it is to be started again when it ends."""
    stopped: bool = False
    """Whether it is under SIGSTOP."""
    killed: bool = False
    """Whether the next end is our doing."""
    restart_at: float = 0.0
    lives: int = 0
    _up_in: int = 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def up(self) -> bool:
        """Whether the process came so far that all of its stages run."""
        if self.running and self._up_in != self.lives and self.life_log.exists():
            text = self.life_log.read_bytes()
            if b'"starting"' in text and b'"stage": "detect", "event": "running"' in text:
                self._up_in = self.lives
        return self.running and self._up_in == self.lives

    @property
    def up_once(self) -> bool:
        """Whether any of its processes came so far."""
        return self._up_in > 0

    @property
    def ready_to_be_struck(self) -> bool:
        return self.wanted and self.up and not self.stopped and not self.killed and not self.armed.exists()

    @property
    def armed(self) -> Path:
        return self.folder / f"armed-{self.number}"

    @property
    def struck(self) -> Path:
        return self.folder / f"struck-{self.number}.ndjson"

    @property
    def clock(self) -> Path:
        return self.folder / "clock"

    @property
    def log(self) -> Path:
        return self.folder / f"detect-{self.number}.log"

    @property
    def life_log(self) -> Path:
        return self.folder / f"detect-{self.number}-{self.lives}.log"

    def start(self) -> None:
        self.lives += 1
        self.wanted, self.killed, self.stopped = True, False, False
        with self.life_log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(LAUNCHER), "detect"],
                env={
                    **self.environment,
                    **of_slot(self.number),
                    "SOAK_ARMED": str(self.armed),
                    "SOAK_STRUCK": str(self.struck),
                    "SOAK_CLOCK": str(self.clock),
                    "SOAK_SESSION_MS": str(self.session_ms),
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def arm(self, point: str, count: int, seconds: float) -> None:
        """Let it die at a point; the name says which arming it is, so that counting begins anew."""
        partial = self.armed.with_suffix(".new")
        partial.write_text(f"{point} {count} {seconds} {time.monotonic_ns()}", encoding="utf-8")
        partial.replace(self.armed)

    def disarmed(self) -> bool:
        """Take the trap away if it was that which the last process died of; tell whether it was."""
        armed = self.armed.read_text(encoding="utf-8") if self.armed.exists() else ""
        if not armed or not any(strike.get("armed") == armed for strike in self.strikes()):
            return False
        self.armed.unlink()
        return True

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def state(self) -> str:
        """The kernel's letter for what the process does; T where it is stopped."""
        if self.process is None:
            return ""
        try:
            return Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return ""

    def says(self, texts: tuple[bytes, ...], since: int) -> bool:
        """Whether one of its lives, from that number on, has one of these in its log."""
        logs = (self.folder / f"detect-{self.number}-{life}.log" for life in range(since, self.lives + 1))
        told = [log.read_bytes() for log in logs if log.exists()]
        return any(text in one for one in told for text in texts)

    def strikes(self) -> list[dict[str, Any]]:
        """What its processes noted before they died."""
        try:
            lines = self.struck.read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return [json.loads(line) for line in lines]


@dataclass
class Workers:
    """All slots, and what became of their processes."""

    slots: list[Slot]
    exits: Counter[str] = field(default_factory=Counter)
    """Ends that nobody asked for, by exit code and last line."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    _ever_up: bool = False
    _never_up: int = 0

    def supervise(self) -> None:
        """Start again what ended."""
        now = time.monotonic()
        for slot in self.slots:
            if slot.process is None or slot.up or slot.running:
                continue
            code = slot.process.returncode
            if slot.restart_at == 0.0:
                self._look_for_life(slot)
                if not slot.killed and not slot.disarmed() and slot.wanted:
                    self.exits[f"{code}: {_last_line(slot.life_log)}"] += 1
                slot.restart_at = now + RESTART_S
            if slot.wanted and now >= slot.restart_at:
                slot.restart_at = 0.0
                slot.start()

    def _look_for_life(self, slot: Slot) -> None:
        """Give up where no worker has ever come up: what is wrong then is not what is looked for here."""
        self._never_up += not self._ever_up and not slot.up_once
        self._ever_up |= slot.up_once
        if not self._ever_up and self._never_up > STILLBORN_MAX:
            raise RuntimeError(f"workers do not start: {_last_line(slot.life_log)}")

    def sample(self, since: float) -> None:
        """Note how much memory the largest process has."""
        sizes = [memory_kb(slot.process.pid) for slot in self.slots if slot.running and slot.process is not None]
        if sizes:
            self.memory.append((round(time.monotonic() - since, 1), max(sizes)))

    def idle(self, partitions: int) -> bool:
        """Whether all run, have all partitions of both stages among them, and nothing left to do."""
        return not self.busy(partitions)

    def busy(self, partitions: int) -> str:
        """What keeps it from being idle; empty where nothing does."""
        lags: dict[str, float] = {}
        left: list[str] = []
        for slot in self.slots:
            if not slot.wanted:
                continue
            text = _metrics(slot) if slot.running else None
            if text is None:
                return f"worker {slot.number} does not answer"
            for line in text.splitlines():
                if line.startswith("streamdrift_lag_records{"):
                    name, value = line.rsplit(" ", 1)
                    if float(value):
                        left.append(f"worker {slot.number}: {line}")
                    lags[name] = float(value)
        stages = 1 if self.slots[0].environment.get("STREAMDRIFT_EXCHANGE") == "direct" else 2
        ours = [v for name, v in lags.items() if "changes" not in name]
        if len(ours) < stages * partitions:
            return f"only {sorted(lags)} are anybody's"
        return "; ".join(one for one in left if "changes" not in one)

    def stop_all(self) -> list[int | None]:
        """End them as an operator would; return their exit codes."""
        codes: list[int | None] = []
        for slot in self.slots:
            slot.wanted = False
            slot.signal(signal.SIGCONT)
            slot.signal(signal.SIGTERM)
        for slot in self.slots:
            if slot.process is not None:
                try:
                    codes.append(slot.process.wait(40))
                except subprocess.TimeoutExpired:
                    slot.process.kill()
                    codes.append(None)
        return codes

    def kill_all(self) -> None:
        """Leave nobody behind."""
        for slot in self.slots:
            slot.wanted = False
            slot.signal(signal.SIGKILL)
            if slot.process is not None:
                slot.process.wait()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def _metrics(slot: Slot) -> str | None:
    started = next((n for n in slot.life_log.read_text(errors="replace").splitlines() if '"starting"' in n), None)
    if started is None:
        return None
    try:
        port = json.loads(started)["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except (OSError, ValueError):
        return None
