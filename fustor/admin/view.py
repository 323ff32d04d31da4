"""``fustor view reset``: an order to Fusion's view of that name."""

from __future__ import annotations

from typing import Annotated

import typer

from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.ordering import order_and_report
from fustor.admin.orders import TtlOption
from protocols.orders import FUSION


def reset(
    view: Annotated[str, typer.Argument(metavar="VIEW", help="Which. See: fustor status")] = "main",
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop building anew, and go on with the old tree.")] = False,
    ttl: TtlOption = 0.0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a view's tree anew from its agents; the old one is answered until the new one is complete."""
    args = {"cancel": "yes"} if cancel else {}
    order_and_report(chosen_state(state), f"{FUSION}/view.{view}", "reset", as_json=as_json, ttl=ttl, **args)
