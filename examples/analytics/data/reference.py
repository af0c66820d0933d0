#!/usr/bin/env python3
"""Has DuckDB answer what the tests ask, and writes its answers to reference.json. Also writes the sample, by DuckDB's own writers.

    cargo run --release -p adit-example-analytics --example readings -- FOLDER
    pip install duckdb==2.0.1
    reference.py FOLDER
"""
import json
import sys
from pathlib import Path

import duckdb

HERE = Path(__file__).parent
QUANTILES = [(0, 1), (1, 100), (1, 4), (1, 2), (3, 4), (9, 10), (99, 100), (999, 1000), (1, 1)]
SCALES = {"temperature": 3, "energy": 0, "sensor": 0}
CSV = "header = true, columns = {'site': 'VARCHAR', 'sensor': 'INTEGER', 'time': 'BIGINT', 'temperature': 'DECIMAL(9,3)', 'energy': 'BIGINT'}"
QUERIES = [
    {"group_by": ["site"], "values": ["temperature", "energy"], "filter": None},
    {"group_by": ["site", "sensor"], "values": ["temperature"], "filter": None},
    # Without what is outside of every sensor's scale.
    {"group_by": ["site"], "values": ["temperature"], "filter": ["temperature", -60_000, 500_000]},
    {"group_by": [], "values": ["sensor", "temperature"], "filter": ["sensor", 5, 30]},
]


def units(column):
    """A column in units of its last digit."""
    return f"CAST({column} * {10 ** SCALES[column]} AS BIGINT)"


def ask(table, query):
    columns = ["count(*)"]
    for value in query["values"]:
        unit = units(value)
        quantiles = ", ".join(f"quantile_disc({unit}, {part / whole})" for part, whole in QUANTILES)
        columns += [f"count({value})", f"CAST(sum({unit}) AS VARCHAR)", f"min({unit})", f"max({unit})", f"avg(CAST({value} AS DECIMAL(18,{SCALES[value]})))", quantiles]
    where = ""
    if query["filter"]:
        column, least, most = query["filter"]
        where = f"WHERE {column} IS NULL OR {units(column)} BETWEEN {least} AND {most}"
    keys = query["group_by"]
    group = f"GROUP BY {', '.join(keys)}" if keys else ""
    rows = duckdb.sql(f"SELECT {', '.join(keys + columns)} FROM {table} {where} {group}").fetchall()
    groups = []
    for row in rows:
        row = list(row)
        key = [None if cell is None else str(cell) for cell in row[: len(keys)]]
        row = row[len(keys) :]
        width = 5 + len(QUANTILES)
        values = []
        for at in range(len(query["values"])):
            count, total, least, most, mean, *quantiles = row[1 + at * width : 1 + (at + 1) * width]
            values.append({"count": count, "sum": total, "min": least, "max": most, "mean": mean, "quantiles": quantiles})
        groups.append({"key": key, "rows": row[0], "values": values})
    return sorted(groups, key=lambda group: group["key"])


def answers(parquet, csv):
    result = []
    for query in QUERIES:
        groups = ask(f"read_parquet('{parquet}')", query)
        assert groups == ask(f"read_csv('{csv}', {CSV})", query), "both formats have the same rows"
        values = [[value, SCALES[value]] for value in query["values"]]
        filtered = query["filter"] and [query["filter"][0], SCALES[query["filter"][0]], *query["filter"][1:]]
        result.append({"group_by": query["group_by"], "values": values, "filter": filtered, "groups": groups})
    return result


def main():
    folder = Path(sys.argv[1])
    sample = f"(SELECT * FROM read_parquet('{folder}/readings-00.parquet') LIMIT 1000)"
    duckdb.sql(f"COPY {sample} TO '{HERE}/sample.parquet' (FORMAT parquet, COMPRESSION snappy)")
    duckdb.sql(f"COPY (SELECT * REPLACE (epoch_ms(time) AS time) FROM {sample}) TO '{HERE}/sample.csv' (FORMAT csv, HEADER)")
    total = duckdb.sql(f"SELECT count(*) FROM read_parquet('{folder}/*.parquet')").fetchall()[0][0]
    reference = {
        "engine": f"DuckDB {duckdb.__version__}",
        "quantiles": QUANTILES,
        "files": 12,
        "rows": total,
        "readings": answers(f"{folder}/*.parquet", f"{folder}/*.csv"),
        "sample": answers(f"{HERE}/sample.parquet", f"{HERE}/sample.csv"),
    }
    lines = json.dumps(reference, separators=(",", ":")).replace('{"key"', '\n{"key"')
    (HERE / "reference.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
