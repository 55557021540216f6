"""Raw Parquet to checked readings and tables."""
