"""Rows on disk come back as they were appended, and leave no file behind."""

import tempfile

import pyarrow as pa

from vae_anomaly.readings.spool import SPOOL_ROWS, Spool


def test_rows_come_back_in_order_in_bounded_batches():
    spool = Spool()
    tables = [
        pa.table({"name": [f"{k}"] * 50_000, "value": pa.array(range(50_000))}) for k in range(3)
    ]
    tables.append(pa.table({"name": ["large"] * 100_000, "value": pa.array(range(100_000))}))
    for table in tables:
        spool.add(table)
    assert spool.num_rows == 250_000
    batches = list(spool.read())
    assert max(batch.num_rows for batch in batches) <= SPOOL_ROWS
    assert pa.Table.from_batches(batches).equals(pa.concat_tables(tables).combine_chunks())
    spool.close()


def test_dictionaries_may_differ_from_table_to_table():
    spool = Spool()
    parts = [
        pa.table({"name": pa.array(names).dictionary_encode()})
        for names in (["a", "b"], ["b", "c", "c"])
    ]
    for part in parts:
        spool.add(part)
    assert [name for batch in spool.read() for name in batch["name"].to_pylist()] == list("abbcc")
    spool.close()


def test_no_file_without_rows_and_none_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool()
    assert list(spool.read()) == []
    spool.close()
    spool = Spool()
    spool.add(pa.table({"value": [1.0]}))
    spool.close()
    assert list(tmp_path.iterdir()) == []
