"""What a day of one person was, in numbers: Ibis expressions, the same on DuckDB and on Spark.

Lives here: aggregation of events, nothing that judges. All results are integers or words, so that two
engines agree to the bit. Start at `tables.py`; `engine.py` runs it.
"""
