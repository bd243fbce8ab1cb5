"""The bus as a serial port that another program has open."""

import errno
import os
import select
import termios
import time
import tty

import pytest

from taketwo.testing.so101.bus import Bus, Timing
from taketwo.testing.so101.port import SerialPort
from taketwo.testing.so101.protocol import Instruction, packet
from taketwo.testing.so101.servo import Servo

PING = packet(1, Instruction.PING)
PONG = bytes.fromhex("FFFF010200FC")


@pytest.fixture
def port(tmp_path):
    bus = Bus([Servo(1)], timing=Timing(line_speed=False, latency_s=0))
    port = SerialPort(bus, tmp_path / "arm")
    port.bus = bus
    yield port
    port.unplug()


class Client:
    """A program that has the port open."""

    def __init__(self, path, speed=termios.B1000000):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd)
        settings = termios.tcgetattr(self.fd)
        settings[4] = settings[5] = speed
        termios.tcsetattr(self.fd, termios.TCSANOW, settings)

    def ask(self, data, size, patience_s=20.0):
        os.write(self.fd, data)
        return self.read(size, patience_s)

    def read(self, size, patience_s=20.0):
        found, end = b"", time.monotonic() + patience_s
        while len(found) < size and select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
            found += os.read(self.fd, size - len(found))
        return found

    def close(self):
        os.close(self.fd)


def test_a_request_through_the_port_is_answered(port):
    client = Client(port.path)
    assert client.ask(PING, len(PONG)) == PONG
    assert client.ask(PING[:4], 1, patience_s=0.05) == b""
    assert client.ask(PING[4:], len(PONG)) == PONG
    client.close()


def test_it_can_be_opened_again_and_again(port):
    for _ in range(3):
        client = Client(port.path)
        assert client.ask(PING, len(PONG)) == PONG
        client.close()


def test_nobody_answers_at_another_baud_rate_than_the_servos(port):
    client = Client(port.path, termios.B115200)
    assert client.ask(PING, 1, patience_s=0.2) == b""
    client.close()
    client = Client(port.path)
    assert client.ask(PING, len(PONG)) == PONG
    client.close()


def test_whoever_has_it_open_gets_io_errors_when_it_is_unplugged(port):
    client = Client(port.path)
    port.unplug()
    assert not port.path.exists()
    for use in (lambda: os.write(client.fd, PING), lambda: termios.tcdrain(client.fd)):
        with pytest.raises((OSError, termios.error)) as caught:
            use()
        assert caught.value.args[0] == errno.EIO
    client.close()


def test_it_comes_back_at_the_same_path(port):
    stale = Client(port.path)
    port.unplug()
    port.plug()
    client = Client(port.path)
    assert client.ask(PING, len(PONG)) == PONG
    stale.close()
    client.close()


def test_an_answer_comes_no_sooner_than_its_latency(port):
    client = Client(port.path)
    port.bus.faults.extra_latency_s = 0.08
    before = time.monotonic()
    assert client.ask(PING, len(PONG)) == PONG
    assert time.monotonic() - before >= 0.08
    client.close()


def test_unplugging_does_not_wait_for_a_late_answer(port):
    client = Client(port.path)
    port.bus.faults.extra_latency_s = 3600.0
    os.write(client.fd, PING)
    port.unplug()
    assert not port.plugged
    client.close()


def test_a_client_that_never_reads_does_not_stop_it(port):
    deaf = Client(port.path)
    for _ in range(3000):  # answers of 18 kB, where a terminal's buffer has 4 kB
        os.write(deaf.fd, PING)
    termios.tcflush(deaf.fd, termios.TCIFLUSH)
    end = time.monotonic() + 20
    while deaf.ask(PING, len(PONG), patience_s=0.5)[-len(PONG) :] != PONG:
        assert time.monotonic() < end
        termios.tcflush(deaf.fd, termios.TCIFLUSH)
    deaf.close()
