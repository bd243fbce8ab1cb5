"""One STS3215: its memory, what instructions do to it, and what its controller asks of the motor.

The gear's own angle is counted in *raw* steps, on and on past a turn. What the bus says and is told is in *shown*
steps: raw less `Homing_Offset`, within one turn.

What lies in memory and does nothing here: the I gain, dead zones, start-up force, the protection against overcurrent,
and the operating modes PWM and step, in which a servo holds still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from taketwo.testing.so101.protocol import ErrorBit
from taketwo.testing.so101.registers import (
    BAUD_RATES,
    EEPROM_END,
    REGISTERS,
    RESOLUTION,
    WRITABLE,
    decode,
    encode,
    factory_memory,
)

POSITION_MODE, VELOCITY_MODE = 0, 1

SET_MIDDLE = 128
"""Written to `Torque_Enable`: make the present position the middle of the turn."""

MULTI_TURN = 0x10
"""Bit of `Phase`: positions count on past a turn."""

MOST_AHEAD = 300.0
"""Steps that a set point at constant velocity runs ahead of a blocked gear."""

LIMIT_UNIT = 50.0
"""Steps per second for each unit of `Maximum_Velocity_Limit`."""

ACCELERATION_UNIT = 100.0
"""Steps per second squared for each unit of `Acceleration`."""

STALL_CURRENT_A = 2.7
CURRENT_UNIT_A = 0.0065
"""At 12 V; of the STS3215's data sheet."""


@dataclass(frozen=True)
class Drive:
    """What the controller asks of the motor.

    Attributes:
        torque_limit: share of the stall torque it may use, 0 to 1; 0 leaves the joint limp.
        target: raw steps it steers to.
        p: `P_Coefficient`.
        d: `D_Coefficient`.
    """

    torque_limit: float
    target: float
    p: int
    d: int


