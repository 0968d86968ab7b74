"""Scores a folder of Parquet files with Apache Spark.

    spark-submit spark_score.py INPUT OUTPUT [--column url] [--model FILE]

Each input file becomes a folder of the same name under OUTPUT with all its columns and `logit`,
`probability`, `verdict`, `truncated`, `error`: exactly one output row for each input row, in the same
order within a file's partition.

What dies on the way: a task that dies with its executor is run again elsewhere, and only the files of
the attempt that ended well are kept (Spark's commit protocol). When the whole run dies, start it again: inputs
whose folder has `_SUCCESS` are left alone, the others are done anew. So a folder of many files is
resumed file by file; split a single huge file before.

The wheel has to be installed on every node (or sent along: a virtual environment with
`--archives`). Each Spark task scores on one thread; Spark itself brings the parallelism.
"""

import argparse
import os
from collections.abc import Iterator

import phishcnn
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

SCORES = "logit float, probability float, verdict string, truncated boolean, error int"


def scored(frame: DataFrame, column: str = "url", model: str | None = None) -> DataFrame:
    """The frame with the columns of `SCORES`; one row for each of its rows."""
    file = None if model is None else open(model, "rb").read()

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = phishcnn.Model(file)  # once for a task
        for batch in batches:
            scores = scorer.score_batch(batch.column(column)).to_arrow()
            columns = [*batch.columns, *scores.select(["logit", "probability"]).columns]
            columns += [scores.column("verdict").cast(pa.string()), scores.column("truncated")]
            columns += [scores.column("error").cast(pa.int32())]
            yield pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, *scores.schema.names])

    fields = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in frame.schema.fields)
    return frame.mapInArrow(score, f"{fields}, {SCORES}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--column", default="url")
    parser.add_argument("--model")
    arguments = parser.parse_args()

    spark = SparkSession.builder.appName("phishcnn").getOrCreate()
    hadoop = spark._jvm.org.apache.hadoop.fs  # any file system that Spark reads
    files = hadoop.Path(arguments.input).getFileSystem(spark._jsc.hadoopConfiguration())
    for status in sorted(files.listStatus(hadoop.Path(arguments.input)), key=lambda s: s.getPath().getName()):
        name = status.getPath().getName()
        if name.startswith(("_", ".")):
            continue
        output = os.path.join(arguments.output, name)
        if files.exists(hadoop.Path(output, "_SUCCESS")):
            print(f"{name}: done before")
            continue
        frame = spark.read.parquet(status.getPath().toString())
        scored(frame, arguments.column, arguments.model).write.mode("overwrite").parquet(output)
        print(f"{name}: scored", flush=True)


if __name__ == "__main__":
    main()
