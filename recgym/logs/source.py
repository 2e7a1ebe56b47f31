"""Files into DuckDB: which files, are they whole, do their columns fit. No meaning is read here."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from recgym.errors import UserError

CHUNK = 1 << 20  # bytes read at a time
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}
TEXT_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
ENDINGS = (*TEXT_ENDINGS, ".parquet")
# Dictionaries of columns with many values cost more to build than they save.
PARQUET = "(FORMAT parquet, COMPRESSION snappy, DICTIONARY_SIZE_LIMIT 1000)"
MAX_REJECTED_TEXT = 1000  # characters kept of a line that could not be read


def identifier(name: str) -> str:
    """``name`` quoted as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """``value`` quoted as an SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


@contextmanager
def plain_errors(subject: object) -> Iterator[None]:
    """Turn whatever DuckDB or the file system says into one sentence about ``subject``."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise UserError(
            f"{subject}: the memory limit is too small for this log; set log.memory_limit=16GB"
        ) from error
    except duckdb.Error as error:
        text = str(error)
        if "state machine" in text or "new line" in text.lower():
            said = "its lines end in different ways (some \\r\\n, some \\n)"
            remedy = "expected text with one kind of line end: rewrite it (dos2unix FILE)"
        else:
            said = "it could not be read: " + text.splitlines()[0].rstrip(".")
            remedy = "expected whole CSV or Parquet files: copy or download it again"
        raise UserError(f"{subject}: {said}; {remedy}") from error
    except OSError as error:
        place, said = error.filename or subject, error.strerror or str(error)
        raise UserError(
            f"{place}: {said}; expected a place that can be read and written, with free space"
        ) from error


def existing(path: str | Path | None, name: str) -> Path:
    """The input as a path that exists."""
    if path is None or not str(path).strip():
        raise UserError(
            f"log={name} has no log.path: expected the file or folder of the log; set log.path=PATH"
        )
    found = Path(str(path)).expanduser()
    if not found.exists():
        raise UserError(
            f"{found} does not exist (looked in {Path.cwd()}): expected the file or folder of "
            f"the log; set log.path=PATH"
        )
    return found


def find_files(path: Path, preferred: str | None = None) -> list[Path]:
    """The data files at ``path``: itself, or the CSV and Parquet files of the folder.

    With ``preferred`` (a glob), files of a folder that match it go before all others.
    """
    if path.is_file():
        return [path]
    files = sorted(f for f in path.iterdir() if f.is_file() and f.name.lower().endswith(ENDINGS))
    if preferred:
        files = [f for f in files if f.match(preferred)] or files
    if not files:
        raise UserError(
            f"{path} holds no data file: expected names that end in {', '.join(ENDINGS)}; "
            f"set log.path=PATH"
        )
    kinds = {is_parquet(file) for file in files}
    if len(kinds) > 1:
        raise UserError(
            f"{path} holds both Parquet and text files: expected one kind; set log.path=FILE "
            f"or move the others away"
        )
    return files


def is_parquet(file: Path) -> bool:
    """Whether the file is to be read as Parquet."""
    return file.name.lower().endswith(".parquet")


def content_hash(files: Sequence[Path]) -> str:
    """SHA-256 of the names, sizes and bytes of the files, in the order given."""
    digest = hashlib.sha256()
    for file in files:
        with plain_errors(file), file.open("rb") as stream:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            while block := stream.read(CHUNK):
                digest.update(block)
    return digest.hexdigest()


def check_whole(file: Path) -> None:
    """Raise where the file is empty, or its gzip stream is cut or damaged."""
    if file.stat().st_size == 0:
        raise UserError(f"{file} is empty (0 bytes): expected a log; set log.path=PATH")
    if not file.name.lower().endswith(".gz"):
        return
    try:
        with gzip.open(file) as stream:  # reads on to the checksum, which DuckDB does not verify
            while stream.read(CHUNK):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        said = "cut short" if isinstance(error, EOFError) else "damaged or not gzip at all"
        raise UserError(
            f"{file} is {said} ({error}): expected a whole .gz file; copy or download it again, "
            f"and test it with gzip -t"
        ) from error


def separator_of(given: str) -> str:
    """The separator itself, from its name or the character."""
    separator = SEPARATORS.get(given, given)
    if len(separator) != 1:
        raise UserError(
            f"log.separator={given!r}: expected one character or one of {', '.join(SEPARATORS)}; "
            f"set log.separator=semicolon"
        )
    return separator


