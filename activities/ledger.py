"""A small ledger of refunds in SQLite: each payment key pays once, whoever asks and however often.

Rule: the key decides. The row's insertion is the payment, so a crash leaves either the whole payment or none.
Calls block for a moment: from an async step, use `asyncio.to_thread(ledger.pay, …)`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from activities.errors import LedgerConflict, LedgerLimitExceeded, LedgerUnavailable

DEFAULT_PATH = Path(".everstep/ledger.db")
_BUSY_SECONDS = 30.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (
    idempotency_key TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
    reason TEXT NOT NULL,
    paid_at TEXT NOT NULL
) STRICT
"""
_COLUMNS = "idempotency_key, order_id, amount_cents, reason, paid_at"


class Payment(BaseModel):
    """One payment made. `amount_cents` is in hundredths of the currency, `paid_at` in UTC."""

    model_config = ConfigDict(frozen=True)

    idempotency_key: str
    order_id: str
    amount_cents: int
    reason: str
    paid_at: datetime


class Ledger:
    """Refunds, in one file that any number of processes may use at once.

    Args:
        path: The SQLite file; made with its folder when missing. Default: EVERSTEP_LEDGER, else
            `.everstep/ledger.db`.

    Example:
        payment = Ledger().pay(ctx.idempotency_key, "A-1001", 4_200, "arrived broken")
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path or os.environ.get("EVERSTEP_LEDGER") or DEFAULT_PATH)

    def pay(
        self, idempotency_key: str, order_id: str, amount_cents: int, reason: str, *, at_most: int | None = None
    ) -> Payment:
        """Pays once per key; the same key again returns the first payment unchanged.

        Args:
            idempotency_key: Names this payment; the same in every attempt.
            order_id: The order that is refunded.
            amount_cents: Hundredths of the currency, more than 0.
            reason: Why, for the people who read the ledger.
            at_most: What may be paid for the order in all, in hundredths of the currency. Two payments at one time
                cannot exceed it either.

        Raises:
            LedgerConflict: the key was used for another order or amount.
            LedgerLimitExceeded: with this payment the order's refunds would be more than `at_most`.
            LedgerUnavailable: the file cannot be used.
            ValueError: an empty key, or an amount that is not positive.
        """
        if not idempotency_key:
            raise ValueError("A payment needs an idempotency key; pass ctx.idempotency_key.")
        if amount_cents <= 0:
            raise ValueError(f"Payment {idempotency_key}: {amount_cents} cents cannot be paid; give more than 0.")
        now = datetime.now(UTC).isoformat()
        with self._open() as db:
            # One statement: what was paid before is read under the same lock as this payment is written.
            db.execute(
                f"INSERT INTO payments ({_COLUMNS}) SELECT ?, ?, ?, ?, ? WHERE ? IS NULL OR ? >= ? + "
                "(SELECT COALESCE(SUM(amount_cents), 0) FROM payments WHERE order_id = ?) ON CONFLICT DO NOTHING",
                (idempotency_key, order_id, amount_cents, reason, now, at_most, at_most, amount_cents, order_id),
            )
            row = db.execute(
                f"SELECT {_COLUMNS} FROM payments WHERE idempotency_key = ?", (idempotency_key,)
            ).fetchone()
        if row is None:
            raise LedgerLimitExceeded(
                f"Order {order_id}: {self.refunded(order_id)} cents were refunded before; {amount_cents} more would be "
                f"over the {at_most} that may be refunded. Refund less."
            )
        payment = Payment.model_validate(dict(row))
        if (payment.order_id, payment.amount_cents) != (order_id, amount_cents):
            raise LedgerConflict(
                f"Payment {idempotency_key} was made for order {payment.order_id} over "
                f"{payment.amount_cents} cents; it cannot also pay order {order_id} over {amount_cents} "
                "cents. Use another key for another payment."
            )
        return payment

    def refunded(self, order_id: str, *, besides: str = "") -> int:
        """What was paid for an order so far, in hundredths of the currency.

        Args:
            order_id: The order.
            besides: The key of a payment that is not counted: that of whoever asks.

        Raises:
            LedgerUnavailable: the file cannot be used.
        """
        with self._open() as db:
            row = db.execute(
                "SELECT COALESCE(SUM(amount_cents), 0) FROM payments WHERE order_id = ? AND idempotency_key <> ?",
                (order_id, besides),
            ).fetchone()
        return int(row[0])

    def payments(self) -> list[Payment]:
        """All payments, oldest first. Raises LedgerUnavailable."""
        with self._open() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM payments ORDER BY paid_at, rowid").fetchall()
        return [Payment.model_validate(dict(row)) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction; committed when the block ends well."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as db, db:
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA synchronous=FULL")
                if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    db.execute("PRAGMA journal_mode=WAL")
                db.execute(_SCHEMA)
                yield db
        except (sqlite3.OperationalError, OSError, sqlite3.DatabaseError) as error:
            raise LedgerUnavailable(
                f"Ledger {self.path}: {error}. Check the folder's rights, or set EVERSTEP_LEDGER to another file."
            ) from error
