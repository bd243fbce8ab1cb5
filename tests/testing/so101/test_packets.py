"""What servos answer to packets, without a line between."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taketwo.testing.so101.bus import Bus, Timing
from taketwo.testing.so101.faults import LineFaults
from taketwo.testing.so101.protocol import BROADCAST_ID, ErrorBit, Framer, Instruction, Request, checksum, packet
from taketwo.testing.so101.registers import REGISTERS, decode, encode
from taketwo.testing.so101.servo import SET_MIDDLE, Servo

LINE = 1_000_000


def bus_of(*ids, **options):
    return Bus([Servo(id_) for id_ in ids], timing=Timing(line_speed=False, latency_s=0), **options)


def ask(bus, id_, instruction, *parameters, line=LINE):
    """The statuses that come back, as (id, error, parameters)."""
    data = bus.answer(Request(id_, instruction, bytes(parameters)), line).data
    found = []
    while data:
        size = data[3] + 4
        one, data = data[:size], data[size:]
        assert one[:2] == b"\xff\xff"
        assert one[-1] == checksum(one[2:-1])
        found.append((one[2], one[4], one[5:-1]))
    return found


def place(name):
    return REGISTERS[name].address


def write(bus, id_, name, value):
    return ask(bus, id_, Instruction.WRITE, place(name), *encode(REGISTERS[name], value))


def read(bus, id_, name):
    register = REGISTERS[name]
    [(_, _, data)] = ask(bus, id_, Instruction.READ, register.address, register.size)
    return decode(register, data)


def test_the_manuals_ping_gets_the_manuals_answer():
    # Feetech's protocol manual: FF FF 01 02 01 FB asks servo 1, which answers FF FF 01 02 00 FC.
    [request] = Framer().feed(bytes.fromhex("FFFF010201FB"))
    assert request == Request(1, Instruction.PING)
    assert bus_of(1).answer(request, LINE).data == bytes.fromhex("FFFF010200FC")


@given(st.lists(st.tuples(st.integers(0, 253), st.integers(0, 255), st.binary(max_size=40)), max_size=5), st.data())
def test_requests_are_found_however_the_stream_is_cut(packets, data):
    stream = b"".join(packet(*one) for one in packets)
    framer, found = Framer(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += framer.feed(stream[:size])
        stream = stream[size:]
    assert [(each.id, each.instruction, each.parameters) for each in found] == packets


@given(st.integers(0, 255), st.sampled_from([*Instruction, 0x07, 0xFF]), st.binary(max_size=60))
def test_no_request_is_too_odd(id_, instruction, parameters):
    bus = bus_of(1, 2)
    ask(bus, id_, instruction, *parameters)
    for servo in bus.servos:
        servo.sense(3000.0, -100.0, 0.5, 0.01)
        servo.drive(0.01)
        assert servo.read(0, 128)


def test_more_memory_than_fits_into_a_packet_is_not_answered():
    assert ask(bus_of(1), 1, Instruction.READ, 0, 255) == []
    [(_, _, data)] = ask(bus_of(1), 1, Instruction.READ, 0, 248)
    assert len(data) == 248


def test_noise_before_a_packet_is_skipped():
    noise = b"\x00\x12\xff\x07\xff\xff\xff"  # ends like a header
    assert list(Framer().feed(noise + packet(3, Instruction.PING))) == [Request(3, Instruction.PING)]


def test_a_packet_with_a_wrong_checksum_is_skipped_and_the_next_is_heard():
    broken = bytearray(packet(1, Instruction.READ, b"\x38\x02"))
    broken[-1] ^= 0x10
    assert list(Framer().feed(bytes(broken) + packet(2, Instruction.PING))) == [Request(2, Instruction.PING)]


@pytest.mark.parametrize(("name", "value"), [("Homing_Offset", -2047), ("Goal_Position", -5), ("Present_Load", 1000)])
def test_negative_values_have_sign_and_magnitude(name, value):
    register = REGISTERS[name]
    assert decode(register, encode(register, value)) == value
    if value < 0:
        assert int.from_bytes(encode(register, value), "little") == abs(value) | 1 << register.sign_bit


def test_no_two_registers_overlap():
    taken = [place + byte for place, size in ((r.address, r.size) for r in REGISTERS.values()) for byte in range(size)]
    assert len(taken) == len(set(taken))


def test_it_is_an_sts3215():
    assert read(bus_of(1), 1, "Model_Number") == 777


def test_only_the_servo_that_is_asked_answers():
    bus = bus_of(1, 2, 3)
    assert ask(bus, 2, Instruction.PING) == [(2, 0, b"")]
    assert ask(bus, 9, Instruction.PING) == []


def test_a_broadcast_ping_is_answered_by_all_in_the_order_of_their_ids():
    assert [id_ for id_, _, _ in ask(bus_of(3, 1, 2), BROADCAST_ID, Instruction.PING)] == [1, 2, 3]


def test_sync_read_and_sync_write_reach_the_servos_they_name():
    bus = bus_of(1, 2, 3)
    goal = place("Goal_Position")
    assert ask(bus, BROADCAST_ID, Instruction.SYNC_WRITE, goal, 2, 1, 0x10, 0x01, 3, 0x20, 0x02) == []
    assert ask(bus, BROADCAST_ID, Instruction.SYNC_READ, goal, 2, 1, 3) == [(1, 0, b"\x10\x01"), (3, 0, b"\x20\x02")]
    assert read(bus, 2, "Goal_Position") == 0


def test_reg_write_waits_for_action():
    bus = bus_of(1, 2)
    for id_ in (1, 2):
        ask(bus, id_, Instruction.REG_WRITE, place("Goal_Time"), 7, 0)
    assert read(bus, 1, "Goal_Time") == 0
    assert read(bus, 1, "Pending_Write") == 1
    assert ask(bus, BROADCAST_ID, Instruction.ACTION) == []
    assert [read(bus, id_, "Goal_Time") for id_ in (1, 2)] == [7, 7]
    assert read(bus, 1, "Pending_Write") == 0


def test_what_is_measured_cannot_be_written():
    bus = bus_of(1)
    assert write(bus, 1, "Present_Temperature", 99) == [(1, 0, b"")]
    assert read(bus, 1, "Present_Temperature") == 28


def test_the_eeprom_keeps_what_was_written_while_it_was_unlocked():
    bus = bus_of(1)
    write(bus, 1, "P_Coefficient", 16)
    write(bus, 1, "Lock", 1)
    write(bus, 1, "D_Coefficient", 5)
    write(bus, 1, "Goal_Time", 3)
    assert [read(bus, 1, name) for name in ("P_Coefficient", "D_Coefficient", "Goal_Time")] == [16, 5, 3]
    bus.servos[0].power_cycle()
    assert [read(bus, 1, name) for name in ("P_Coefficient", "D_Coefficient", "Goal_Time")] == [16, 32, 0]


def test_a_reset_brings_the_factorys_values_back_but_not_its_id():
    bus = bus_of(5)
    write(bus, 5, "Homing_Offset", 100)
    ask(bus, 5, Instruction.RESET)
    assert (read(bus, 5, "ID"), read(bus, 5, "Homing_Offset")) == (5, 0)


def test_a_new_id_is_acknowledged_with_the_old_one():
    bus = bus_of(1)
    assert write(bus, 1, "ID", 4) == [(1, 0, b"")]
    assert ask(bus, 1, Instruction.PING) == []
    assert ask(bus, 4, Instruction.PING) == [(4, 0, b"")]


def test_a_servo_hears_only_its_own_baud_rate():
    bus = bus_of(1)
    write(bus, 1, "Baud_Rate", 4)
    assert ask(bus, 1, Instruction.PING) == []
    assert ask(bus, 1, Instruction.PING, line=115_200) == [(1, 0, b"")]


def test_a_quiet_servo_answers_only_ping_and_read():
    bus = bus_of(1)
    write(bus, 1, "Response_Status_Level", 0)
    assert write(bus, 1, "Goal_Time", 9) == []
    assert ask(bus, 1, Instruction.PING) == [(1, 0, b"")]
    assert read(bus, 1, "Goal_Time") == 9


@pytest.mark.parametrize(
    ("change", "bit"),
    [
        ({"temperature_c": 71.0}, ErrorBit.OVERHEAT),
        ({"voltage_v": 3.9}, ErrorBit.VOLTAGE),
        ({"voltage_v": 14.1}, ErrorBit.VOLTAGE),
        ({"forced_errors": ErrorBit.SENSOR | ErrorBit.OVERCURRENT}, ErrorBit.SENSOR | ErrorBit.OVERCURRENT),
    ],
)
def test_what_is_wrong_stands_in_every_status_until_it_heals(change, bit):
    bus = bus_of(1)
    for name, value in change.items():
        setattr(bus.servos[0], name, value)
    assert ask(bus, 1, Instruction.PING) == [(1, int(bit), b"")]
    assert read(bus, 1, "Status") == int(bit)
    bus.servos[0].heal()
    assert ask(bus, 1, Instruction.PING) == [(1, 0, b"")]


def test_positions_are_shown_less_the_homing_offset_and_within_a_turn():
    servo = Servo(1, raw=100.0)
    servo["Homing_Offset"] = 300
    assert servo["Present_Position"] == 4096 - 200
    servo["Phase"] |= 0x10
    assert servo["Present_Position"] == -200


def test_writing_128_makes_the_present_position_the_middle_for_good():
    bus = Bus([Servo(1, raw=1234.0)], timing=Timing(line_speed=False, latency_s=0))
    write(bus, 1, "Torque_Enable", SET_MIDDLE)
    assert read(bus, 1, "Present_Position") == 2048
    bus.servos[0].power_cycle()
    assert read(bus, 1, "Present_Position") == 2048


def test_a_servo_that_is_switched_on_stays_where_it_is():
    servo = Servo(1, raw=700.0)
    servo.write(place("Goal_Position"), (3000).to_bytes(2, "little"))
    servo.write(place("Torque_Enable"), b"\x01")
    assert servo["Goal_Position"] == 700
    assert servo.drive(0.01).target == 700


def test_a_goal_beyond_the_limits_is_cut():
    servo = Servo(1, raw=2000.0)
    servo["Min_Position_Limit"], servo["Max_Position_Limit"] = 1900, 2100
    servo.write(place("Torque_Enable"), b"\x01")
    servo.write(place("Goal_Position"), (3000).to_bytes(2, "little"))
    for _ in range(100):
        target = servo.drive(0.01).target
    assert target == 2100


def test_goal_velocity_limits_how_fast_the_set_point_moves():
    servo = Servo(1, raw=1000.0)
    servo.write(place("Torque_Enable"), b"\x01")
    servo["Goal_Velocity"] = 200
    servo.write(place("Goal_Position"), (2000).to_bytes(2, "little"))
    targets = [servo.drive(0.01).target for _ in range(100)]
    steps = [after - before for before, after in pairwise(targets)]
    assert 0 < max(steps) <= 2.0 + 1e-9


def test_in_velocity_mode_the_set_point_moves_on_but_not_away_from_a_blocked_gear():
    servo = Servo(1, raw=1000.0)
    servo["Operating_Mode"], servo["Goal_Velocity"] = 1, -400
    servo.write(place("Torque_Enable"), b"\x01")
    assert servo.drive(0.1).target == pytest.approx(960)
    for _ in range(50):
        target = servo.drive(0.1).target
    assert target == 700


def test_overload_takes_the_torque_back_until_the_goal_is_on_the_other_side():
    servo = Servo(1, raw=2000.0)
    servo.write(place("Torque_Enable"), b"\x01")
    servo.write(place("Goal_Position"), (2500).to_bytes(2, "little"))
    for _ in range(199):
        servo.sense(2000.0, 0.0, 0.9, 0.01)
    assert (servo.errors, servo.drive(0.01).torque_limit) == (0, 1.0)
    servo.sense(2000.0, 0.0, 0.9, 0.01)  # 2 s: Protection_Time is 200 times 10 ms
    assert (servo.errors, servo.drive(0.01).torque_limit) == (ErrorBit.OVERLOAD, 0.2)
    servo.write(place("Goal_Position"), (1500).to_bytes(2, "little"))
    assert (servo.errors, servo.drive(0.01).torque_limit) == (0, 1.0)


def test_a_hot_motor_goes_limp():
    servo = Servo(1)
    servo.write(place("Torque_Enable"), b"\x01")
    servo.temperature_c = 80.0
    assert servo.drive(0.01).torque_limit == 0


def test_a_silent_servo_neither_answers_nor_hears():
    bus = bus_of(1, 2)
    bus.servos[0].silent = True
    assert ask(bus, BROADCAST_ID, Instruction.SYNC_READ, place("Goal_Time"), 2, 1, 2) == [(2, 0, b"\0\0")]
    ask(bus, BROADCAST_ID, Instruction.SYNC_WRITE, place("Goal_Time"), 2, 1, 5, 0)
    bus.servos[0].silent = False
    assert read(bus, 1, "Goal_Time") == 0


def test_as_many_packets_are_lost_as_it_says():
    bus = bus_of(1, faults=LineFaults(loss=0.1))
    answered = sum(bool(ask(bus, 1, Instruction.PING)) for _ in range(4000))
    assert answered == pytest.approx(4000 * 0.9 * 0.9, abs=150)  # a request and its status both have to arrive


def test_a_corrupt_status_has_another_checksum_and_nothing_else():
    faults = LineFaults(corruption=1.0)
    whole = packet(1, 0, b"\x12\x34")
    assert faults.carry(whole)[:-1] == whole[:-1]
    assert faults.carry(whole)[-1] != whole[-1]


def test_bytes_and_return_delays_take_their_time_on_the_line():
    servo = Servo(1)
    servo["Return_Delay_Time"] = 250
    bus = Bus([servo], timing=Timing(line_speed=True, latency_s=0.002))
    answer = bus.answer(Request(1, Instruction.READ, bytes((56, 2))), LINE)
    # 8 bytes there, 0.5 ms of waiting, 8 bytes back, at 10 bits a byte, and the adapter's 2 ms.
    assert answer.after_s == pytest.approx(16 * 10e-6 + 0.0005 + 0.002)