class Servo:
    """A servo. Whoever calls it sees to it that only one thread does so at a time.

    Args:
        raw: steps at which the gear stands.

    Attributes:
        temperature_c: of the motor.
        voltage_v: of the supply.
        forced_errors: bits that it reports besides those that it has reason for.
        silent: whether it neither hears nor says anything, as if its cable were loose.
    """

    def __init__(self, id_: int, raw: float = 0.0) -> None:
        self.heal()
        self._memory = factory_memory()
        self["ID"] = id_
        self._eeprom = self._memory[:EEPROM_END]
        self._raw, self._velocity, self._load = raw, 0.0, 0.0
        self._setpoint, self._setpoint_velocity = raw, 0.0
        self._pending: tuple[int, bytes] | None = None

    def __getitem__(self, name: str) -> int:
        register = REGISTERS[name]
        if register.read_only:
            self._show()
        return decode(register, bytes(self._memory[register.address : register.address + register.size]))

    def __setitem__(self, name: str, value: int) -> None:
        """Put a value into memory as the factory would; instructions go by `write`."""
        register = REGISTERS[name]
        self._memory[register.address : register.address + register.size] = encode(register, value)

    @property
    def id(self) -> int:
        """On the bus."""
        return self["ID"]

    @property
    def baud_rate(self) -> int | None:
        """Bits per second that it listens at; None for a number that stands for none."""
        code = self["Baud_Rate"]
        return BAUD_RATES[code] if code < len(BAUD_RATES) else None

    @property
    def return_delay_s(self) -> float:
        """Between the end of an instruction and its answer."""
        return self["Return_Delay_Time"] * 2e-6

    @property
    def errors(self) -> ErrorBit:
        """What is wrong with it now."""
        bits = self.forced_errors
        if not self["Min_Voltage_Limit"] <= self.voltage_v * 10 <= self["Max_Voltage_Limit"]:
            bits |= ErrorBit.VOLTAGE
        if self.temperature_c > self["Max_Temperature_Limit"]:
            bits |= ErrorBit.OVERHEAT
        if self._overloaded:
            bits |= ErrorBit.OVERLOAD
        return bits

    def heal(self) -> None:
        """Nothing is wrong with it from now on."""
        self.temperature_c = 28.0
        self.voltage_v = 12.0
        self.forced_errors = ErrorBit(0)
        self.silent = False
        self._overloaded, self._loaded_s = False, 0.0

    def keep(self) -> None:
        """Make what the EEPROM holds now what it holds after a power cycle."""
        self._eeprom = self._memory[:EEPROM_END]

    def power_cycle(self) -> None:
        """Off and on: RAM and all that was written while `Lock` was set is lost."""
        self._memory = factory_memory()
        self._memory[:EEPROM_END] = self._eeprom
        self["Torque_Limit"] = self["Max_Torque_Limit"]
        self._pending = None
        self._overloaded, self._loaded_s = False, 0.0
        self._stand_still()

    def reset(self) -> None:
        """Back to the factory's values, but for the id, as the RESET instruction does."""
        id_ = self.id
        self._memory = factory_memory()
        self["ID"] = id_
        self.keep()

    def read(self, address: int, size: int) -> bytes:
        """(size,) bytes of memory; zeros past its end."""
        self._show()
        return bytes(self._memory[address : address + size]).ljust(size, b"\0")

    def write(self, address: int, data: bytes) -> None:
        """What a write instruction does. Bytes of read-only registers stay as they are."""
        was_on, goal = self["Torque_Enable"], self["Goal_Position"]
        for place, byte in enumerate(data, address):
            if place in WRITABLE:
                self._memory[place] = byte
                if place < EEPROM_END and not self["Lock"]:
                    self._eeprom[place] = byte
        written = range(address, address + len(data))
        if REGISTERS["Torque_Enable"].address in written:
            self._switch(bool(was_on))
        if REGISTERS["Goal_Position"].address in written:
            self._relieve(goal)

    def reg_write(self, address: int, data: bytes) -> None:
        """Keep a write until ACTION comes."""
        self._pending = address, data
        self["Pending_Write"] = 1

    def action(self) -> None:
        """Do what REG WRITE kept."""
        if self._pending is not None:
            address, data = self._pending
            self._pending = None
            self["Pending_Write"] = 0
            self.write(address, data)

    def drive(self, dt: float) -> Drive:
        """Move the set point on by `dt` seconds, and say what the motor is to do."""
        limit = min(self["Torque_Limit"], self["Max_Torque_Limit"]) / 1000
        if self._overloaded:
            limit = min(limit, self["Protective_Torque"] / 100)
        if not self["Torque_Enable"] or self.errors & self["Unloading_Condition"] & ~ErrorBit.OVERLOAD:
            self._stand_still()
            limit = 0.0
        elif self["Operating_Mode"] == VELOCITY_MODE:
            self._setpoint_velocity = float(self["Goal_Velocity"])
            ahead = self._setpoint + self._setpoint_velocity * dt - self._raw
            self._setpoint = self._raw + max(-MOST_AHEAD, min(MOST_AHEAD, ahead))
        elif self["Operating_Mode"] == POSITION_MODE:
            self._approach(self._goal(), dt)
        return Drive(limit, self._setpoint, self["P_Coefficient"], self["D_Coefficient"])

    def sense(self, raw: float, velocity: float, load: float, dt: float) -> None:
        """Take in what became of the joint `dt` seconds later.

        Args:
            raw: steps.
            velocity: steps per second.
            load: share of the stall torque that the motor gives, -1 to 1.
        """
        self._raw, self._velocity, self._load = raw, velocity, load
        overloaded = abs(load) * 100 >= self["Overload_Torque"]
        self._loaded_s = self._loaded_s + dt if overloaded else 0.0
        guarded = self["Unloading_Condition"] & ErrorBit.OVERLOAD
        if guarded and self._loaded_s >= self["Protection_Time"] * 0.01 > 0:
            self._overloaded = True

    def _show(self) -> None:
        """Bring the registers that only the servo writes up to date."""
        shown = self._shown(self._raw)
        self["Present_Position"] = round(shown)
        self["Present_Velocity"] = round(self._velocity)
        self["Present_Load"] = round(self._load * 1000)
        self["Present_Current"] = round(self._load * STALL_CURRENT_A / CURRENT_UNIT_A)
        self["Present_Voltage"] = round(self.voltage_v * 10)
        self["Present_Temperature"] = round(self.temperature_c)
        self["Status"] = int(self.errors)
        self["Goal_Position_2"] = self["Goal_Position"]
        steering = bool(self["Torque_Enable"]) and abs(self._setpoint_velocity) > 0
        self["Moving"] = int(steering or abs(self._velocity) > LIMIT_UNIT)

    def _shown(self, raw: float) -> float:
        steps = round(raw) - self["Homing_Offset"]
        return steps if self["Phase"] & MULTI_TURN else steps % RESOLUTION

    def _goal(self) -> float:
        """Raw steps of `Goal_Position`, within its limits. The way there leads along the numbers, never through 0."""
        goal, low, high = self["Goal_Position"], self["Min_Position_Limit"], self["Max_Position_Limit"]
        if high > low:
            goal = max(low, min(high, goal))
        return round(self._raw) + goal - self._shown(self._raw)

    def _approach(self, goal: float, dt: float) -> None:
        """Move the set point towards the goal at limited speed and acceleration."""
        acceleration = (self["Acceleration"] or 254) * ACCELERATION_UNIT
        highest = self["Maximum_Velocity_Limit"] * LIMIT_UNIT
        if self["Goal_Velocity"]:
            highest = min(highest, abs(self["Goal_Velocity"]))
        left = goal - self._setpoint
        wanted = math.copysign(min(highest, math.sqrt(2 * acceleration * abs(left))), left)
        change = wanted - self._setpoint_velocity
        self._setpoint_velocity += max(-acceleration * dt, min(acceleration * dt, change))
        step = self._setpoint_velocity * dt
        if abs(left) < 1 or (step * left > 0 and abs(step) >= abs(left)):
            self._setpoint, self._setpoint_velocity = goal, 0.0
        else:
            self._setpoint += step

    def _stand_still(self) -> None:
        self._setpoint, self._setpoint_velocity = self._raw, 0.0

    def _switch(self, was_on: bool) -> None:
        """`Torque_Enable` was written: a servo that is switched on stays where it is."""
        self._overloaded, self._loaded_s = False, 0.0
        if self["Torque_Enable"] == SET_MIDDLE:
            self["Homing_Offset"] = round(self._raw) - RESOLUTION // 2
            self["Torque_Enable"] = 0
            self.keep()
        if not was_on and self["Torque_Enable"]:
            self._stand_still()
            self["Goal_Position"] = round(self._shown(self._raw))

    def _relieve(self, goal_before: int) -> None:
        """A new goal on the other side ends the protection against overload."""
        now = self._shown(self._raw)
        if (self["Goal_Position"] - now) * (goal_before - now) < 0:
            self._overloaded, self._loaded_s = False, 0.0
