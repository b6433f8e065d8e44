"""The ledger pays once per key, in one process or in many."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from activities.errors import LedgerConflict, LedgerLimitExceeded, LedgerUnavailable
from activities.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger in a folder that does not exist yet."""
    return Ledger(tmp_path / "deep" / "ledger.db")


def test_a_payment_is_recorded(ledger: Ledger) -> None:
    """What was paid can be read back as it was paid."""
    paid = ledger.pay("k1", "A-1", 4200, "broken")
    assert ledger.payments() == [paid]
    assert (paid.order_id, paid.amount_cents, paid.reason) == ("A-1", 4200, "broken")
    assert paid.paid_at.tzinfo is not None


def test_the_same_key_pays_once(ledger: Ledger) -> None:
    """A second attempt gets the first attempt's payment, even when it words the reason otherwise."""
    first = ledger.pay("k1", "A-1", 4200, "broken")
    assert ledger.pay("k1", "A-1", 4200, "said again") == first
    assert len(ledger.payments()) == 1


@pytest.mark.parametrize(("order", "amount"), [("A-1", 4300), ("A-2", 4200)])
def test_a_key_cannot_pay_two_things(ledger: Ledger, order: str, amount: int) -> None:
    """Another amount or order under a used key is refused and changes nothing."""
    first = ledger.pay("k1", "A-1", 4200, "broken")
    with pytest.raises(LedgerConflict, match="k1 was made for order A-1 over 4200 cents"):
        ledger.pay("k1", order, amount, "broken")
    assert ledger.payments() == [first]


def test_an_order_is_not_refunded_beyond_its_limit(ledger: Ledger) -> None:
    """Payments are held against what was paid before; the same key again is still that payment, not another one."""
    first = ledger.pay("k1", "A-1", 4_000, "broken", at_most=5_000)
    with pytest.raises(LedgerLimitExceeded, match="4000 cents were refunded before; 1001 more would be over the 5000"):
        ledger.pay("k2", "A-1", 1_001, "late", at_most=5_000)
    assert ledger.pay("k1", "A-1", 4_000, "broken", at_most=5_000) == first
    ledger.pay("k3", "A-1", 1_000, "late", at_most=5_000)
    assert ledger.refunded("A-1") == 5_000


@pytest.mark.parametrize(("key", "amount"), [("", 1), ("k", 0), ("k", -5)])
def test_nonsense_is_refused(ledger: Ledger, key: str, amount: int) -> None:
    """A payment without a key or without a positive amount is a caller's mistake."""
    with pytest.raises(ValueError, match=r"key|more than 0"):
        ledger.pay(key, "A-1", amount, "")


def _pay_many(path: str) -> None:
    ledger = Ledger(path)
    for number in range(20):
        ledger.pay(f"key-{number}", "A-1", 100 + number, "storm")


def test_many_processes_and_threads_pay_each_key_once(tmp_path: Path) -> None:
    """Four processes and eight threads start on a file that does not exist yet and pay the same 20 keys."""
    path = str(tmp_path / "ledger.db")
    processes = [multiprocessing.get_context("spawn").Process(target=_pay_many, args=(path,)) for _ in range(4)]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(_pay_many, path) for _ in range(8)]:
            done.result()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert sorted(p.idempotency_key for p in Ledger(path).payments()) == sorted(f"key-{n}" for n in range(20))


def _pay_until_killed(path: str, started: object) -> None:
    ledger = Ledger(path)
    number = 0
    while True:
        ledger.pay(f"key-{number}", "A-1", 100, "storm")
        number += 1
        if number == 5:
            started.set()  # type: ignore[attr-defined]


def test_a_killed_payer_leaves_a_usable_ledger(tmp_path: Path) -> None:
    """After kill -9 in the middle of payments, all that was paid is there and the next payer goes on."""
    path = str(tmp_path / "ledger.db")
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_pay_until_killed, args=(path, started))
    process.start()
    assert started.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    ledger = Ledger(path)
    assert len(ledger.payments()) >= 5
    ledger.pay("after", "A-2", 1, "go on")
    assert ledger.payments()[-1].idempotency_key == "after"


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    """A path that cannot hold a ledger is refused with the path and the setting to change."""
    path = tmp_path / "ledger.db"
    path.write_text("this is not a database, but long enough to be read as a header " * 4)
    with pytest.raises(LedgerUnavailable, match="EVERSTEP_LEDGER"):
        Ledger(path).payments()


def test_the_path_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EVERSTEP_LEDGER names the file, which other programs can read as plain SQLite."""
    monkeypatch.setenv("EVERSTEP_LEDGER", str(tmp_path / "other.db"))
    Ledger().pay("k", "A-1", 5, "r")
    with sqlite3.connect(tmp_path / "other.db") as db:
        assert db.execute("SELECT amount_cents FROM payments").fetchall() == [(5,)]
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
