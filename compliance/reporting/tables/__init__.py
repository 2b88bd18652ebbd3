"""The tables, cells, records and checks of filings, as data. Start reading at `east.yaml` and `sets.sql`."""
