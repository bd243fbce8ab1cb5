"""The memory table of the Feetech STS3215.

Addresses, sizes and factory values are Feetech's ("STS3215 memory table"); names are the ones that LeRobot gives them.
"""

from __future__ import annotations

from dataclasses import dataclass

MODEL_NUMBER = 777
RESOLUTION = 4096
"""Steps of a turn."""

MEMORY_SIZE = 128
EEPROM_END = 40
"""Addresses below survive a power cycle."""

BAUD_RATES = (1_000_000, 500_000, 250_000, 128_000, 115_200, 57_600, 38_400, 19_200)
"""Bits per second, by the number in `Baud_Rate`."""


@dataclass(frozen=True)
class Register:
    """Where a value lies.

    Attributes:
        size: in bytes, 1 or 2.
        factory: its value as delivered; for RAM, after power-on.
        sign_bit: the bit that is set for a negative value, where it can be negative (sign and magnitude).
        read_only: whether writing it does nothing.
    """

    address: int
    size: int = 1
    factory: int = 0
    sign_bit: int | None = None
    read_only: bool = False


REGISTERS: dict[str, Register] = {
    "Firmware_Major_Version": Register(0, factory=3, read_only=True),
    "Firmware_Minor_Version": Register(1, factory=10, read_only=True),
    "Model_Number": Register(3, 2, factory=MODEL_NUMBER, read_only=True),
    "ID": Register(5, factory=1),
    "Baud_Rate": Register(6),
    "Return_Delay_Time": Register(7, factory=250),
    "Response_Status_Level": Register(8, factory=1),
    "Min_Position_Limit": Register(9, 2),
    "Max_Position_Limit": Register(11, 2, factory=RESOLUTION - 1),
    "Max_Temperature_Limit": Register(13, factory=70),
    "Max_Voltage_Limit": Register(14, factory=140),
    "Min_Voltage_Limit": Register(15, factory=40),
    "Max_Torque_Limit": Register(16, 2, factory=1000),
    "Phase": Register(18, factory=12),
    "Unloading_Condition": Register(19, factory=44),
    "LED_Alarm_Condition": Register(20, factory=47),
    "P_Coefficient": Register(21, factory=32),
    "D_Coefficient": Register(22, factory=32),
    "I_Coefficient": Register(23),
    "Minimum_Startup_Force": Register(24, 2, factory=16),
    "CW_Dead_Zone": Register(26, factory=1),
    "CCW_Dead_Zone": Register(27, factory=1),
    "Protection_Current": Register(28, 2, factory=500),
    "Angular_Resolution": Register(30, factory=1),
    "Homing_Offset": Register(31, 2, sign_bit=11),
    "Operating_Mode": Register(33),
    "Protective_Torque": Register(34, factory=20),
    "Protection_Time": Register(35, factory=200),
    "Overload_Torque": Register(36, factory=80),
    "Velocity_closed_loop_P_proportional_coefficient": Register(37, factory=10),
    "Over_Current_Protection_Time": Register(38, factory=200),
    "Velocity_closed_loop_I_integral_coefficient": Register(39, factory=10),
    "Torque_Enable": Register(40),
    "Acceleration": Register(41),
    "Goal_Position": Register(42, 2, sign_bit=15),
    "Goal_Time": Register(44, 2),
    "Goal_Velocity": Register(46, 2, sign_bit=15),
    "Torque_Limit": Register(48, 2, factory=1000),
    "Lock": Register(55),
    "Present_Position": Register(56, 2, sign_bit=15, read_only=True),
    "Present_Velocity": Register(58, 2, sign_bit=15, read_only=True),
    "Present_Load": Register(60, 2, sign_bit=10, read_only=True),
    "Present_Voltage": Register(62, factory=120, read_only=True),
    "Present_Temperature": Register(63, factory=28, read_only=True),
    "Pending_Write": Register(64, read_only=True),
    "Status": Register(65, read_only=True),
    "Moving": Register(66, read_only=True),
    "Present_Current": Register(69, 2, sign_bit=15, read_only=True),
    "Goal_Position_2": Register(71, 2, sign_bit=15, read_only=True),
    "Moving_Velocity_Threshold": Register(80, factory=1),
    "DTs": Register(81, factory=10),
    "Velocity_Unit_factor": Register(82, factory=1),
    "Hts": Register(83),
    "Maximum_Velocity_Limit": Register(84, factory=65),
    "Maximum_Acceleration": Register(85, factory=254),
    "Acceleration_Multiplier": Register(86, factory=1),
}

WRITABLE = frozenset(
    address
    for register in REGISTERS.values()
    if not register.read_only
    for address in range(register.address, register.address + register.size)
)


def encode(register: Register, value: int) -> bytes:
    """A value as it lies in memory; one that does not fit is cut to the nearest that does."""
    bits = 8 * register.size if register.sign_bit is None else register.sign_bit
    largest = (1 << bits) - 1
    if register.sign_bit is None:
        return max(0, min(largest, value)).to_bytes(register.size, "little")
    sign = (value < 0) << register.sign_bit
    return (min(largest, abs(value)) | sign).to_bytes(register.size, "little")


def decode(register: Register, data: bytes) -> int:
    """The value of a register's bytes."""
    value = int.from_bytes(data, "little")
    if register.sign_bit is None or not value >> register.sign_bit & 1:
        return value & ~(1 << register.sign_bit) if register.sign_bit is not None else value
    return -(value & ((1 << register.sign_bit) - 1))


def factory_memory() -> bytearray:
    """(`MEMORY_SIZE`,) the memory of a servo as delivered."""
    memory = bytearray(MEMORY_SIZE)
    for register in REGISTERS.values():
        memory[register.address : register.address + register.size] = encode(register, register.factory)
    return memory
