"""Records in files: which ones a file holds, whatever compresses, encodes, wraps or lays it out.

`layouts.records` is the way in for JSON, `csv_rows.rows` for CSV. A record is handed on as its
bytes; what it says is for `formats`.
"""