def first_line(file: Path) -> str:
    """The first line of a text file, plain or .gz."""
    opener = gzip.open if file.name.lower().endswith(".gz") else open
    with opener(file, "rb") as stream:
        return bytes(stream.readline(CHUNK)).decode("utf-8-sig", errors="replace").rstrip("\r\n")


def header_of(file: Path, separator: str) -> list[str]:
    """Column names in the first line."""
    line = first_line(file)
    names = [name.strip().strip('"') for name in line.split(separator)]
    names = [name or f"column{i}" for i, name in enumerate(names)]  # pandas leaves its index bare
    if len(names) == 1:
        guess = next((s for s in (",", ";", "\t", "|") if s != separator and s in line), None)
        shown = next(name for name, sign in SEPARATORS.items() if sign == (guess or ";"))
        raise UserError(
            f"{file}: only one column found, {line[:80]!r}, with separator {separator!r}: "
            f"expected several; set log.separator={shown}"
        )
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(
            f"{file}: column {doubled[0]!r} occurs twice in the first line: expected different "
            f"names; rename one of them in the file"
        )
    return names


def load_csv(
    db: duckdb.DuckDBPyConnection,
    table: str,
    files: Sequence[Path],
    separator: str = ",",
    names: Sequence[str] | None = None,
) -> None:
    """Make ``table`` a view of text files, all columns as text; ``reject_lines`` has what breaks.

    ``names`` are the columns of files without a header.
    """
    for file in files:
        check_whole(file)
    separator = separator_of(separator)
    header = names is None
    if names is None:
        names = _common_header(files, separator)
    columns = ", ".join(f"{literal(n)}: 'VARCHAR'" for n in names)
    paths = ", ".join(literal(f) for f in files)
    with plain_errors(files[0] if len(files) == 1 else files[0].parent):
        # Strict mode: the lenient one drops surplus fields of a line without a word.
        db.execute(
            f"CREATE VIEW {table} AS SELECT * FROM read_csv([{paths}], auto_detect=false, "
            f"header={header}, columns={{{columns}}}, delim={literal(separator)}, quote='\"', "
            f"escape='\"', strict_mode=true, ignore_errors=true, store_rejects=true, "
            f"rejects_limit=0, max_line_size=10000000)"
        )
        db.execute(f"SELECT * FROM {table} LIMIT 1")  # what is no text at all is refused here


def reject_lines(db: duckdb.DuckDBPyConnection) -> bool:
    """Make ``raw_rejects`` of the lines that broke in the last reading, if text was read."""
    if not columns_of(db, "reject_scans"):
        return False
    db.execute(
        f"CREATE TABLE raw_rejects AS SELECT s.file_path AS file, e.line, "
        f"any_value(left(e.csv_line, {MAX_REJECTED_TEXT})) AS text, "
        f"any_value(e.error_message) AS said FROM reject_errors e "
        f"JOIN reject_scans s USING (scan_id, file_id) "
        f"WHERE e.scan_id = (SELECT max(scan_id) FROM reject_scans) GROUP BY ALL ORDER BY ALL"
    )
    return True


def _common_header(files: Sequence[Path], separator: str) -> list[str]:
    names = header_of(files[0], separator)
    for file in files[1:]:
        other = header_of(file, separator)
        if other != names:
            raise UserError(
                f"{file}: its columns {other} differ from {names} in {files[0].name}: expected "
                f"the same in every file of the folder; set log.path=FILE to read one of them"
            )
    return names


def load_parquet(db: duckdb.DuckDBPyConnection, table: str, files: Sequence[Path]) -> None:
    """Make ``table`` a view of Parquet files."""
    for file in files:
        check_whole(file)
    paths = ", ".join(literal(f) for f in files)
    with plain_errors(files[0] if len(files) == 1 else files[0].parent):
        db.execute(
            f"CREATE VIEW {table} AS SELECT * FROM read_parquet([{paths}], union_by_name=true)"
        )


def columns_of(db: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Column names of a table or view, with their types; empty where it does not exist."""
    try:  # several times faster than information_schema, which lists all that DuckDB has
        rows = db.execute(f"DESCRIBE {identifier(table)}").fetchall()
    except duckdb.CatalogException:
        return {}
    return {str(row[0]): str(row[1]) for row in rows}
