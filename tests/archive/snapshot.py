"""For each table of a snapshot folder: the rows as pyarrow reads them from its file, and as `recount query` wrote them to a Parquet file."""

import glob
import json
import os
import sys

import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet


def plain(column):
    type = column.type
    if pyarrow.types.is_run_end_encoded(type):
        # pyarrow decodes runs of texts, not of a dictionary's codes.
        return pyarrow.compute.run_end_decode(pyarrow.RunEndEncodedArray.from_arrays(column.run_ends, plain(column.values)))
    return column.dictionary_decode() if pyarrow.types.is_dictionary(type) else column


def seen(batches):
    kinds, rows = {}, []
    for batch in batches:
        columns = {name: plain(column) for name, column in zip(batch.schema.names, batch.columns)}
        # Numbers that mostly grow by one from row to row are stored without the number of their row in the batch.
        kinds.update((name.removesuffix("_less_row"), str(column.type)) for name, column in columns.items())
        values = [
            [value + row for row, value in enumerate(column.to_pylist())] if name.endswith("_less_row") else column.to_pylist()
            for name, column in columns.items()
        ]
        rows += map(repr, zip(*values))
    return {"kinds": kinds, "rows": sorted(rows)}


def answers(table, file):
    with pyarrow.ipc.open_file(file) as read:
        own = seen(read.get_batch(at) for at in range(read.num_record_batches))
    return [own, seen(pyarrow.parquet.ParquetFile(f"{table}.parquet").iter_batches())]


files = {os.path.basename(file).removesuffix(".arrow"): file for file in glob.glob(f"{sys.argv[1]}/*.arrow")}
print(json.dumps({table: answers(table, file) for table, file in files.items()}))
