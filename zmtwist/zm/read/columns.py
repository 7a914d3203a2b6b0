"""Columns of ZoneMinder's configuration tables, and how their values become ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

ORIENTATIONS = ("ROTATE_0", "ROTATE_90", "ROTATE_180", "ROTATE_270", "FLIP_HORI", "FLIP_VERT")
SCHEMES = ("Deep", "Medium", "Shallow")


class Unreadable(ValueError):
    """A row holds a value that makes no sense; the text names the column, not the value, which may be a secret."""


def text(value: Any) -> str:
    """Any column's value as text, NULL as nothing."""
    return "" if value is None else value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _optional_text(value: Any) -> str | None:
    return None if value is None else text(value)


def _number(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value)


def _integer(value: Any) -> int | None:
    if value is None or value == "":
        return None
    number = Decimal(text(value))
    if number != number.to_integral_value():
        raise ValueError("not a whole number")
    return int(number)


def _size(value: Any) -> int:
    size = _integer(value) or 0
    if size < 0:
        raise ValueError("negative")
    return size


def _flag(value: Any) -> bool:
    return bool(_integer(value))


def _optional_flag(value: Any) -> bool | None:
    return None if value is None else _flag(value)


def _orientation(value: Any) -> str:
    orientation = text(value) or "ROTATE_0"
    if orientation not in ORIENTATIONS:
        raise ValueError("unknown")
    return orientation


Columns = Mapping[str, tuple[str, Callable[[Any], Any]]]
"""By column: the name it has with us, and what makes its value ours (raising `ValueError` or `ArithmeticError` where it can't)."""

MONITOR: Columns = {
    "Id": ("id", _size),
    "StorageId": ("storage_id", _integer),
    "Name": ("name", text),
    "Type": ("type", text),
    "Function": ("function", _optional_text),
    "Enabled": ("enabled", _flag),
    "Capturing": ("capturing", _optional_text),
    "Analysing": ("analysing", _optional_text),
    "Recording": ("recording", _optional_text),
    "Deleted": ("deleted", _flag),
    "UseZmNext": ("use_zm_next", _optional_flag),
    "ServerId": ("server_id", _integer),
    "Device": ("device", text),
    "Channel": ("channel", _integer),
    "Protocol": ("protocol", text),
    "Method": ("method", text),
    "Host": ("host", text),
    "Port": ("port", text),
    "SubPath": ("sub_path", text),
    "Path": ("path", text),
    "SecondPath": ("second_path", text),
    "User": ("user", text),
    "Pass": ("password", text),
    "Width": ("width", _size),
    "Height": ("height", _size),
    "Orientation": ("orientation", _orientation),
    "EventPrefix": ("event_prefix", text),
    "SectionLength": ("section_length", _integer),
    "PreEventCount": ("pre_event_count", _integer),
    "PostEventCount": ("post_event_count", _integer),
    "MaxFPS": ("max_fps", _number),
    "Latitude": ("latitude", _optional_text),
    "Longitude": ("longitude", _optional_text),
}

ZONE: Columns = {
    "Id": ("id", _size),
    "MonitorId": ("monitor_id", _size),
    "Name": ("name", text),
    "Type": ("type", text),
    "Units": ("units", text),
    "Coords": ("coords", text),
    "AlarmRGB": ("alarm_rgb", _integer),
    "CheckMethod": ("check_method", text),
    "MinPixelThreshold": ("min_pixel_threshold", _integer),
    "MaxPixelThreshold": ("max_pixel_threshold", _integer),
    "MinAlarmPixels": ("min_alarm_pixels", _number),
    "MaxAlarmPixels": ("max_alarm_pixels", _number),
    "FilterX": ("filter_x", _integer),
    "FilterY": ("filter_y", _integer),
    "MinFilterPixels": ("min_filter_pixels", _number),
    "MaxFilterPixels": ("max_filter_pixels", _number),
    "MinBlobPixels": ("min_blob_pixels", _number),
    "MaxBlobPixels": ("max_blob_pixels", _number),
    "MinBlobs": ("min_blobs", _integer),
    "MaxBlobs": ("max_blobs", _integer),
}

STORAGE: Columns = {
    "Id": ("id", _size),
    "Name": ("name", text),
    "Path": ("path", text),
    "Scheme": ("scheme", text),
    "ServerId": ("server_id", _integer),
}


def converted(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """A row's values under our names. Raises `Unreadable`."""
    fields: dict[str, Any] = {}
    for column, (name, convert) in columns.items():
        if column in row:
            try:
                fields[name] = convert(row[column])
            except (ValueError, ArithmeticError, TypeError):
                raise Unreadable(f"{column} makes no sense") from None
    return fields
