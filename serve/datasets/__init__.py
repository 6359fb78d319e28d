"""Upload, convert, check, preview, download and delete datasets."""
