"""The orders of a shop, read from a JSON file: what a support desk looks up. A few of a made-up shop without one."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from activities.errors import OrdersUnavailable


class Order(BaseModel):
    """One order. `amount_cents` was paid, in hundredths of the currency."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    customer: str
    item: str
    amount_cents: int
    ordered_on: date
    status: str


SAMPLE = (
    Order(
        order_id="A-1001",
        customer="ann@example.com",
        item="Coffee machine",
        amount_cents=42_000,
        ordered_on=date(2026, 10, 2),
        status="delivered",
    ),
    Order(
        order_id="A-1002",
        customer="ann@example.com",
        item="Filter papers",
        amount_cents=1_200,
        ordered_on=date(2026, 11, 12),
        status="on its way",
    ),
    Order(
        order_id="B-2001",
        customer="bo@example.com",
        item="Grinder",
        amount_cents=8_900,
        ordered_on=date(2026, 9, 20),
        status="delivered",
    ),
)

_ORDERS = TypeAdapter(list[Order])


class OrderBook:
    """Orders by number and by customer. The file is read anew for each question, so that it may change.

    Args:
        path: A JSON file with a list of orders. Default: EVERSTEP_ORDERS, else none, and the sample is used.

    Example:
        OrderBook().find("A-1001")
    """

    def __init__(self, path: Path | str | None = None) -> None:
        chosen = path or os.environ.get("EVERSTEP_ORDERS")
        self.path = None if chosen is None else Path(chosen)

    def find(self, order_id: str) -> Order | None:
        """The order of this number, if there is one. Raises OrdersUnavailable."""
        return next((order for order in self._read() if order.order_id == order_id.strip().upper()), None)

    def of_customer(self, customer: str) -> list[Order]:
        """A customer's orders, by mail address, the newest first. Raises OrdersUnavailable."""
        wanted = customer.strip().lower()
        found = [order for order in self._read() if order.customer.lower() == wanted]
        return sorted(found, key=lambda order: order.ordered_on, reverse=True)

    def _read(self) -> list[Order]:
        if self.path is None:
            return list(SAMPLE)
        try:
            return _ORDERS.validate_json(self.path.read_bytes())
        except (OSError, ValidationError, json.JSONDecodeError) as error:
            raise OrdersUnavailable(
                f"The orders in {self.path} cannot be read: {str(error).splitlines()[0]}. Set EVERSTEP_ORDERS to a "
                "JSON file with a list of orders."
            ) from error
