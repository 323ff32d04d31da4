"""
The addresses of Fusion, and under which names its guardian keeps the sockets that listen there.

The guardian holds every one of them: whoever serves it may die, and meanwhile nobody can take the port, and who
connects waits instead of being refused. What this module does not do: open anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fustor.runtime.endpoint import Address, parse_address, parse_endpoint

if TYPE_CHECKING:
    from fustor.fusion.config import FusionConfig

#: Of the control actor: for agents, for people.
CONTROL, ADMIN = "control", "admin"
#: Of all query workers together.
HTTP = "http"


def data_name(view: str) -> str:
    """Of the socket on which a view takes data."""
    return f"data.{view}"


def acks_name(view: str) -> str:
    """Of the socket on which a view acknowledges."""
    return f"acks.{view}"


def query_name(index: int) -> str:
    """Of the zmq socket of a query worker."""
    return f"query.{index}"


def view_addresses(config: FusionConfig, index: int) -> tuple[Address, Address]:
    """Where view ``index`` takes data, and where it acknowledges them."""
    return _pair(config.fusion.data, index)


def advertised_view(config: FusionConfig, index: int) -> tuple[Address, Address]:
    """What agents are told of view ``index``: where it takes data, and where it acknowledges them."""
    return _pair(config.fusion.advertise_data or config.fusion.data, index)


def advertised_query(config: FusionConfig) -> Address:
    """What agents are told of the query workers: the first one."""
    return parse_endpoint(config.fusion.advertise_query or config.fusion.query)


def _pair(endpoint: str, index: int) -> tuple[Address, Address]:
    base = parse_endpoint(endpoint)
    return base.plus(2 * index), base.plus(2 * index + 1)


def query_addresses(config: FusionConfig) -> list[Address]:
    """Where the query workers answer over zmq."""
    base = parse_endpoint(config.fusion.query)
    return [base.plus(index) for index in range(config.fusion.query_workers)]


def listening(config: FusionConfig) -> dict[str, Address]:
    """Every socket of Fusion that listens, by name."""
    section = config.fusion
    found = {
        CONTROL: parse_endpoint(section.control),
        ADMIN: parse_endpoint(section.admin),
        HTTP: parse_address(section.http),
    }
    for index, view in enumerate(config.views):
        found[data_name(view.name)], found[acks_name(view.name)] = view_addresses(config, index)
    for index, address in enumerate(query_addresses(config)):
        found[query_name(index)] = address
    return found
